"""Names are looked up in the time of whoever asks, and those whose servers hang cost a thread each."""

import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import pytest

from cleanplate.lookups import Lookups
from tests.servers import wait_until
from tests.threads import at_once

SECONDS = 60.0


class NameServers:
    """Servers that answer for every name but those that begin with ``dead``, until they are released."""

    def __init__(self) -> None:
        self.asked = Counter[str]()
        self.released = threading.Event()

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked[host] += 1
        if host.startswith("dead"):
            self.released.wait(SECONDS)
        if host.startswith("unknown"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [f"{host}:{port}"]


@pytest.fixture
def servers() -> Iterator[NameServers]:
    hanging = NameServers()
    yield hanging
    hanging.released.set()
    wait_until(lambda: not threads())


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("lookup-")]


def test_a_name_that_is_known_is_answered_anew_each_time(servers: NameServers) -> None:
    lookups = Lookups(servers)
    for _ in range(3):
        assert lookups.resolve("alive", 80, SECONDS) == ["alive:80"]
    assert servers.asked["alive"] == 3


def test_what_the_system_raises_is_raised(servers: NameServers) -> None:
    lookups = Lookups(servers)
    for _ in range(2):
        with pytest.raises(socket.gaierror, match="not known"):
            lookups.resolve("unknown", 80, SECONDS)


def test_who_asks_waits_no_longer_than_it_may(servers: NameServers) -> None:
    with pytest.raises(TimeoutError):
        Lookups(servers).resolve("dead", 80, 0.01)
    assert not servers.released.is_set()


def test_a_name_that_hangs_costs_one_thread_however_many_ask_and_the_others_none(
    servers: NameServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cleanplate.lookups.time", SimpleNamespace(monotonic=lambda: 0.0))  # the lookup stays new
    lookups = Lookups(servers)

    def ask() -> None:
        with pytest.raises(TimeoutError):
            lookups.resolve("dead", 80, 0.01)

    at_once([ask] * 20)
    ask()
    assert servers.asked["dead"] == 1
    assert threads() == ["lookup-dead"]
    for number in range(50):
        assert lookups.resolve(f"alive-{number}", 80, SECONDS) == [f"alive-{number}:80"]


def test_who_asks_meanwhile_has_the_same_answer(servers: NameServers) -> None:
    lookups, answers = Lookups(servers), []
    asking = [threading.Thread(target=lambda: answers.append(lookups.resolve("dead", 80, SECONDS))) for _ in range(5)]
    for one in asking:
        one.start()
    wait_until(lambda: servers.asked["dead"] >= 1)
    servers.released.set()
    for one in asking:
        one.join()
    assert answers == [["dead:80"]] * 5


def test_a_lookup_that_hangs_for_ever_does_not_keep_its_name_from_being_asked_for(servers: NameServers) -> None:
    lookups = Lookups(servers)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            lookups.resolve("dead", 80, 0.01)
    wait_until(lambda: servers.asked["dead"] == 2)
    servers.released.set()
    wait_until(lambda: not threads())
    assert lookups.resolve("dead", 80, SECONDS) == ["dead:80"]
