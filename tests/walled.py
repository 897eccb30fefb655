"""What leaves the guard, seen from inside a network in which every address there is leads to one listener.

``unshare --user --map-root-user --net python -m tests.walled ADDRESS ...`` prints JSON: how many packets were seen for
each address, by the way in which it was named, while it was forbidden, and then while it was allowed. They are counted
by a sniffer on the only interface, so none is missed; those of the public address that leads astray are left out.
"""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any

from cryptography.fernet import Fernet

PUBLIC = "93.184.215.14"
ASTRAY = f"http://{PUBLIC}"
NAME = "hooks.example.test"
PLAIN = ": a name"
IPV4 = b"\x08\x00"
Names = dict[str, Iterator[list[str]]]


class Sniffer:
    """Counts packets to or from addresses other than ``PUBLIC``."""

    def __init__(self) -> None:
        everything = socket.htons(3)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, everything)
        self._socket.bind(("lo", 0))
        self._socket.setblocking(False)

    def count(self) -> int:
        """Return how many were seen since the last call: on this interface one is there as soon as it is sent."""
        seen = 0
        while True:
            try:
                frame = self._socket.recv(65536)
            except BlockingIOError:
                return seen
            public = ip_address(PUBLIC).packed
            seen += not (frame[12:14] == IPV4 and public in (frame[26:30], frame[30:34]))


class Receiver(BaseHTTPRequestHandler):
    """Answers 200, or sends whoever asks for ``/to/STATUS/URL`` there."""

    def do_GET(self) -> None:
        _, _, asked = self.path.partition("/to/")
        status, _, url = asked.partition("/")
        self.send_response(int(status or 200))
        if url:
            self.send_header("Location", url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815 -- by the name of the method

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def build() -> None:
    """Make every address of this network one of this machine's, with the receiver at port 80."""
    commands = ("link set lo up", f"addr add {PUBLIC}/32 dev lo")
    commands += ("route add local 0.0.0.0/0 dev lo", "-6 route add local ::/0 dev lo")
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)
    threading.Thread(target=Server(("::", 80), Receiver).serve_forever, daemon=True).start()


def name_server(names: Names) -> None:
    """Let names resolve to what ``names`` gives next; addresses are what they are."""
    really = socket.getaddrinfo

    def look_up(host: Any, port: Any, *more: Any, **options: Any) -> Any:
        said = host.decode() if isinstance(host, bytes) else host
        if said not in names:
            return really(host, port, *more, **options)
        return [found for address in next(names[said]) for found in really(address, port, *more, **options)]

    socket.getaddrinfo = look_up


def ways(address: str, names: Names) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield each way in which somebody may try to have ``address`` reached."""
    from worker import notify, sources
    from worker.notify import Letter

    def resolving(*answers: list[str]) -> None:
        names[NAME] = iter(answers)

    def hook(url: str) -> Callable[[], object]:
        key = os.environ["CLEANPLATE_SECRET_KEYS"]
        sealed = Fernet(key).encrypt(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").decode()
        now = datetime.now(UTC)
        letter = Letter("dlv_1", "evt_1", "whe_1", "ten_1", url, (sealed,), "{}", number=1, nth=1, began_at=now)
        return lambda: notify.deliver(letter)

    def image(url: str) -> Callable[[], object]:
        return lambda: sources._from_url(url, 1000)

    literal = f"http://[{address.replace('%', '%25')}]/" if ":" in address else f"http://{address}/"
    for what, reach in (("webhook", hook), ("image", image)):
        yield f"{what}: the address", reach(literal)
        resolving([address])
        yield f"{what}{PLAIN}", reach(f"http://{NAME}/")
        resolving([PUBLIC, address])
        yield f"{what}: a name with a public address, too", reach(f"http://{NAME}/")
        for status in (301, 302, 307, 308):
            yield f"{what}: a redirect by {status}", reach(f"{ASTRAY}/to/{status}/{literal}")
        resolving([address])
        yield f"{what}: a redirect to a name", reach(f"{ASTRAY}/to/302/http://{NAME}/")
        yield f"{what}: a redirect to a redirect", reach(f"{ASTRAY}/to/302/{ASTRAY}/to/302/{literal}")
        resolving([PUBLIC], [address], [address])
        yield f"{what}: a name that is rebound, first", reach(f"http://{NAME}/to/302/http://{NAME}/")
        yield f"{what}: a name that is rebound, then", reach(f"http://{NAME}/")


def seen(addresses: list[str], names: Names, sniffer: Sniffer, *, allowed: bool) -> dict[str, dict[str, int]]:
    """Return how many packets each way led to; of an address that is allowed the plain one alone is tried."""
    from cleanplate import settings

    told: dict[str, dict[str, int]] = {}
    for address in addresses:
        os.environ["CLEANPLATE_ALLOW_PRIVATE_NETWORKS"] = address.partition("%")[0] if allowed else ""
        settings.get.cache_clear()
        for way, reach in ways(address, names):
            if not allowed or way.endswith(PLAIN):
                sniffer.count()
                reach()
                told.setdefault(address, {})[way] = sniffer.count()
    return told


def main() -> None:
    """Look what is seen of the forbidden before anything is allowed, whose last packets may come late."""
    os.environ["CLEANPLATE_SECRET_KEYS"] = Fernet.generate_key().decode()
    names: Names = {}
    build()
    name_server(names)
    sniffer, addresses = Sniffer(), sys.argv[1:]
    told = {allowed: seen(addresses, names, sniffer, allowed=allowed) for allowed in (False, True)}
    sys.stdout.write(json.dumps({"forbidden": told[False], "allowed": told[True]}))


if __name__ == "__main__":
    main()
