"""One log file a service, appended over its restarts."""

from pathlib import Path
from typing import BinaryIO

ROTATED_BYTES = 20 << 20
TAIL_BYTES = 16 << 10


class Log:
    """``<name>.log``; when it is over 20 MiB at a start it becomes ``<name>.log.1`` and a new one begins."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / f"{name}.log"
        self._start = 0

    def open(self) -> BinaryIO:
        """Return the file to append to; what ``since_start`` reads begins here."""
        if self._size() > ROTATED_BYTES:
            self.path.replace(self.path.with_suffix(".log.1"))
        self._start = self._size()
        return self.path.open("ab")

    def since_start(self) -> str:
        """Return what was written since the last ``open``."""
        return self._read(self._start)

    def tail(self, lines: int = 15) -> str:
        """Return the last lines written since the last ``open``."""
        return "\n".join(self._read(max(self._start, self._size() - TAIL_BYTES)).splitlines()[-lines:])

    def _read(self, offset: int) -> str:
        if not self.path.exists():
            return ""
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read().decode(errors="replace")

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0
