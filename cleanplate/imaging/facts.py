"""What is written down about a picture file."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A file as it is (``bytes`` is its length, ``sha256`` in hex) and its picture's size upright, in pixels."""

    width: int
    height: int
    format: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class MaskFacts(Facts):
    """The same of a mask, and ``coverage``: the share of its pixels, above 0 and below 1, that are to be erased."""

    coverage: float
