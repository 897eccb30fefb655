import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.archive import manifest
from api.archive.manifest import Row, parse
from api.errors import Problem
from cleanplate.resources import Params


def faults(data: bytes) -> list[tuple[str | None, str]]:
    with pytest.raises(Problem, match="manifest_invalid") as raised:
        parse(data, rows_allowed=3)
    return [(error.item, error.code) for error in raised.value.errors]


def test_a_row_says_which_files_belong_together_and_what_else_is_to_be_known() -> None:
    text = "image,mask,custom_id,dilate_pixels,metadata.sku,metadata.note\na.jpg, m.png ,A-1,20,S 1,\n\nb.jpg,,,,,\n"
    first, second = parse(text.encode(), 10)
    assert first == Row(2, "a.jpg", "m.png", "A-1", {"dilate_pixels": "20"}, {"sku": "S 1"})
    assert second == Row(4, "b.jpg", "", "", {}, {})
    assert first.at == "manifest.csv:2"
    defaults = Params(dilate_pixels=1, output_format="webp")
    assert first.params_over(defaults) == Params(dilate_pixels=20, output_format="webp")
    assert second.params_over(defaults) == defaults


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfimage,mask\r\na.jpg,m.png\r\n",
        b"image;mask\na.jpg;m.png",
        b'image,mask\n"a.jpg","m.png"\n',
        b"mask,image\nm.png,a.jpg",
    ],
    ids=["byte order mark", "semicolons", "quotes", "another order"],
)
def test_tables_are_read_as_programs_write_them(data: bytes) -> None:
    (row,) = parse(data, 10)
    assert (row.line, row.image, row.mask) == (2, "a.jpg", "m.png")


def test_lines_are_counted_as_editors_do() -> None:
    rows = parse(b'image,metadata.note\n"a.jpg","two\nlines"\nb.jpg,\n', 10)
    assert [row.line for row in rows] == [2, 4]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("image\na\ngrün\n".encode("cp1252"), [("manifest.csv:3", "manifest_not_utf8")]),
        ("image\na\n".encode("utf-16"), [("manifest.csv:1", "manifest_not_utf8")]),
        (b"image\na\nb\0\n", [("manifest.csv:3", "manifest_malformed")]),
        (b'image\na\n"b', [("manifest.csv:3", "manifest_malformed")]),
        (b"image,mask\na,b\na,b,c\n", [("manifest.csv:3", "manifest_malformed")]),
        (b"", [("manifest.csv:1", "manifest_missing_column")]),
        (b"mask\nb\n", [("manifest.csv:1", "manifest_missing_column")]),
        (b"image,mask,mask\n", [("manifest.csv:1", "manifest_repeated_column")]),
        (b"image\na\nb\nc\nd\n", [("manifest.csv:5", "manifest_too_large")]),
        (
            b"image,Mask,metadata.,dilate\n",
            [("manifest.csv:1", "manifest_unknown_column")] * 3,
        ),
    ],
    ids=["cp1252", "utf-16", "nul", "quote", "cells", "empty", "no image", "twice", "rows", "unknown"],
)
def test_a_table_that_cannot_be_understood_is_refused_with_its_lines(data: bytes, told: list[tuple[str, str]]) -> None:
    assert faults(data) == told


@given(
    st.binary(max_size=300) | st.text(max_size=300).map(lambda text: b"image,mask\n" + text.encode("utf-8", "replace"))
)
def test_no_bytes_make_it_stumble(data: bytes) -> None:
    try:
        rows = parse(data, 100)
    except Problem as problem:
        assert problem.code == "manifest_invalid"  # noqa: PT017 -- it may not raise
    else:
        assert all(row.line > 1 for row in rows)


def test_every_param_has_a_column() -> None:
    header = ",".join([*manifest.FILES, *Params.model_fields])
    assert parse(header.encode(), 1) == []
