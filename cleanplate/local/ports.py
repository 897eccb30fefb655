"""TCP ports on the loopback address."""

import secrets
import socket
from pathlib import Path

from cleanplate.local.errors import PortInUseError, StackError
from cleanplate.local.files import write_private

HOST = "127.0.0.1"

BELOW_EPHEMERAL = range(20_000, 32_000)
"""Ports that no kernel hands to outgoing connections.

A server's port among those could be taken by a client of its own while it restarts: a connection to a silent loopback
port may get that very port as its source and connect to itself.
"""


def is_free(port: int) -> bool:
    """Tell whether a server could listen on ``port`` of the loopback address now.

    Raises ``StackError`` for a port this user may not listen on.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            # Not listened on: a process that is being forked now would hold the listening socket for a moment longer.
            probe.bind((HOST, port))
        except PermissionError as error:
            raise StackError(f"this user may not listen on port {port}; pass --port 8000") from error
        except OSError:
            return False
    return True


def require(port: int) -> None:
    """Raise ``PortInUseError``, which names a free port near by, unless ``port`` is free."""
    if not is_free(port):
        above = (other for other in range(port + 1, 65_536) if is_free(other))
        raise PortInUseError(port, next(above, None) or choose())


def choose() -> int:
    """Return a free port for a server whose port nobody needs to know."""
    while not is_free(port := secrets.choice(BELOW_EPHEMERAL)):
        pass
    return port


def keep(file: Path) -> int:
    """Return the port that ``file`` tells, as long as it is free; else choose one and write it there."""
    if file.exists() and is_free(port := int(file.read_text(encoding="ascii"))):
        return port
    port = choose()
    write_private(file, str(port))
    return port
