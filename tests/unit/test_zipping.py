import io
import zipfile
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.zipping import Archive, safe

AT = datetime(2026, 3, 2, 9, 30, 58, tzinfo=UTC)


@given(st.lists(st.tuples(st.text(max_size=30), st.binary(max_size=300))))
def test_whatever_the_names_are_every_entry_comes_back_under_a_name_of_its_own(items: list[tuple[str, bytes]]) -> None:
    archive, sent, names = Archive(), bytearray(), []
    for number, (wanted, data) in enumerate(items):
        names.append(archive.name(wanted, ".png", f"job_{number}"))
        for part in archive.add(names[-1], AT, len(data), [data[:100], data[100:]]):
            sent += part
    sent += archive.close()
    with zipfile.ZipFile(io.BytesIO(sent)) as read:
        assert read.testzip() is None
        assert [read.read(name) for name in names] == [data for _, data in items]
        assert {info.date_time for info in read.infolist()} <= {(2026, 3, 2, 9, 30, 58)}
    assert len({name.casefold() for name in names}) == len(names)


@given(st.text())
def test_a_safe_name_stays_below_the_folder_it_is_unpacked_in(name: str) -> None:
    made = safe(name)
    assert not made.startswith("/")
    assert not {".", "..", ""} & set(made.split("/")) or not made
    assert all(len(step.encode()) <= 201 for step in made.split("/"))
    assert safe(made) == made


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("shoes/red.v2", "shoes/red.v2"),
        ("..\\..\\windows", "windows"),
        ("CON", "_CON"),
        ("lpt1.txt", "_lpt1.txt"),
        ("e\u0301", "\u00e9"),
        ("a\x00b:c", "a_b_c"),
        ("...", ""),
        ("\ud800", "?".replace("?", "_")),
    ],
)
def test_names_become(name: str, made: str) -> None:
    assert safe(name) == made


def test_nothing_that_was_sent_is_kept() -> None:
    archive = Archive()
    for part in archive.add("a", AT, 5 << 20, [bytes(1 << 20)] * 5):
        assert len(part) < 1.1 * (1 << 20)
    assert archive._sink.take() != b""  # the entry's checksum
    assert archive._sink._written == []
