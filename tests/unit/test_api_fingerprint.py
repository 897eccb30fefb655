import httpx
from hypothesis import given
from hypothesis import strategies as st

from api.fingerprint import FIRST_MARK, BodyDigest

PHOTO = bytes(range(256)) * 40


def form(**files: bytes) -> tuple[bytes, str]:
    """Return a multipart body as httpx sends it, with a boundary of its own, and the Content-Type."""
    request = httpx.Request("POST", "http://x/", files={name: (f"{name}.jpg", data) for name, data in files.items()})
    return request.read(), request.headers["content-type"]


def digest(body: bytes, content_type: str, step: int = 1 << 16) -> str:
    made = BodyDigest(content_type.partition("boundary=")[2].encode())
    for start in range(0, len(body), step):
        made.update(body[start : start + step])
    return made.hexdigest()


def test_the_same_form_under_another_boundary_is_the_same() -> None:
    one, other = form(image=PHOTO, mask=b"m"), form(image=PHOTO, mask=b"m")
    assert one != other
    assert digest(*one) == digest(*other)


def test_another_file_name_or_content_is_another_form() -> None:
    bodies = [form(image=PHOTO), form(image=PHOTO + b"."), form(mask=PHOTO), form(image=PHOTO, mask=b"")]
    assert len({digest(*body) for body in bodies}) == len(bodies)


@given(st.integers(1, 200))
def test_it_does_not_matter_in_which_pieces_a_body_comes(step: int) -> None:
    body = form(image=PHOTO, mask=b"\r\n--\r\n-")
    assert digest(*body, step=step) == digest(*body)


def test_a_body_that_is_no_form_is_hashed_as_it_is() -> None:
    assert digest(b'{"a": 1}', "application/json") != digest(b'{"a":1}', "application/json")


@given(st.integers(0, 3 * FIRST_MARK), st.integers(0, 40_000), st.binary(max_size=3))
def test_what_came_of_a_cut_body_is_known_again_in_the_whole_one_and_not_in_another(
    came: int, length: int, changed: bytes
) -> None:
    whole = (PHOTO * 5)[: max(came, length)]
    first, again, other = (BodyDigest(b"") for _ in range(3))
    first.update(whole[:came])
    for start in range(0, len(whole), 1000):
        again.update(whole[start : start + 1000])
    other.update(changed + whole)
    size, digest = max(first.marks.items())
    assert came * 15 <= size * 16 or came < FIRST_MARK
    assert again.marks[size] == digest
    assert (other.marks.get(size) == digest) == (size == 0 or (changed + whole)[:size] == whole[:size])


def test_few_marks_are_kept_of_a_large_body() -> None:
    made = BodyDigest(b"")
    for _ in range(64):
        made.update(bytes(1 << 20))
    assert len(made.marks) < 300
