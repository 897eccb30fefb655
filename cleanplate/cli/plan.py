"""What is left to do for a folder of photos, given what its output folder remembers."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cleanplate.cli import manifest
from cleanplate.cli.manifest import Content, Fault, ItemLine
from cleanplate.pairing import Pair, pair
from cleanplate.resources import Params, Rejection
from cleanplate.states import Status

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif", ".tif", ".tiff", ".bmp", ".gif"})
"""Endings that say "a picture"; whether it is one of the formats taken is for the server to say, by its content."""


@dataclass(frozen=True)
class Photos:
    """The pairs of one folder and its subfolders; names are relative to it, with ``/``."""

    folder: Path
    pairs: list[Pair]
    alone: list[Rejection]

    def paths(self, pair_: Pair) -> tuple[Path, Path]:
        return self.folder / pair_.image, self.folder / pair_.mask

    def bytes(self, pair_: Pair) -> int:
        """Return the size of both files, 0 for one that is gone."""
        return sum(path.stat().st_size for path in self.paths(pair_) if path.exists())


def look(folder: Path, out: Path, mask_suffix: str) -> Photos:
    """Return what is in ``folder``; hidden files are left aside, and everything in ``out`` or another output folder."""
    unseen: list[Rejection] = []
    files = list(_files(folder, out.resolve(), unseen))
    bad = [
        Rejection(item=repr(file), code="bad_name", detail='rename it: \\, " and control characters cannot be sent')
        for file in files
        if not _sendable(file)
    ]
    pairs, alone = pair(filter(_sendable, files), mask_suffix)
    return Photos(folder, pairs, alone + bad + unseen)


def _files(folder: Path, out: Path, unseen: list[Rejection]) -> Iterator[str]:
    """Yield pictures by their names; folders that are not looked into, and may have pictures, go to ``unseen``."""

    def leave(path: Path, why: str) -> None:
        item = f"{path.relative_to(folder).as_posix()}/"
        unseen.append(Rejection(item=item, code="folder_not_read", detail=f"this folder is not read: {why}"))

    for where, folders, files in os.walk(
        folder, onerror=lambda error: leave(Path(error.filename), error.strerror or str(error))
    ):
        here = Path(where)
        folders[:] = [name for name in folders if not name.startswith(".") and not _has_results(here / name, out)]
        for name in folders:
            if (here / name).is_symlink():
                leave(here / name, "it is a link")
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in PICTURES:
                yield (here / name).relative_to(folder).as_posix()


def _has_results(folder: Path, out: Path) -> bool:
    return folder.resolve() == out or (os.access(folder, os.X_OK) and (folder / manifest.NAME).exists())


def _sendable(file: str) -> bool:
    return file.isprintable() and not {'"', "\\"} & set(file)


@dataclass
class Plan:
    """Pairs to send, and that cannot be read; items on their way, to be fetched again, and that are settled."""

    send: list[Pair] = field(default_factory=list)
    unreadable: list[ItemLine] = field(default_factory=list)
    follow: list[ItemLine] = field(default_factory=list)
    fetch: list[ItemLine] = field(default_factory=list)
    done: list[ItemLine] = field(default_factory=list)
    failed: list[ItemLine] = field(default_factory=list)


def make(photos: Photos, out: Path, items: Mapping[str, ItemLine], params: Params, *, retry_failed: bool) -> Plan:
    """Sort each pair by what is known of it.

    A pair is sent when it never was, when either file or the params have changed since, or when it failed and
    ``retry_failed`` asks for it.
    """
    plan = Plan()
    for pair_ in photos.pairs:
        line = items.get(pair_.name)
        if line is None or line.params != params or not _unchanged(photos, pair_, line):
            fault = _fault(photos, pair_)
            if fault is None:
                plan.send.append(pair_)
            else:
                plan.unreadable.append(unread(pair_, params, fault))
        elif line.status is Status.QUEUED:
            plan.follow.append(line)
        elif line.status is Status.SUCCEEDED:
            if line.output is None or line.content is None or not (out / line.output).exists():
                plan.fetch.append(line)
            else:
                changed = not line.content.is_still_in(out / line.output)
                plan.done.append(line.model_copy(update={"changed": changed}))
        elif retry_failed:
            plan.send.append(pair_)
        else:
            plan.failed.append(line)
    return plan


def _unchanged(photos: Photos, pair_: Pair, line: ItemLine) -> bool:
    image, mask = photos.paths(pair_)
    return line.image.is_still_in(image) and line.mask.is_still_in(mask)


def _fault(photos: Photos, pair_: Pair) -> OSError | None:
    """Find out, before there is a batch, whether there will be anything to send."""
    try:
        for path in photos.paths(pair_):
            path.open("rb").close()
    except OSError as error:
        return error
    return None


def unread(pair_: Pair, params: Params, error: OSError, batch_id: str = "") -> ItemLine:
    """Return the item that a pair is of which a file cannot be read; it belongs to no batch, or to one in vain."""
    fault = Fault(code="unreadable", detail=f"{error.filename}: {error.strerror}")
    gone = Content(sha256="", bytes=0)
    known = {"status": Status.FAILED, "error": fault}
    return ItemLine(name=pair_.name, batch_id=batch_id, params=params, image=gone, mask=gone, **known)
