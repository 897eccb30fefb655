"""``cleanplate erase`` of a ZIP file."""

import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from cleanplate.cli.archive import Archive
from cleanplate.cli.manifest import Manifest
from cleanplate.cli.progress import Progress
from cleanplate.cli.upload import Sending
from cleanplate.resources import BatchOptions
from tests.cli_runs import saved, told
from tests.fake_api import FakeApi, problem


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An archive of three pairs."""
    return packed(tmp_path / "photos.zip", *(f"{name}{end}" for name in ("a", "b", "deep/c") for end in ENDS))


ENDS = (".jpg", "_mask.png")


def packed(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, f"content of {name}")
    return path


def test_an_archive_goes_as_one_request_and_comes_back_as_a_folder(erase: Any, api: FakeApi, tmp_path: Path) -> None:
    result = erase("--json", "--dilate", "20")
    assert result.exit_code == 0, result.stderr
    assert saved(tmp_path / "out") == {"a.png", "b.png", "deep/c.png"}
    assert (told(result)[1]["succeeded"], told(result)[1]["settled_now"]) == (3, 3)
    assert api.count("POST", "/items") == 1
    (batch,) = api.batches.values()
    assert batch["sealed"]
    assert (batch["options"]["name"], batch["options"]["params"]["dilate_pixels"]) == ("photos", 20)


def test_a_rerun_sends_and_downloads_nothing(erase: Any, api: FakeApi) -> None:
    erase()
    result = erase("--json")
    assert (result.exit_code, told(result)[1]["settled_now"]) == (0, 0)
    assert (api.count("POST", "/items"), sorted(api.downloaded)) == (1, ["a", "b", "deep/c"])


def test_other_params_or_another_archive_make_a_batch_of_their_own(erase: Any, api: FakeApi, photos: Path) -> None:
    erase()
    erase("--dilate", "20")
    packed(photos, *(f"{name}{end}" for name in ("a", "b", "new") for end in ENDS))
    assert erase("--dilate", "20").exit_code == 0
    assert len(api.batches) == 3
    assert all(batch["sealed"] for batch in api.batches.values())


@pytest.mark.parametrize("served", [True, False])
@pytest.mark.parametrize("where", ["/items", "/seal"])
def test_an_interrupt_at_any_moment_is_resumed_into_the_same_batch(
    erase: Any, api: FakeApi, tmp_path: Path, where: str, *, served: bool
) -> None:
    def interrupt(request: httpx.Request) -> None:
        if request.url.path.endswith(where):
            raise KeyboardInterrupt

    setattr(api, "after" if served else "before", interrupt)
    result = erase()
    assert result.exit_code == 130
    assert "resume with: .venv/bin/cleanplate erase" in result.stderr
    api.before = api.after = lambda _: None
    assert erase().exit_code == 0
    assert len(api.batches) == 1
    assert sorted(api.uploaded) == ["a", "b", "deep/c"]
    assert saved(tmp_path / "out") == {"a.png", "b.png", "deep/c.png"}


def test_what_is_refused_fails_and_what_is_no_item_is_only_told(erase: Any, api: FakeApi, photos: Path) -> None:
    packed(photos, *(f"{name}{end}" for name in ("a", "b") for end in ENDS), "alone.jpg")
    api.refuse = {"b"}
    for _ in range(2):
        result = erase("--json")
        assert result.exit_code == 1
        assert (told(result)[1]["succeeded"], told(result)[1]["failed"]) == (1, 1)
        assert [one["item"] for one in told(result)[1]["unpaired"]] == ["alone.jpg"]
        assert "1 items were refused:" in result.stderr


def test_what_is_no_archive_or_has_no_pairs_is_a_usage_error(erase: Any, api: FakeApi, photos: Path) -> None:
    packed(photos, "a.jpg", "__MACOSX/a_mask.png", "b_mask.png")
    assert erase().exit_code == 2
    photos.write_bytes(b"PK no archive")
    result = erase()
    assert (result.exit_code, api.requests) == (2, [])
    assert "neither a folder nor a ZIP file" in result.stderr


def test_the_rows_of_a_manifest_count(erase: Any, photos: Path) -> None:
    with zipfile.ZipFile(photos, "w") as archive:
        archive.writestr("a.jpg", b"image")
        archive.writestr("Manifest.csv", "image,mask\n")
    assert erase().exit_code == 2


def test_an_archive_that_another_server_has_is_not_silently_sent_again(erase: Any, api: FakeApi) -> None:
    erase()
    api.batches.clear()
    result = erase()
    assert result.exit_code == 2
    assert "another folder" in result.stderr
    assert api.count("POST", "/items") == 1


def test_a_dry_run_tells_what_the_server_found(api: FakeApi, photos: Path, tmp_path: Path) -> None:
    warned = {"warnings": ["mask_grey: Much of it is grey."], "credits": 5.0}
    quote = {
        "items": [
            {"item": "a.jpg", "custom_id": "a", **warned},
            {"item": "b.jpg", "custom_id": "b", **warned, "credits": 0.0, "reused": True},
        ],
        "rejected": [{"item": "c.jpg", "code": "image_corrupt", "detail": "It breaks off."}],
        "accepted": True,
        "quote_credits": 5.0,
        "within_budget": 2,
        "eta_seconds": 8.0,
    }
    api.before = lambda request: httpx.Response(200, json=quote) if request.url.params.get("dry_run") else None
    options = BatchOptions()
    archive = Archive(photos, options, Progress("erasing"), retry_failed=False)
    first, *rest = archive.dry_run(Manifest(tmp_path / "out"), api.client).splitlines()
    assert first.startswith("2 pairs to send (0.0 MB, about 5 credits, 1 reused), 1 files")
    assert rest == ["  c.jpg: It breaks off.", "2 with the warning mask_grey:", "  a.jpg", "  b.jpg"]


def test_how_far_it_has_been_sent_is_told_in_words() -> None:
    sending = Sending("bat_1", "photos.zip", pairs=3, size=4_000_000)
    assert sending.words() == "sending photos.zip: 0 of 4 MB"
    sending.tell(3_000_000)
    assert sending.words() == "sending photos.zip: 3 of 4 MB"
    sending.tell(4_000_000)
    assert sending.words() == "photos.zip is being checked and taken in"


@pytest.mark.parametrize("code", ["archive_rejected", "manifest_invalid"])
def test_an_archive_that_is_refused_whole_leaves_no_batch_open_and_can_be_sent_again(
    erase: Any, api: FakeApi, code: str
) -> None:
    api.before = lambda request: problem(422, code) if request.url.path.endswith("/items") else None
    result = erase()
    assert result.exit_code != 0
    assert code in result.stderr
    (refused,) = api.batches.values()
    assert refused["cancelled"]
    api.before = lambda _: None
    assert "was sent as" not in erase("--dry-run").stdout
    assert erase().exit_code == 0
    assert [batch["sealed"] for batch in api.batches.values()] == [False, True]


def test_of_an_archive_that_is_refused_at_its_end_what_was_taken_goes_on(erase: Any, api: FakeApi) -> None:
    def lose(request: httpx.Request) -> None:
        if request.url.path.endswith("/items"):
            api.before = lambda request: problem(422, "archive_rejected") if "/items" in request.url.path else None
            api.after = lambda _: None
            raise httpx.ReadError("lost")

    api.after = lose
    result = erase()
    assert (result.exit_code, "archive_rejected" in result.stderr) == (1, True)
    assert api.count("POST", "/cancel") == 0


def test_the_server_is_told_when_there_is_no_manifest_so_that_it_need_not_wait_for_one(
    erase: Any, api: FakeApi, photos: Path
) -> None:
    erase()
    with zipfile.ZipFile(photos, "a") as archive:
        archive.writestr("manifest.csv", "image,mask\na.jpg,\n")
    erase()
    assert [batch["options"]["manifest"] for batch in api.batches.values()] == [False, True]
