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
    suffix = _key(mask_suffix)
    for file in sorted(files):
        key = _key(_stem(file))
        if key.endswith(suffix) and PurePosixPath(key).name != suffix:
            masks[key.removesuffix(suffix)].append(file)
        else:
            images[key].append(file)
    pairs, faults = [], []
    for key in sorted(images.keys() | masks.keys()):
        match images[key], masks[key]:
            case [image], [mask]:
                pairs.append(Pair(unicodedata.normalize("NFC", _stem(image)), image, mask))
            case [image], []:
                faults.append(
                    Rejection(item=image, code="missing_mask", detail=f"{_stem(image)}{mask_suffix}.png is not there")
                )
            case [], [mask]:
                faults.append(Rejection(item=mask, code="missing_image", detail="the image of this mask is not there"))
            case several, others:
                detail = f"{', '.join(several + others)} have the same name"
                faults += [Rejection(item=file, code="ambiguous_pair", detail=detail) for file in several + others]
    return pairs, faults


def _stem(file: str) -> str:
    path = PurePosixPath(file)
    return str(path.parent / path.stem)


def _key(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
