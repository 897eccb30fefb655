"""What a receiver sees of us, and what an address that is forbidden does not."""

import socket
from collections.abc import Sequence

import httpcore
import httpx
import pytest

from cleanplate import outbound
from cleanplate.outbound import ForbiddenAddress, client
from tests import web
from tests.receivers import LOOPBACK, NAME, OK, leads_to, port_of, receiver, saw_nobody, says


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "127.1", "2130706433", "[::ffff:127.0.0.1]"])
def test_loopback_by_any_name_sees_no_packet(host: str, listener: socket.socket) -> None:
    with client((), timeout_seconds=100) as http, pytest.raises(httpx.ConnectError) as refused:
        http.post(f"http://{host}:{port_of(listener)}/hook", content=b"secret")
    assert isinstance(refused.value, ForbiddenAddress)
    assert saw_nobody(listener)


def test_an_allowed_network_is_reached_under_the_name_that_was_asked_for(listener: socket.socket) -> None:
    with (
        receiver(listener, says(OK)) as received,
        client(LOOPBACK, timeout_seconds=100, resolve=leads_to("127.0.0.1")) as http,
    ):
        answer = http.post(f"http://{NAME}:{port_of(listener)}/hook", content=b"body")
    assert answer.text == "ok"
    assert received[0].startswith(b"POST /hook HTTP/1.1\r\nHost: " + f"{NAME}:{port_of(listener)}\r\n".encode())
    assert b"identity" in received[0]


def test_one_forbidden_address_among_several_refuses_them_all(listener: socket.socket) -> None:
    both = leads_to("127.0.0.1", "10.0.0.1")
    with client(LOOPBACK, timeout_seconds=100, resolve=both) as http, pytest.raises(ForbiddenAddress):
        http.get(f"http://{NAME}:{port_of(listener)}/")
    assert saw_nobody(listener)


def test_a_name_that_is_rebound_between_requests_is_judged_anew(listener: socket.socket) -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    with (
        receiver(listener, says(OK)) as received,
        client(LOOPBACK, timeout_seconds=100, resolve=lambda _host, _port, _seconds: next(answers)) as http,
    ):
        url = f"http://{NAME}:{port_of(listener)}/"
        assert http.get(url).text == "ok"
        with pytest.raises(ForbiddenAddress):
            http.get(url)
    assert len(received) == 1


def test_a_name_that_is_rebound_before_we_connect_is_refused(listener: socket.socket) -> None:
    answers = iter([["93.184.215.14"], ["127.0.0.1"]])
    url = f"http://{NAME}:{port_of(listener)}/"
    outbound.check_url(url, ())
    next(answers)  # what whoever looked before would have seen
    with (
        client((), timeout_seconds=100, resolve=lambda _host, _port, _seconds: next(answers)) as http,
        pytest.raises(ForbiddenAddress),
    ):
        http.get(url)
    assert saw_nobody(listener)


def test_what_is_dialled_is_the_address_that_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([["93.184.215.14"], ["127.0.0.1"]])
    dialled = []

    def dial(_self: object, host: str, *_arguments: object) -> httpcore.NetworkStream:
        dialled.append(host)
        raise httpcore.ConnectError

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", dial)
    with (
        client((), timeout_seconds=100, resolve=lambda _host, _port, _seconds: next(answers)) as http,
        pytest.raises(httpx.ConnectError) as failed,
    ):
        http.get(f"http://{NAME}/")
    assert not isinstance(failed.value, ForbiddenAddress)
    assert dialled == ["93.184.215.14"]


def test_an_address_that_nobody_answers_at_leaves_time_for_the_next(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    dial, waited = httpcore.SyncBackend.connect_tcp, []

    def slow(self: httpcore.SyncBackend, host: str, port: int, timeout: float, *rest: None) -> httpcore.NetworkStream:
        waited.append(timeout)
        if host == "127.0.0.2":
            raise httpcore.ConnectTimeout
        return dial(self, host, port, timeout, *rest)

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", slow)
    with (
        receiver(listener, says(OK)),
        client(LOOPBACK, timeout_seconds=900, resolve=leads_to("127.0.0.2", "127.0.0.2", "127.0.0.1")) as http,
    ):
        assert http.get(f"http://{NAME}:{port_of(listener)}/").text == "ok"
    assert waited == pytest.approx([300, 450, 900], abs=50)


def test_a_redirect_is_not_followed(listener: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inside:
        target = f"http://127.0.0.1:{port_of(inside)}/"
        redirect = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
        with receiver(listener, says(redirect)) as received, client(LOOPBACK, timeout_seconds=100) as http:
            answer = http.post(f"http://127.0.0.1:{port_of(listener)}/", content=b"body")
        assert answer.status_code == 307
        assert len(received) == 1
        assert saw_nobody(inside)


def test_a_redirect_that_a_caller_follows_is_judged_too(listener: socket.socket) -> None:
    redirect = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    with (
        receiver(listener, says(redirect)) as received,
        client(LOOPBACK, timeout_seconds=100) as http,
        pytest.raises(ForbiddenAddress),
    ):
        http.get(f"http://127.0.0.1:{port_of(listener)}/", follow_redirects=True)
    assert len(received) == 1


def test_a_proxy_in_the_environment_is_not_asked(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy, receiver(listener, says(OK)):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port_of(proxy)}")
        with client(LOOPBACK, timeout_seconds=100) as http:
            assert http.get(f"http://127.0.0.1:{port_of(listener)}/").text == "ok"
        assert saw_nobody(proxy)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "file:///etc/passwd", "127.0.0.1/"])
def test_only_http_goes_out(url: str) -> None:
    with client(LOOPBACK, timeout_seconds=100) as http, pytest.raises(httpx.UnsupportedProtocol):
        http.get(url)


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example"])
def test_a_name_that_is_none_is_a_connect_error(host: str) -> None:
    with client((), timeout_seconds=100) as http, pytest.raises(httpx.ConnectError, match="resolved"):
        http.get(f"http://{host}/")


def test_a_name_without_an_address_is_a_connect_error() -> None:
    def unknown(_host: str, _port: int, _seconds: float) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with client((), timeout_seconds=100, resolve=unknown) as http, pytest.raises(httpx.ConnectError, match="not known"):
        http.get(f"http://{NAME}/")


def test_a_name_that_is_not_looked_up_in_time_is_a_connect_timeout() -> None:
    def hangs(_host: str, _port: int, seconds: float) -> Sequence[str]:
        asked.append(seconds)
        raise TimeoutError

    asked: list[float] = []
    with client((), timeout_seconds=100, resolve=hangs) as http, pytest.raises(httpx.ConnectTimeout, match="in time"):
        http.get(f"http://{NAME}/")
    assert asked == [pytest.approx(100, abs=50)]


def test_a_port_that_nobody_listens_at_is_a_connect_error() -> None:
    for addresses in (("127.0.0.1", "127.0.0.1"), ()):
        with (
            web.refusing() as url,
            client(LOOPBACK, timeout_seconds=100, resolve=leads_to(*addresses)) as http,
            pytest.raises(httpx.ConnectError),
        ):
            http.get(url.replace("127.0.0.1", NAME))
