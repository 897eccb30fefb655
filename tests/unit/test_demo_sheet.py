"""The contact sheet: harmless whatever the names are, sane in size, and honest about what failed."""

import base64
import hashlib
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from cleanplate.cli.demo import poster, sheet
from cleanplate.cli.demo.sheet import Row

HOSTILE = "<script>alert(1)</script>\" onload='x' &amp; $name"
MakeRow = Callable[..., Row]


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture
def make_row(tmp_path: Path) -> MakeRow:
    def make(name: str = "mug", *, size: tuple[int, int] = (120, 90), failed: bool = False, note: str = "4.1 s") -> Row:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        before, mask, after = (folder / f"{part}.png" for part in ("before", "mask", "after"))
        Image.new("RGB", size, "#3377aa").save(before)
        drawn = Image.new("L", size)
        ImageDraw.Draw(drawn).ellipse((10, 10, 40, 40), 255)
        drawn.save(mask)
        Image.new("RGB", size, "#aa7733").save(after)
        return Row(name, before, mask, None if failed else after, note)

    return make


def written(tmp_path: Path, rows: list[Row], **words: str) -> tuple[Image.Image, str]:
    png, html = tmp_path / "sheet.png", tmp_path / "sheet.html"
    sheet.write(rows, png, html, **{"title": "Cleanplate", "subtitle": "erased", **words})
    with Image.open(png) as image:
        image.load()
        return image, html.read_text("utf-8")


def test_names_titles_and_notes_are_escaped(tmp_path: Path, make_row: MakeRow) -> None:
    rows = [make_row(HOSTILE, note=HOSTILE), make_row(HOSTILE, failed=True, note=HOSTILE)]
    elements = Elements(written(tmp_path, rows, title=HOSTILE, subtitle=HOSTILE)[1])
    assert len(elements.all("script")) == 1
    assert not [key for _, attributes in elements.found for key in attributes if key.startswith("on")]
    assert elements.text.count(HOSTILE) == 7
    assert elements.all("img")[0]["alt"] == f"{HOSTILE}, after"


def test_the_page_asks_nothing_of_any_network(tmp_path: Path, make_row: MakeRow) -> None:
    _, html = written(tmp_path, [make_row(), make_row(failed=True)])
    elements = Elements(html)
    assert not re.search(r"https?:|//\w|@import|url\(", re.sub(r"data:image/jpeg;base64,[\w+/=]*", "", html))
    assert not elements.all("link")
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in elements.all("img"))


def test_its_policy_allows_only_its_own_script(tmp_path: Path, make_row: MakeRow) -> None:
    _, html = written(tmp_path, [make_row()])
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = (m["content"] for m in Elements(html).all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in str(policy)


def test_each_photograph_has_a_labelled_slider_and_the_outline_of_its_mask(tmp_path: Path, make_row: MakeRow) -> None:
    elements = Elements(written(tmp_path, [make_row("mug"), make_row("vase")])[1])
    sliders = [one for one in elements.all("input") if one["type"] == "range"]
    assert [str(slider["aria-label"]).split(":")[0] for slider in sliders] == ["mug", "vase"]
    assert all(str(path["d"]).startswith("M") for path in elements.all("path"))


def test_pictures_in_the_page_are_scaled_down_and_upright(tmp_path: Path, make_row: MakeRow) -> None:
    row = make_row(size=(1600, 800))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    with Image.open(row.before) as before, Image.open(row.mask) as mask, Image.open(row.after or "") as after:
        before.save(row.before, exif=exif)
        mask.transpose(Image.Transpose.ROTATE_270).save(row.mask)
        after.transpose(Image.Transpose.ROTATE_270).save(row.after or "")
    for image in Elements(written(tmp_path, [row])[1]).all("img"):
        with Image.open(io.BytesIO(base64.b64decode(str(image["src"]).partition(",")[2]))) as picture:
            assert picture.size == (500, 1000) == (int(image["width"] or 0), int(image["height"] or 0))


def test_a_missing_result_is_a_failed_cell_that_says_why(tmp_path: Path, make_row: MakeRow) -> None:
    row = make_row(failed=True, note="failed: moderated")
    image, html = written(tmp_path, [row])
    good, _ = written(tmp_path, [make_row(note="failed: moderated")])
    elements = Elements(html)
    assert [figure["class"] for figure in elements.all("figure")] == ["failed"]
    assert "no result" in elements.text
    assert "failed: moderated" in elements.text
    assert shares(good, "#aa7733") > 0.03
    assert shares(image, "#aa7733") == 0
    assert shares(image, "#b3261e") > shares(good, "#b3261e") == 0


def shares(image: Image.Image, colour: str) -> float:
    wanted = tuple(bytes.fromhex(colour[1:]))
    return sum(n for n, found in image.getcolors(image.width * image.height) or () if found == wanted) / (
        image.width * image.height
    )


@pytest.mark.parametrize("broken", ["before", "mask", "after"])
def test_a_picture_that_cannot_be_read_breaks_nothing(tmp_path: Path, make_row: MakeRow, broken: str) -> None:
    row = make_row()
    getattr(row, broken).write_bytes(b"not a picture")
    image, html = written(tmp_path, [row, make_row()])
    assert image.width == 2400
    failed = [figure.get("class") for figure in Elements(html).all("figure")]
    assert failed == ([None, None] if broken == "mask" else ["failed", None])


def test_twelve_photographs_make_a_poster_of_a_sane_size(tmp_path: Path, make_row: MakeRow) -> None:
    sizes = [(120, 120), (80, 160), (160, 80), (150, 100)] * 3
    image, _ = written(tmp_path, [make_row(size=size) for size in sizes])
    assert image.width == 2400
    assert 1200 < image.height < 4000


def test_a_large_batch_is_all_in_the_page_and_the_poster_says_how_many_it_leaves_out(
    tmp_path: Path, make_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheet, "_ON_THE_POSTER", 2)
    rows = [make_row(f"photo {n}") for n in range(5)]
    few, _ = written(tmp_path, rows[:2])
    many, html = written(tmp_path, rows)
    assert len(Elements(html).all("figure")) == 5
    assert few.size == many.size
    assert few.tobytes() != many.tobytes()


def test_a_sheet_of_nothing_is_written_all_the_same(tmp_path: Path) -> None:
    image, html = written(tmp_path, [])
    assert image.width == 2400
    assert not Elements(html).all("figure")


@settings(max_examples=50)
@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=70))
def test_rows_fill_the_width_and_nothing_overlaps(aspects: list[float]) -> None:
    places = list(poster._justified(aspects))
    assert len(places) == len(aspects)
    right, bottom = 0.0, 0.0
    for place in places:
        span = 3 * place.width
        if place.y > bottom:
            bottom, right = place.y + place.height, 0.0
        assert place.x >= right
        right = place.x + span
        assert right <= 2400 - 90
        assert 60 < place.height < 500
