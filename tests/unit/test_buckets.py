"""Which objects of S3 may be imported: what an operator lists, to the letter."""

import pytest
from pydantic import ValidationError

from cleanplate import buckets
from cleanplate.settings import Settings


@pytest.mark.parametrize(
    ("address", "bucket", "key"),
    [
        ("s3://photos/a.jpg", "photos", "a.jpg"),
        ("s3://my.photos-2/autumn/ä b?c#d.jpg", "my.photos-2", "autumn/ä b?c#d.jpg"),
    ],
)
def test_an_address_is_a_bucket_and_a_key_of_any_letters(address: str, bucket: str, key: str) -> None:
    assert buckets.parse(address) == (bucket, key)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "photos/a.jpg",
        "s3://photos",
        "s3://photos/",
        "s3:///a.jpg",
        "S3://photos/a.jpg",
        "https://photos/a.jpg",
        "s3://key:secret@photos/a.jpg",
        "s3://photos:80/a.jpg",
        "s3://arn:aws:s3:us-east-1:1:accesspoint/a",
        "s3://photos/autumn/../spring/a.jpg",
        "s3://photos/./a.jpg",
        "s3://photos//a.jpg",
        "s3://photos/autumn/",
        f"s3://photos/{'ä' * 513}",
    ],
)
def test_what_is_no_object_or_could_become_another_on_the_way_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"^it"):
        buckets.parse(address)


@pytest.mark.parametrize(
    ("place", "allowed"),
    [
        ("photos", True),
        ("photos/", True),
        ("photos/autumn", True),
        ("photos/autumn/", True),
        ("photos/autumn/a", False),
        ("photos/aut", False),
        ("photo", False),
        ("other", False),
    ],
)
def test_a_place_is_a_bucket_or_a_folder_of_it_as_a_whole(place: str, allowed: bool) -> None:
    assert buckets.is_allowed("photos", "autumn/a.jpg", ["elsewhere", place]) is allowed


def test_without_a_list_nothing_is_allowed() -> None:
    assert Settings().import_buckets == ()
    assert not buckets.is_allowed("photos", "a.jpg", Settings().import_buckets)


@pytest.mark.parametrize("place", ["ours", "ours/team", "ours/team/inputs"])
def test_the_store_of_all_tenants_is_no_place_to_import_from(place: str) -> None:
    with pytest.raises(ValidationError, match="what all tenants sent"):
        Settings(STORAGE_URL="s3://ours/team", CLEANPLATE_IMPORT_BUCKETS=f"photos,{place}")


@pytest.mark.parametrize("place", ["ours-2", "ours/teams", "ours/other"])
def test_what_lies_beside_the_store_is(place: str) -> None:
    assert Settings(STORAGE_URL="s3://ours/team", CLEANPLATE_IMPORT_BUCKETS=place).import_buckets == (place,)
    assert Settings(STORAGE_URL="file:///srv/objects", CLEANPLATE_IMPORT_BUCKETS=place).import_buckets == (place,)
