"""What is made of ZIP files: whole ones, odd ones and those that are made to hurt."""

import io
import tracemalloc
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable
from struct import pack

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from api.archive import members
from api.archive.members import Archive, open_archive
from api.errors import Problem
from api.forms import File, Form
from cleanplate.settings import Settings
from tests.zips import ENCRYPTED, LINK, Entry, crafted, zipped

LIMITS = Settings(
    CLEANPLATE_MAX_FILE_BYTES=100_000,
    CLEANPLATE_MAX_ARCHIVE_ENTRIES=50,
    CLEANPLATE_MAX_ARCHIVE_BYTES=200_000,
    CLEANPLATE_MAX_ARCHIVE_RATIO=20,
)
PAIR = {"a.jpg": bytes(range(256)) * 40, "a_mask.png": b"mask"}


@pytest.fixture(autouse=True, scope="module")
def small_limits() -> Iterable[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(members.settings, "get", lambda: LIMITS)
        yield


class Held(Form):
    """A request that is held in memory."""

    def part(self, file: File, offset: int, size: int) -> bytes:
        self.spool.seek(file.offset + min(offset, file.size))
        return self.spool.read(min(size, max(0, file.size - offset)))


def opened(data: bytes) -> Archive:
    before = b"other parts of the request"
    form = Held(io.BytesIO(before + data + b"and more of them"))
    return open_archive(form, File("archive", "photos.zip", len(before), len(data)))


def contents(data: bytes) -> dict[str, bytes]:
    archive = opened(data)
    return {file.name: archive.read(file) for file in archive.files}


def reason(data: bytes) -> str:
    with pytest.raises(Problem, match="archive_rejected") as raised:
        opened(data)
    assert raised.value.status == 422
    return str(raised.value.extra["reason"])


def fault(data: bytes) -> str:
    archive = opened(data)
    with pytest.raises(Problem) as raised:
        archive.read(archive.files[0])
    return raised.value.code


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_come_out_as_they_went_in(method: int) -> None:
    assert contents(zipped(PAIR, method)) == PAIR


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


@examples(max_examples=50, deadline=None)
@given(
    st.dictionaries(NAMES.map("{}.jpg".format), st.binary(max_size=300), max_size=8),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    st.binary(max_size=50).filter(lambda comment: b"PK" not in comment),
)
def test_what_the_standard_library_writes_is_read(files: dict[str, bytes], method: int, comment: bytes) -> None:
    assert contents(zipped(files, method, comment)) == files


@examples(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_makes_it_stumble(data: st.DataObject) -> None:
    whole = bytearray(zipped(PAIR))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    piece = data.draw(st.sampled_from([bytes(whole), bytes(whole[:cut]), bytes(whole[cut:])]))
    try:
        archive = opened(piece)
        for file in archive.files:
            archive.read(file)
    except Problem as problem:
        assert problem.code in {"archive_rejected", "file_too_large", *members.FAULTS}  # noqa: PT017 -- it may not raise


@given(st.binary(max_size=2000))
def test_bytes_of_any_kind_are_no_archive(data: bytes) -> None:
    assert reason(data) == "not_a_zip"


def test_each_truncation_is_seen() -> None:
    whole = zipped({"a.jpg": b"abc", "b.jpg": b"def"})
    for length in range(len(whole)):
        with pytest.raises(Problem, match="archive_rejected"):
            opened(whole[:length])


def test_large_archives_are_read_as_zip64() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive, archive.open("a.jpg", "w", force_zip64=True) as file:
        file.write(b"abc")
    assert contents(made.getvalue()) == {"a.jpg": b"abc"}
    whole = crafted(Entry(b"a.jpg", b"abc"))
    length, begin = len(whole) - 22 - whole.index(b"PK\x01\x02"), whole.index(b"PK\x01\x02")
    end64 = pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, length, begin)
    locator = pack("<4sLQL", b"PK\x06\x07", 0, len(whole) - 22, 1)
    end = pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert contents(whole[:-22] + end64 + locator + end) == {"a.jpg": b"abc"}
    assert reason(whole[:-22] + end64 + locator.replace(pack("<Q", len(whole) - 22), pack("<Q", 2**63)) + end) == (
        "damaged"
    )


def test_what_stands_before_an_archive_is_passed_over() -> None:
    assert contents(crafted(Entry(b"a.jpg", b"abc"), before=b"#!/bin/unpack\n")) == {"a.jpg": b"abc"}


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        (Entry("grün.jpg".encode()), "grün.jpg"),
        (Entry("grün.jpg".encode(), flags=0), "grün.jpg"),
        (Entry("grün.jpg".encode("cp437"), flags=0), "grün.jpg"),
        (Entry(unicodedata.normalize("NFD", "grün.jpg").encode()), unicodedata.normalize("NFD", "grün.jpg")),
        (Entry(b"\xff.jpg"), "\N{REPLACEMENT CHARACTER}.jpg"),
        (Entry(b"x" * 2000), "x" * 1024),
    ],
    ids=["UTF-8", "UTF-8 without the flag", "code page 437", "NFD", "broken UTF-8", "very long"],
)
def test_names_are_read_in_every_way_that_they_are_written(entry: Entry, name: str) -> None:
    assert [file.name for file in opened(crafted(entry)).files] == [name]


def test_the_name_in_the_unicode_field_counts_when_it_is_of_this_name() -> None:
    for crc, name in ((zlib.crc32(b"gr_n.jpg"), "grün.jpg"), (1, "gr_n.jpg")):
        field = b"\x01" + crc.to_bytes(4, "little") + "grün.jpg".encode()
        entry = Entry(b"gr_n.jpg", flags=0, extra=pack("<2H", 0x7075, len(field)) + field)
        assert [file.name for file in opened(crafted(entry)).files] == [name]


def test_folders_are_no_files() -> None:
    assert list(contents(crafted(Entry(b"a/", b"", method=0), Entry(b"a/b.jpg")))) == ["a/b.jpg"]


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        (Entry(b"a.jpg", flags=ENCRYPTED), "encrypted_file"),
        (Entry(b"a.jpg", b"/etc/passwd", method=0, attributes=LINK), "unsupported_entry"),
        (Entry(b"a.jpg", method=12), "unsupported_compression"),
        (Entry(b"a.jpg", crc=1), "archive_damaged"),
        (Entry(b"a.jpg", size=5), "archive_damaged"),
        (Entry(b"a.jpg", size=3), "archive_damaged"),
        (Entry(b"a.jpg", method=0, size=3), "archive_damaged"),
        (Entry(b"a.jpg", bytes(range(256)) * 400), "file_too_large"),
    ],
    ids=["encrypted", "link", "bzip2", "checksum", "too short", "too long", "stored", "too large"],
)
def test_a_file_that_cannot_be_read_says_why_and_the_archive_is_taken(entry: Entry, code: str) -> None:
    assert fault(crafted(entry, Entry(b"b.jpg", b"x" * 9000, method=0))) == code


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (zipped({"a.jpg": bytes(90_000)}), "ratio"),
        (crafted(*(Entry(f"{n}.jpg".encode(), bytes(70_000), method=0) for n in range(3))), "too_large"),
        (crafted(*(Entry(f"{n}.jpg".encode()) for n in range(51))), "too_many_entries"),
        (crafted(*(Entry(f"{n}.jpg".encode()) for n in range(51)), count=5), "damaged"),
        (crafted(Entry(b"a.jpg"), Entry(b"b.jpg", offset=0)), "overlap"),
        (crafted(Entry(b"a.jpg", crafted(Entry(b"b.jpg")), method=0), Entry(b"b.jpg", offset=35)), "overlap"),
        (crafted(Entry(b"a.jpg", offset=5)), "damaged"),
        (crafted(Entry(b"a.jpg"), Entry(b"more.ZIP")), "nested"),
        (crafted(Entry(b"a.jpg"), count=2), "damaged"),
    ],
    ids=["ratio", "size", "entries", "hidden entries", "same twice", "quine", "elsewhere", "nested", "count"],
)
def test_what_is_made_to_hurt_is_refused_before_anything_is_unpacked(data: bytes, told: str) -> None:
    assert reason(data) == told


def test_a_file_that_lies_about_its_size_costs_no_more_than_it_said() -> None:
    data = crafted(Entry(b"a.jpg", bytes(50_000_000), size=1000), Entry(b"b.jpg", bytes(99_000), method=0))
    archive = opened(data)
    tracemalloc.start()
    with pytest.raises(Problem, match="archive_damaged"):
        archive.read(archive.files[0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_directory_that_says_it_is_huge_is_not_read() -> None:
    whole = bytearray(crafted(Entry(b"a.jpg")))
    whole[-10:-6] = pack("<L", 0x7FFFFFFF)
    assert reason(bytes(whole)) == "damaged"
