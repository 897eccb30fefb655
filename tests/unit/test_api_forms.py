import asyncio
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from api import forms
from api.errors import Problem
from cleanplate.settings import Settings

T = TypeVar("T")
BOUNDARY = "b0undary"
LIMITS = Settings(CLEANPLATE_MAX_FILE_BYTES=64, CLEANPLATE_MAX_REQUEST_FILES=3)


@pytest.fixture(autouse=True, scope="module")
def small_limits() -> Iterable[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forms.settings, "get", lambda: LIMITS)
        yield


def body(*parts: tuple[str, str | None, bytes]) -> bytes:
    """Return a multipart body of (field, file name or None, content)."""
    lines = bytearray()
    for field, name, content in parts:
        disposition = f'form-data; name="{field}"' + (f'; filename="{name}"' if name is not None else "")
        lines += f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"
    return bytes(lines) + f"--{BOUNDARY}--\r\n".encode()


def parse(chunks: Iterable[bytes], look: Callable[[forms.Form], T], kind: str = "multipart/form-data") -> T:
    """Receive the chunks as a request's body and return what ``look`` makes of the form."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    waiting = iter(messages)

    async def receive() -> Any:
        return next(waiting)

    async def run() -> T:
        headers = [(b"content-type", f"{kind}; boundary={BOUNDARY}".encode())]
        request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
        parsing = forms.multipart(request)
        try:
            return look(await anext(parsing))
        finally:
            await parsing.aclose()

    return asyncio.run(run())


def refused(chunks: Iterable[bytes], kind: str = "multipart/form-data") -> Problem:
    with pytest.raises(Problem) as raised:
        parse(chunks, lambda form: form, kind)
    return raised.value


@settings(max_examples=50)
@given(
    contents=st.lists(st.binary(max_size=64) | st.just(b"\r\n--b0undar"), max_size=3),
    text=st.text(max_size=20),
    cuts=st.lists(st.integers(0, 500), max_size=6),
)
def test_what_was_sent_is_what_is_read_however_it_comes_in_pieces(
    contents: list[bytes], text: str, cuts: list[int]
) -> None:
    sent = body(("note", None, text.encode()), *(("files", f"f{i}", data) for i, data in enumerate(contents)))
    edges = sorted({0, len(sent), *(min(cut, len(sent)) for cut in cuts)})
    chunks = [sent[start:end] for start, end in pairwise(edges)]
    got = parse(chunks, lambda form: (form.fields, [(file.name, form.read(file)) for file in form.files]))
    assert got == ({"note": text}, [(f"f{i}", data) for i, data in enumerate(contents)])


def test_a_file_too_large_is_dropped_and_the_others_are_still_there() -> None:
    def look(form: forms.Form) -> bytes:
        large, small = form.files
        with pytest.raises(Problem, match="file_too_large") as raised:
            form.read(large)
        assert raised.value.extra == {"bytes": 1000, "limit_bytes": 64}
        assert form.spool.seek(0, 2) == 64 + 5
        return form.read(small)

    assert parse([body(("files", "large", b"x" * 1000), ("files", "small", b"small"))], look) == b"small"


def test_more_files_than_allowed_are_refused() -> None:
    problem = refused([body(*(("files", f"f{i}", b"") for i in range(4)))])
    assert (problem.status, problem.code) == (413, "too_many_files")


def test_more_fields_than_allowed_are_refused() -> None:
    problem = refused([body(*((f"f{i}", None, b"") for i in range(forms.FIELDS_ALLOWED + 1)))])
    assert (problem.status, problem.code) == (413, "too_many_fields")


def test_a_field_that_is_too_long_is_refused() -> None:
    problem = refused([body(("note", None, b"x" * (forms.FIELD_BYTES + 1)))])
    assert (problem.status, problem.code) == (413, "field_too_large")


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (("file", "a.jpg", b"x"), "#/file: this call takes image, mask, seed"),
        (("mask", None, b"a_mask.png"), "#/mask: this is to be a file; curl sends one by -F mask=@PATH"),
        (("seed", "s", b"7"), "#/seed: this is to be text; curl sends what is in a file by -F 'seed=<PATH'"),
    ],
)
def test_what_does_not_fit_is_told_with_what_would(part: tuple[str, str | None, bytes], told: str) -> None:
    with pytest.raises(Problem) as caught:
        parse([body(part)], lambda form: form.only(files=("image", "mask"), fields=("seed",)))
    assert (caught.value.code, caught.value.detail) == ("validation_failed", told)


def test_a_body_that_ends_early_is_malformed_and_no_form() -> None:
    whole = body(("files", "a.png", b"abc"))
    for length in (0, 10, len(whole) // 2, len(whole) - 5):
        assert refused([whole[:length]]).code == "malformed_body"


@pytest.mark.parametrize(
    "broken",
    [
        b"no multipart at all",
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; filename="x"\r\n\r\nabc\r\n--{BOUNDARY}--'.encode(),
        body(("note", None, b"1"), ("note", None, b"2")),
    ],
    ids=["no parts", "a part without a name", "a field given twice"],
)
def test_what_cannot_be_understood_is_malformed(broken: bytes) -> None:
    problem = refused([broken])
    assert (problem.status, problem.code) == (400, "malformed_body")


def test_another_kind_of_body_is_not_taken() -> None:
    problem = refused([b"{}"], "application/json")
    assert (problem.status, problem.code) == (415, "unsupported_media_type")


def test_a_file_input_left_empty_in_a_browser_is_no_file() -> None:
    assert parse([body(("files", "", b""), ("files", "a.png", b"a"))], lambda form: [f.name for f in form.files]) == [
        "a.png"
    ]


def test_names_that_are_not_utf_8_are_read_as_latin_1() -> None:
    sent = body(("files", "gr?n.png", b"a")).replace(b"gr?n", b"gr\xfcn")
    assert parse([sent], lambda form: form.files[0].name) == "grün.png"
