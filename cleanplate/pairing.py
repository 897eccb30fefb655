"""Which files belong together: ``NAME.ext`` is an image, ``NAME_mask.ext`` is its mask.

Names are compared in Unicode's NFC and without regard to case, since file systems and ZIP tools disagree about both.
A folder is part of the name: ``shoes/red.jpg`` pairs with ``shoes/red_mask.png``.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
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


def pair(files: Iterable[str], mask_suffix: str = "_mask") -> tuple[list[Pair], list[Rejection]]:
    """Return the pairs among ``files`` in the order of their names, and every file that is in none, with why.

    The codes are ``missing_mask``, ``missing_image`` and ``ambiguous_pair``.
    """
    images: dict[str, list[str]] = defaultdict(list)
    masks: dict[str, list[str]] = defaultdict(list)
    suffix = key(mask_suffix)
    for file in sorted(files):
        name = key(stem(file))
        if name.endswith(suffix) and PurePosixPath(name).name != suffix:
            masks[name.removesuffix(suffix)].append(file)
        else:
            images[name].append(file)
    pairs, faults = [], []
    for name in sorted(images.keys() | masks.keys()):
        match images[name], masks[name]:
            case [image], [mask]:
                pairs.append(Pair(custom_id(image), image, mask))
            case [image], []:
                faults.append(
                    Rejection(item=image, code="missing_mask", detail=f"{stem(image)}{mask_suffix}.png is not there")
                )
            case [], [mask]:
                faults.append(Rejection(item=mask, code="missing_image", detail="the image of this mask is not there"))
            case several, others:
                alike = several + others
                more = f" and {len(alike) - NAMED} more" if len(alike) > NAMED else ""
                detail = f"{', '.join(alike[:NAMED])}{more} have the same name"
                faults += [Rejection(item=file, code="ambiguous_pair", detail=detail) for file in alike]
    return pairs, faults


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
