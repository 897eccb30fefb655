import random
import zipfile
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.archive.beginning import Beginning
from api.archive.directory import read_directory
from api.archive.records import Limits, Member
from tests.zips import ENCRYPTED, Entry, crafted, piped, zipped

LIMITS = Limits(entries=20, unpacked_bytes=1 << 20, ratio=1000)
NOISE = random.Random(7).randbytes(3000)
FILES = {"a.jpg": NOISE, "b/": b"", "b/text": b"word " * 5000, "c": b"", "d.png": NOISE[:100]}
Write = Callable[..., bytes]


def reader(data: bytes, here: int) -> Callable[[int, int], bytes]:
    return lambda at, size: data[:here][at : at + size]


def found(data: bytes, sizes: list[int] | None = None, limits: Limits = LIMITS, most: int = 1 << 20) -> list[Member]:
    """Return what is found in an archive that comes piece by piece."""
    here = 0
    beginning = Beginning(lambda at, size: data[:here][at : at + size], limits, most)
    members = []
    for here in sorted([*(sizes or []), len(data)]):
        members += beginning.find(min(here, len(data)))
    return members


def directory(data: bytes) -> list[Member]:
    return read_directory(reader(data, len(data)), len(data), LIMITS)


@given(st.sampled_from([zipped, piped]), st.lists(st.integers(0, 9000), max_size=8))
def test_an_archive_that_comes_in_pieces_has_the_files_that_its_directory_tells_of(
    write: Callable[[Mapping[str, bytes]], bytes], sizes: list[int]
) -> None:
    data = write(FILES)
    assert found(data, sizes) == directory(data)


def test_a_file_is_found_as_soon_as_its_last_byte_is_here_and_not_before() -> None:
    data = zipped(FILES, zipfile.ZIP_STORED)
    end = directory(data)[0].offset + len(NOISE)
    beginning = Beginning(reader(data, end), LIMITS, 1 << 20)
    assert beginning.find(end - 1) == []
    assert [member.name for member in beginning.find(end)] == ["a.jpg"]


def test_where_a_stored_file_ends_that_says_so_behind_it_only_the_directory_knows() -> None:
    assert found(piped(FILES, zipfile.ZIP_STORED)) == []


@pytest.mark.parametrize(
    "second",
    [
        Entry(b"in.zip"),
        Entry(b"x", flags=ENCRYPTED | 0x0008),
        Entry(b"x", b"0" * (2 << 20)),
        Entry(b"x", extra=b"\x01\x00\x08\x00", size=0xFFFFFFFF),
    ],
    ids=["an archive in it", "encrypted, its size behind it", "more than may be unpacked", "a broken size"],
)
def test_nothing_is_found_behind_what_looks_odd(second: Entry) -> None:
    assert [member.name for member in found(crafted(Entry(b"first"), second, Entry(b"third")))] == ["first"]


def test_a_file_that_unpacks_to_too_much_is_not_unpacked_to_its_end() -> None:
    data = piped({"first": b"1", "bomb": bytes(1 << 20), "third": b"3"})
    assert [member.name for member in found(data, most=1000)] == ["first"]


@given(st.binary(max_size=200), st.integers(0, 3000))
def test_damage_of_any_kind_raises_nothing(noise: bytes, at: int) -> None:
    data = bytearray(piped(FILES))
    data[at : at + len(noise)] = noise
    found(bytes(data), [at, at + len(noise)])
