"""What the tests of object stores have in common."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from cleanplate.storage import Store

BUCKET = "pictures"
PNG = "image/png"
WRITER = """
import sys
import tempfile
import time
from cleanplate.storage import open_store
store, letter = open_store(sys.argv[1]), sys.argv[2].encode()
print("ready", flush=True)
for n in range(int(sys.argv[3])):
    store.put("shared/one", letter * 400_000, media_type="image/png")
"""


@contextmanager
def writer(url: str, letter: str, times: int) -> Iterator[subprocess.Popen[str]]:
    """Put the same object over and over from a process of its own."""
    command = [sys.executable, "-c", WRITER, url, letter, str(times)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def keys(store: Store, prefix: str = "", **filters: datetime) -> set[str]:
    return {stat.key for stat in store.list(prefix, **filters)}
