"""The contact sheet as one picture: rows of before | mask | after, justified as in a gallery."""

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cleanplate.cli.demo.views import Size, View

_WIDTH = 2400
_MARGIN = 96
_HEADER = 250
_GAP = 56  # between photographs
_SLIT = 6  # between the three pictures of one
_CAPTION = 116  # below them
_TALL, _SHORT, _MANY = 330, 240, 24  # the height rows aim at, and from how many photographs on the smaller
_A_ROW = 8  # photographs at most
_ASPECTS = 0.4, 2.5  # what is narrower or wider gets bars
_CORNER = 10

_GROUND, _TILE, _INK, _GREY, _LINE = "#f4f3f0", "#e8e6e1", "#1c1b1a", "#7d7972", "#d8d5ce"
_MARK, _FAULT = "#e6007e", "#b3261e"


@dataclass(frozen=True)
class _Place:
    x: float
    y: float
    width: float  # of one of the three pictures
    height: float


class Poster:
    """Give it the photographs' sizes first, then each photograph in that order, then save it."""

    def __init__(self, sizes: Sequence[Size], title: str, subtitle: str, *, left_out: int = 0) -> None:
        self._places = list(_justified([width / height for width, height in sizes]))
        bottom = max((place.y + place.height + _CAPTION for place in self._places), default=_HEADER)
        self._sheet = Image.new("RGB", (_WIDTH, round(bottom) + _MARGIN), _GROUND)
        self._pen = ImageDraw.Draw(self._sheet)
        self._next = iter(self._places)
        self._text((_MARGIN, 96), title, 76, _INK)
        self._text((_MARGIN, 186), subtitle, 32, _GREY)
        self._legend()
        self._pen.line((_MARGIN, _HEADER - 16, _WIDTH - _MARGIN, _HEADER - 16), _LINE, 2)
        if left_out:
            self._text((_MARGIN, bottom + 8), f"and {left_out} more in the HTML", 32, _GREY)

    def add(self, name: str, note: str, view: View) -> None:
        place = next(self._next)
        for number, picture in enumerate((view.before, view.before, view.after)):
            left = place.x + number * (place.width + _SLIT)
            box = round(left), round(place.y), round(left + place.width), round(place.y + place.height)
            small = _contained(picture, (box[2] - box[0], box[3] - box[1]))
            self._frame(_marked(small, view) if number == 1 else small, box)
            if picture is None:
                self._paragraph(note, box)
        self._text((place.x, place.y + place.height + 14), name, 27, _INK, room=3 * place.width + 2 * _SLIT)
        self._facts(place, note, view)

    def save(self, path: Path) -> None:
        self._sheet.save(path, compress_level=4)

    def _legend(self) -> None:
        x = float(_WIDTH - _MARGIN)
        for words, ink in (("after", _GREY), ("to erase", _MARK), ("before", _GREY)):
            x -= _font(30).getlength(words)
            self._text((x, 188), words, 30, ink)
            x -= 44
            if words != "before":
                self._pen.line((x + 22, 190, x + 22, 220), _LINE, 2)

    def _facts(self, place: _Place, note: str, view: View) -> None:
        x, y = place.x, place.y + place.height + 50
        if view.mask is not None:
            share = f"{view.coverage:.1%} to erase"
            self._text((x, y), share, 23, _MARK)
            x += _font(23).getlength(share) + 24
        failed = view.after is None
        room = place.x + 3 * place.width + 2 * _SLIT - x
        self._text((x, y), "no result" if failed else note, 23, _FAULT if failed else _GREY, room=room)

    def _frame(self, picture: Image.Image | None, box: tuple[int, int, int, int]) -> None:
        size = box[2] - box[0], box[3] - box[1]
        tile = Image.new("RGB", size, _TILE)
        if picture is None:
            _hatch(tile)
        else:
            tile.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
        self._sheet.paste(tile, box[:2], _rounded(size))

    def _paragraph(self, words: str, box: tuple[int, int, int, int]) -> None:
        for line, text in enumerate(_wrapped(words, 26, box[2] - box[0] - 48)):
            self._text((box[0] + 24, box[1] + 22 + 36 * line), text, 26, _FAULT)

    def _text(self, at: tuple[float, float], words: str, size: int, ink: str, *, room: float = _WIDTH) -> None:
        self._pen.text(at, _fitted(_drawable(words), size, room), ink, _font(size))


def _justified(aspects: Sequence[float]) -> Iterator[_Place]:
    """Break the photographs into rows that fill the width, so that their heights are as near to the aim as they get."""
    clamped = [min(max(aspect, _ASPECTS[0]), _ASPECTS[1]) for aspect in aspects]
    aim = _SHORT if len(clamped) > _MANY else _TALL
    best = [(0.0, 0)]  # for so many photographs: how far off the aim their rows are, and where the last one begins
    for end in range(1, len(clamped) + 1):
        ways = ((best[start][0] + _off(clamped[start:end], aim), start) for start in range(max(0, end - _A_ROW), end))
        best.append(min(ways))
    ends = [len(clamped)]
    while ends[-1]:
        ends.append(best[ends[-1]][1])
    y = float(_HEADER + 40)
    for start, end in pairwise(reversed(ends)):
        height, x = min(_height(clamped[start:end]), 1.4 * aim), float(_MARGIN)
        for aspect in clamped[start:end]:
            yield _Place(x, y, aspect * height, height)
            x += 3 * aspect * height + 2 * _SLIT + _GAP
        y += height + _CAPTION


def _off(row: Sequence[float], aim: float) -> float:
    return math.log(_height(row) / aim) ** 2


def _height(row: Sequence[float]) -> float:
    """Return the height at which a row of photographs of these aspects is as wide as the sheet."""
    room = _WIDTH - 2 * _MARGIN - len(row) * 2 * _SLIT - (len(row) - 1) * _GAP
    return max(room, 1) / (3 * sum(row))


def _contained(picture: Image.Image | None, size: Size) -> Image.Image | None:
    if picture is None:
        return None
    scale = min(size[0] / picture.width, size[1] / picture.height)
    shape = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(shape, Image.Resampling.HAMMING, reducing_gap=3.0)


def _marked(picture: Image.Image | None, view: View) -> Image.Image | None:
    """Return the picture, pale, with what is to be erased tinted and outlined."""
    if picture is None or view.mask is None:
        return picture
    pixels = np.asarray(picture, np.float32)
    pale = 51 + 0.8 * (0.72 * pixels.mean(axis=2, keepdims=True) + 0.28 * pixels)
    share = cv2.resize(view.mask, picture.size, interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
    tint = 0.5 * (np.asarray(_rgb(_MARK), np.float32) + pixels)
    marked = np.ascontiguousarray((pale + (tint - pale) * share).astype(np.uint8))
    scale = 16 * picture.width / view.mask.shape[1]
    lines = [np.round(line * scale).astype(np.int32) for line in view.outlines()]
    cv2.polylines(marked, lines, isClosed=True, color=_rgb(_MARK), thickness=2, lineType=cv2.LINE_AA, shift=4)
    return Image.fromarray(marked)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def _hatch(tile: Image.Image) -> None:
    pen = ImageDraw.Draw(tile)
    for x in range(-tile.height, tile.width, 22):
        pen.line((x, tile.height, x + tile.height, 0), "#dedbd4", 3)


@cache
def _rounded(size: Size) -> Image.Image:
    large = Image.new("L", (size[0] * 4, size[1] * 4))
    ImageDraw.Draw(large).rounded_rectangle((0, 0, *(4 * n - 1 for n in size)), 4 * _CORNER, 255)
    return large.resize(size, Image.Resampling.BOX)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _drawable(words: str) -> str:
    """Return what Pillow's font has letters for: accents fall, and the rest becomes question marks."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", words) if not unicodedata.combining(c))
    return plain.encode("ascii", "replace").decode()


def _fitted(words: str, size: int, room: float) -> str:
    if _font(size).getlength(words) <= room:
        return words
    while words and _font(size).getlength(f"{words}...") > room:
        words = words[:-1]
    return f"{words.rstrip()}..."


def _wrapped(words: str, size: int, room: float) -> list[str]:
    lines = [""]
    for word in _drawable(words).split():
        longer = f"{lines[-1]} {word}".strip()
        lines[-1:] = [longer] if _font(size).getlength(longer) <= room else [lines[-1], word]
    return lines[:6]
