"""Names are looked up on threads of their own, so that whoever asks can stop waiting.

The system's resolver takes the time that ``resolv.conf`` gives it, which may be minutes, and cannot be interrupted. All
who ask for a name share one lookup of it: servers of names that do not answer hold a thread for each of their names,
however often those are asked for, and nobody else's lookup waits for it.
"""

import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Lock, Thread
from typing import NamedTuple

System = Callable[[str, int], Sequence[str]]


class _UnderWay(NamedTuple):
    addresses: Future[Sequence[str]]
    began: float


def system(host: str, port: int) -> Sequence[str]:
    """Return all addresses of a host in the order to try them; raise ``OSError`` or ``UnicodeError`` if it has none."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Lookups:
    """Lookups by ``system``, one of a name at a time."""

    def __init__(self, system: System = system) -> None:
        self._system = system
        self._under_way: dict[tuple[str, int], _UnderWay] = {}
        self._lock = Lock()

    def resolve(self, host: str, port: int, seconds: float) -> Sequence[str]:
        """Return all addresses of a host in the order to try them, within ``seconds``.

        Raises ``TimeoutError`` when it takes longer, and otherwise what the system does.
        """
        return self._lookup((host, port), seconds).addresses.result(seconds)

    def _lookup(self, name: tuple[str, int], seconds: float) -> _UnderWay:
        """Return the lookup under way, or a new one; who could wait no longer trusts none that began before that."""
        now = time.monotonic()
        with self._lock:
            found = self._under_way.get(name)
            if found is None or found.began < now - seconds:
                found = _UnderWay(Future(), now)
                Thread(target=self._look_up, args=(name, found), name=f"lookup-{name[0]}", daemon=True).start()
                self._under_way[name] = found
            return found

    def _look_up(self, name: tuple[str, int], lookup: _UnderWay) -> None:
        addresses, failure = None, None
        try:
            addresses = self._system(*name)
        except BaseException as error:  # noqa: BLE001 -- whatever it is, it is for those who wait
            failure = error
        with self._lock:
            if self._under_way.get(name) is lookup:
                del self._under_way[name]  # who asks after the answer is answered anew
        if addresses is None:
            lookup.addresses.set_exception(failure)
        else:
            lookup.addresses.set_result(addresses)
