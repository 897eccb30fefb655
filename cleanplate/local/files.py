"""Files and directories that only their owner may read."""

import os
from pathlib import Path

from cleanplate.local.errors import StackError


def private_dir(path: Path) -> Path:
    """Return the directory, made with mode 700 if it was missing; one that stands keeps its mode.

    Raises ``StackError`` where this user may not write.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StackError(f"cannot make the directory {path}: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise StackError(f"{path} belongs to another user; name another directory in CLEANPLATE_DATA_DIR")
    return path


def write_private(path: Path, text: str, *, durable: bool = True) -> None:
    """Put ``text`` into a file of mode 600, whole or not at all; when ``durable``, a crash of the machine spares it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    beside.replace(path)
