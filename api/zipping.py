"""A ZIP file as a stream: written by the standard library to a sink that keeps nothing.

Entries are stored, not deflated (pictures do not get smaller), each followed by its checksum. All that grows is the
directory at the end, which every writer of ZIP files keeps: half a kilobyte an entry.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final
from zipfile import ZIP_STORED, ZipFile, ZipInfo

LONGEST_STEP: Final = 200
_OLDEST, _NEWEST = 1980, 2107
_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


class _Sink:
    """What the archive is written to; it cannot seek, so the archive never looks back."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: what was written is taken, not kept."""

    def take(self) -> bytes:
        taken = b"".join(self._written)
        self._written.clear()
        return taken


class Archive:
    """One archive; its methods yield the bytes to send next."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._zip = ZipFile(self._sink, "w", ZIP_STORED)  # type: ignore[call-overload]  # to write takes no more
        self._taken: set[str] = set()

    def name(self, wanted: str, extension: str, otherwise: str) -> str:
        """Return a path that is safe on every system and that no other entry has, not even in another case.

        ``otherwise`` is what else tells this entry from others.
        """
        path = safe(wanted) or otherwise
        name = f"{path}{extension}"
        if name.casefold() in self._taken:
            name = f"{path}-{otherwise}{extension}"
        self._taken.add(name.casefold())
        return name

    def add(self, name: str, at: datetime | None, size: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Add an entry of ``size`` bytes."""
        at = (at or datetime.now(UTC)).astimezone(UTC)
        info = ZipInfo(name, (min(max(at.year, _OLDEST), _NEWEST), *at.timetuple()[1:6]))
        info.external_attr = 0o644 << 16
        info.file_size = size
        with self._zip.open(info, "w") as entry:
            for chunk in chunks:
                entry.write(chunk)
                yield self._sink.take()

    def close(self) -> bytes:
        """Return the end of the archive."""
        self._zip.close()
        return self._sink.take()


def safe(name: str) -> str:
    """Return the name as a relative path that can be unpacked anywhere, or nothing when nothing is left of it.

    In NFC, without ``..``, control characters and what Windows forbids; each step of at most ``LONGEST_STEP`` bytes.
    """
    steps = unicodedata.normalize("NFC", name).replace("\\", "/").split("/")
    return "/".join(step for step in map(_step, steps) if step)


def _step(step: str) -> str:
    step = _UNSAFE.sub("_", step.encode(errors="replace").decode()).strip().rstrip(". ")
    step = step.encode()[:LONGEST_STEP].decode(errors="ignore")
    return f"_{step}" if _RESERVED.fullmatch(step) else step
