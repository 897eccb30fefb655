"""What the store makes of URLs, keys and file names, before anything is touched."""

from email.message import EmailMessage

import pytest

from cleanplate.storage import content_disposition, is_key, open_store
from cleanplate.storage.s3 import S3Store


@pytest.mark.parametrize("key", ["a", "jobs/job_01/image.png", "a-b/c_d/e..f"])
def test_a_key_is_plain_segments_joined_by_slashes(key: str) -> None:
    assert is_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/../b",
        "a/./b",
        ".hidden",
        "a/.put-x",
        "a\\b",
        "a\0",
        "a\n",
        "ä",
    ],
)
def test_what_could_leave_the_store_or_hide_in_it_is_no_key(key: str) -> None:
    assert not is_key(key)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/var/objects",
        "file://objects",
        "file:objects",
        "http://bucket/x",
        "s3://",
        "s3:///prefix",
        "s3://k:s@bucket",
    ],
)
def test_any_other_url_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="without credentials") as refused:
        open_store(url)
    assert "k:s" not in str(refused.value)


def test_a_prefix_that_is_no_key_is_refused() -> None:
    with pytest.raises(ValueError, match="not a key"):
        open_store("s3://bucket/../other")


@pytest.mark.parametrize(
    ("filename", "read"),
    [
        ("photo.png", "photo.png"),
        ("Stuhl für 20 €.png", "Stuhl für 20 €.png"),
        ('say "cheese"; x=1.png', 'say "cheese"; x=1.png'),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("a\r\nSet-Cookie: x", "a__Set-Cookie: x"),
        ("\ud800.png", "?.png"),
    ],
)
def test_any_file_name_survives_its_header(filename: str, read: str) -> None:
    header = content_disposition(filename)
    message = EmailMessage()
    message["Content-Disposition"] = (
        header.partition("; filename=")[0] + "; filename*=" + header.partition("filename*=")[2]
    )
    assert message.get_filename() == read
    assert header.isascii()
    assert header.isprintable()
    assert header.startswith('attachment; filename="')


@pytest.mark.parametrize("region", ["us-east-1", "af-south-1"])
def test_links_to_amazon_name_the_region_host(region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    link = S3Store("bucket", "prefix").presign("a/b", filename="b.png", ttl_seconds=60)
    hosts = {f"https://bucket.s3.{region}.amazonaws.com/prefix/a/b"}
    if region == "us-east-1":
        hosts.add("https://bucket.s3.amazonaws.com/prefix/a/b")
    assert link is not None
    assert link.partition("?")[0] in hosts
