"""Receivers of what goes out, as bare sockets, and what they saw."""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import IPv4Network
from threading import Event, Thread

LOOPBACK = (IPv4Network("127.0.0.0/8"),)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NAME = "hooks.example.test"


def port_of(listener: socket.socket) -> int:
    return listener.getsockname()[1]


def saw_nobody(listener: socket.socket) -> bool:
    """A handshake is the kernel's work: a connection that was made would be waiting here by now."""
    listener.setblocking(False)
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return True
    return False


@contextmanager
def receiver(listener: socket.socket, answer: Callable[[socket.socket], None]) -> Iterator[list[bytes]]:
    """Give each connection's first bytes to the list and the connection to ``answer``."""
    received: list[bytes] = []
    ended = Event()

    def serve() -> None:
        while not ended.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    if not ended.is_set():
                        received.append(connection.recv(65536))
                        answer(connection)

    thread = Thread(target=serve)
    thread.start()
    try:
        yield received
    finally:
        ended.set()
        socket.create_connection(listener.getsockname()[:2]).close()  # wakes the accept
        thread.join()


def says(data: bytes) -> Callable[[socket.socket], None]:
    """Answer, and keep the connection for as long as the client does."""

    def say(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.settimeout(5)
        connection.recv(1)

    return say


def leads_to(*addresses: str) -> Callable[[str, int, float], Sequence[str]]:
    return lambda _host, _port, _seconds: addresses
