"""Keep the memory that one picture took for the next one.

glibc gives freed memory back to the kernel and takes it anew, zeroed page by page, for every array of every picture:
6,000 page faults and a quarter of the CPU time that a picture of 1 MP takes to finish.
"""

import ctypes
from typing import Final

# From glibc's malloc.h
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3

KEPT_BYTES: Final = 128 << 20
LARGEST_KEPT_BYTES: Final = 32 << 20
"""An array that is larger goes back at once; glibc takes no higher limit."""


def keep_freed() -> None:
    """Let this process keep up to ``KEPT_BYTES`` that it has freed; other C libraries are left as they are."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
