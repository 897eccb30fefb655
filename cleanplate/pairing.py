"""Which files belong together: ``NAME.ext`` is an image, ``NAME_mask.ext`` is its mask.

Names are compared in Unicode's NFC and without regard to case, since file systems and ZIP tools disagree about both.
A folder is part of the name: ``shoes/red.jpg`` pairs with ``shoes/red_mask.png``.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from cleanplate.resources import Rejection

NAMED = 5
"""Names that a fault lists: each of those that are alike has one, and their lengths must not multiply."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its mask, by the names they came under. ``name`` is the image's in NFC, without its extension."""

    name: str
    image: str
    mask: str


@dataclass(slots=True)
class _Alike:
    """The files of one name."""

    images: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    first: Pair | None = None

    def faults(self, mask_suffix: str, taken: Pair | None) -> Iterator[Rejection]:
        """Yield why each file that is not in ``taken`` is in no pair."""
        alike = sorted(self.images) + sorted(self.masks)
        if taken is not None:
            detail = f"{taken.image} and {taken.mask} have the same name and came before"
            late = [file for file in alike if file not in {taken.image, taken.mask}]
            late += [file for file in (taken.image, taken.mask) if alike.count(file) > 1]
            yield from (Rejection(item=file, code="ambiguous_pair", detail=detail) for file in late)
        elif not self.masks and len(self.images) == 1:
            detail = f"{stem(self.images[0])}{mask_suffix}.png is not there"
            yield Rejection(item=self.images[0], code="missing_mask", detail=detail)
        elif not self.images and len(self.masks) == 1:
            detail = "the image of this mask is not there"
            yield Rejection(item=self.masks[0], code="missing_image", detail=detail)
        else:
            more = f" and {len(alike) - NAMED} more" if len(alike) > NAMED else ""
            detail = f"{', '.join(alike[:NAMED])}{more} have the same name"
            yield from (Rejection(item=file, code="ambiguous_pair", detail=detail) for file in alike)


class Pairing:
    """Pairs files in the order in which they come: the first image and mask of a name, if no third came between."""

    def __init__(self, mask_suffix: str = "_mask") -> None:
        self._suffix = mask_suffix
        self._key = key(mask_suffix)
        self._alike: dict[str, _Alike] = defaultdict(_Alike)

    def add(self, file: str) -> Pair | None:
        """Take the next file; return the pair that it completes."""
        name = key(stem(file))
        is_mask = name.endswith(self._key) and PurePosixPath(name).name != self._key
        found = self._alike[name.removesuffix(self._key) if is_mask else name]
        (found.masks if is_mask else found.images).append(file)
        if found.first is None and len(found.images) == len(found.masks) == 1:
            found.first = Pair(custom_id(found.images[0]), found.images[0], found.masks[0])
            return found.first
        return None

    def rejected(self) -> list[Rejection]:
        """Return every file that is in no pair, with why: ``missing_mask``, ``missing_image``, ``ambiguous_pair``."""
        return [why for _, found in sorted(self._alike.items()) for why in found.faults(self._suffix, found.first)]

    def whole(self) -> tuple[list[Pair], list[Rejection]]:
        """Return the same where nothing was taken before all had come: of a name that has more than a pair, none is."""
        pairs: list[Pair] = []
        faults: list[Rejection] = []
        for _, found in sorted(self._alike.items()):
            if found.first is not None and len(found.images) == len(found.masks) == 1:
                pairs.append(found.first)
            else:
                faults += found.faults(self._suffix, None)
        return pairs, faults


def pair(files: Iterable[str], mask_suffix: str = "_mask") -> tuple[list[Pair], list[Rejection]]:
    """Return the pairs among ``files`` in the order of their names, and every file that is in none, with why.

    The codes are ``missing_mask``, ``missing_image`` and ``ambiguous_pair``.
    """
    pairing = Pairing(mask_suffix)
    for file in files:
        pairing.add(file)
    return pairing.whole()


def custom_id(image: str) -> str:
    """Return what an item is called by its image, when nobody says otherwise."""
    return unicodedata.normalize("NFC", stem(image))


def stem(file: str) -> str:
    """Return the name with its folder and without its extension."""
    path = PurePosixPath(file)
    return str(path.parent / path.stem)


def key(text: str) -> str:
    """Return what names that are the same have in common: NFC, without regard to case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
