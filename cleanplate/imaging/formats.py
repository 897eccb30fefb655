"""The formats that results are stored in, and what each of them can hold."""

from collections.abc import Mapping
from typing import Literal

OutputFormat = Literal["png", "jpeg", "webp"]

LOSSLESS = frozenset({"png", "webp"})  # as this package writes them
MEDIA_TYPES: Mapping[str, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
MAX_SIDE: Mapping[str, int] = {"png": 1_000_000, "jpeg": 65_500, "webp": 16_383}  # pixels; the libraries' own limits
