"""``cleanplate erase photos.zip``: asked about first, sent, fetched, and what failed sent again from what is stored."""

import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.journeys.harness import stack, stored
from tests.pictures import MASK

COUNT, REFUSED = 6, [2, 5]
IDS = {f"ITEM-{number}" for number in range(COUNT)}


@pytest.fixture
def archive(tmp_path: Path, photos: list[Path]) -> Path:
    """Photographs with a manifest that names them, and a mask of another size."""
    rows = [f"{path.name},,ITEM-{number},{10 + number}" for number, path in enumerate(photos[:COUNT])]
    other = f"{photos[0].name},other.png,WRONG,"
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as made:
        made.writestr("manifest.csv", "\n".join(["image,mask,custom_id,dilate_pixels", *rows, other]))
        made.writestr("other.png", MASK)
        for path in photos[:COUNT]:
            made.write(path, path.name)
            made.write(path.with_name(f"{path.stem}_mask.png"), f"{path.stem}_mask.png")
    return tmp_path / "photos.zip"


def test_an_archive_is_quoted_sent_fetched_and_finished_by_a_retry(tmp_path: Path, archive: Path) -> None:
    out = tmp_path / "out"
    with stack(tmp_path / "data", slots=4, latency=0.3, fast=True) as running, running.client() as client:
        quoted = ended(running.erase(archive, out, "--dry-run"), 0)
        assert quoted.splitlines()[0].startswith(f"{COUNT} pairs to send (")
        assert "1 files or items left aside" in quoted
        assert "96 x 64" in quoted
        assert (running.paid(), client.upstream().slots_used, out.exists()) == (0, 0, False)

        running.faults({"where": "submit", "what": "status", "code": 422, "nth": REFUSED})
        ended(running.erase(archive, out), 1)
        assert stored(out) < IDS
        assert (len(stored(out)), running.paid()) == (COUNT - len(REFUSED), COUNT - len(REFUSED))

        ended(running.erase(archive, out, "--retry-failed"), 1)
        assert stored(out) == IDS
        assert running.paid() == COUNT
        ended(running.erase(archive, out, "--retry-failed"), 1)
        assert running.paid() == COUNT, "what was refused is told again, and nothing is paid again"


def ended(process: "subprocess.Popen[str]", code: int) -> str:
    told, complaints = process.communicate(timeout=300)
    assert process.returncode == code, told + complaints
    return told
