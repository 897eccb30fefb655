"""What one picture took is there for the next."""

import platform
import subprocess
import sys

import pytest

PICTURES = """
import ctypes, resource, sys
import numpy as np
from worker import memory

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: with huge pages there would be few faults to count
if sys.argv[1] == "kept":
    memory.keep_freed()

def picture():
    arrays = [np.ones(4_000_000, np.uint8) for _ in range(8)]

picture()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    picture()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    run = subprocess.run([sys.executable, "-c", PICTURES, how], check=True, capture_output=True, text=True)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_memory_is_not_taken_from_the_kernel_anew_for_every_picture() -> None:
    assert page_faults("kept") < 1000 < page_faults("given back")
