import asyncio
import base64
import json
import math
import socket
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
import pytest
import yarl
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from cleanplate.access import Access
from tests import web
from worker import bfl

VENDOR = (".bfl.ai",)
HERE = ("127.0.0.1",)


def upstream_at(url: str, *hosts: str) -> bfl.Upstream:
    account = Access("default", SecretStr("the-key"), url, slots=24)
    return bfl.Upstream(account, hosts or HERE)


async def poll(url: str, *hosts: str) -> bfl.Answer:
    upstream = upstream_at("http://127.0.0.1:9", *hosts)
    try:
        return await upstream.poll(url)
    finally:
        await upstream.close()


def answer(**headers: str) -> bfl.Answer:
    return bfl.Answer(429, {name.replace("_", "-"): value for name, value in headers.items()}, b"")


@pytest.mark.parametrize(
    "url",
    [
        "https://api.bfl.ai/v1/get_result?id=1",
        "https://bfl.ai/",
        "https://api.eu1.bfl.ai:8443/x",
        "HTTPS://API.BFL.AI/",
        "https://api.bfl.ai",
        "https://user:word@api.bfl.ai/",
    ],
)
def test_the_vendors_hosts_are_its_own(url: str) -> None:
    assert bfl.host_allowed(url, VENDOR)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        "https://bfl.ai.evil.example/",
        "https://evilbfl.ai/",
        "https://api.bfl.ai@evil.example/",
        "https://api.bfl.ai:443@evil.example/",
        "https://api.bfl.ai\\@evil.example/",
        "https://evil.example\\.bfl.ai/",
        "https://evil.example\\@api.bfl.ai\\.evil.example/",
        "https://evil.example%2f.bfl.ai/",
        "https://evil.example%23.bfl.ai/",
        "https://evil.example%00.bfl.ai/",
        "https://evil.example\t.bfl.ai/",
        "https://evil.example\n.bfl.ai/",
        "https://evil.example\ud800.bfl.ai/",
        "https://evil.example/?.bfl.ai",
        "https://evil.example#.bfl.ai",
        "https://evil.example;.bfl.ai/",
        "https://api.bfl.ai./",
        "https://\uff41pi.bfl.ai/",
        "https://[::1].bfl.ai/",
        "https://[api.bfl.ai]@/",
        "//api.bfl.ai/",
        " https://api.bfl.ai/",
        "https:api.bfl.ai",
        "https:///api.bfl.ai",
        "https:\\\\api.bfl.ai",
        "ftp://api.bfl.ai/",
        "file:///etc/passwd",
        "",
    ],
)
def test_an_address_that_any_parser_could_read_as_another_host_is_foreign(url: str) -> None:
    assert not bfl.host_allowed(url, VENDOR)


@pytest.mark.parametrize("url", ["http://api.bfl.ai/", "http://127.bfl.ai/", "http://localhost.bfl.ai/"])
def test_the_key_travels_in_the_clear_to_no_host_but_loopback(url: str) -> None:
    assert not bfl.host_allowed(url, VENDOR)


def test_loopback_is_allowed_without_tls_but_only_when_it_is_named() -> None:
    assert bfl.host_allowed("http://127.0.0.1:80/", ("127.0.0.1",))
    assert bfl.host_allowed("http://[::1]:80/", ("::1",))
    assert bfl.host_allowed("http://localhost/", ("localhost",))
    assert not bfl.host_allowed("http://127.0.0.2/", ("127.0.0.1",))
    assert not bfl.host_allowed("http://localhost/", ("127.0.0.1",))


def test_an_entry_may_allow_one_host_without_tls() -> None:
    assert bfl.host_allowed("http://simulator:8001/x", ("http://simulator",))
    assert not bfl.host_allowed("http://x.simulator/", ("http://simulator",))
    assert not bfl.host_allowed("https://simulator/", ("http://simulator",))


def test_an_entry_without_a_dot_takes_no_subdomains_in() -> None:
    assert bfl.host_allowed("https://api.bfl.ai/", ("api.bfl.ai",))
    assert not bfl.host_allowed("https://x.api.bfl.ai/", ("api.bfl.ai",))


@given(st.text(), st.text(alphabet="a.:@/?#[]\\%\t é"))
def test_an_address_that_is_allowed_is_the_same_host_to_every_parser(text: str, odd: str) -> None:
    for url in (f"https://api.bfl.ai{text}", f"https://api.bfl.ai{odd}", f"https://{odd}.bfl.ai/{text}"):
        if bfl.host_allowed(url, VENDOR):
            hosts = {yarl.URL(url).host, httpx.URL(url).host, (urlsplit(url).hostname or "").lower()}
            assert len(hosts) == 1
            assert str(hosts.pop()).endswith("bfl.ai")


@given(st.text())
def test_no_text_at_all_makes_the_judgement_stumble(text: str) -> None:
    for url in (text, f"https://{text}", f"https://{text}.bfl.ai/", f"https://api.bfl.ai{text}"):
        bfl.host_allowed(url, VENDOR)


@given(st.binary(max_size=50), st.binary(max_size=50), st.dictionaries(st.text(max_size=5), st.integers(), max_size=3))
def test_the_body_is_the_json_that_the_vendor_asks_for(image: bytes, mask: bytes, fields: dict[str, Any]) -> None:
    told = json.loads(bfl.payload(image, mask, fields))
    expected = {"image": base64.b64encode(image).decode(), "mask": base64.b64encode(mask).decode()} | fields
    assert told == expected
    more = {f"more {name}": str(value) for name, value in fields.items()}
    assert json.loads(bfl.extended(bfl.payload(image, mask, fields), more)) == expected | more


def test_a_submit_is_a_post_with_the_key_and_a_poll_a_get_of_just_the_address_that_was_given() -> None:
    async def both(url: str) -> None:
        upstream = upstream_at(f"{url}/")
        await upstream.submit(b"{}")
        await upstream.poll(f"{url}/v1/get_result?id=1&region=eu")
        await upstream.close()

    with web.serving(web.says()) as site:
        asyncio.run(both(site.url))
    sent, looked = site.requests
    assert (sent.method, sent.target, sent.body) == ("POST", "/v1/flux-tools/erase-v1", b"{}")
    assert (looked.method, looked.target, looked.body) == ("GET", "/v1/get_result?id=1&region=eu", b"")
    assert [request.headers["x-key"] for request in site.requests] == ["the-key", "the-key"]
    assert [request.headers["accept"] for request in site.requests] == ["application/json"] * 2


def test_the_address_of_a_poll_that_was_not_named_quotes_the_id() -> None:
    async def url() -> str:
        upstream = upstream_at("https://api.bfl.ai/")
        await upstream.close()
        return upstream.polling_url("a/b&c=d")

    assert asyncio.run(url()) == "https://api.bfl.ai/v1/get_result?id=a%2Fb%26c%3Dd"


def test_a_foreign_host_is_never_even_connected_to() -> None:
    with web.serving(web.says()) as site:
        foreign = site.url.replace("127.0.0.1", "localhost")
        with pytest.raises(bfl.ForeignHostError, match="localhost"):
            asyncio.run(poll(foreign))
        assert site.requests == []


def test_a_redirect_is_not_followed_so_the_key_goes_no_further() -> None:
    with web.serving(web.says()) as elsewhere:
        with web.serving(web.says(307, location=elsewhere.url)) as site:
            assert asyncio.run(poll(site.url)).status == 307
        assert elsewhere.requests == []


def test_a_connection_that_is_refused_was_never_made() -> None:
    with web.refusing() as url, pytest.raises(bfl.NeverSentError):
        asyncio.run(poll(url))


def test_a_host_that_has_no_address_was_never_connected_to() -> None:
    with pytest.raises(bfl.NeverSentError):
        asyncio.run(poll("https://nowhere.invalid/", ".invalid"))


def test_a_server_that_is_no_https_server_was_never_sent_the_request() -> None:
    with web.serving(web.says()) as site:
        with pytest.raises(bfl.NeverSentError):
            asyncio.run(poll(site.url.replace("http://", "https://")))
        assert site.requests == []


@pytest.mark.parametrize("answer", [web.hangs_up, web.breaks_off])
def test_a_server_that_breaks_off_may_have_taken_the_request(answer: web.Answer) -> None:
    with web.serving(answer) as site, pytest.raises(bfl.NoAnswerError):
        asyncio.run(poll(site.url))


def test_a_server_that_stays_silent_may_have_taken_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bfl, "POLL_TIMEOUT", aiohttp.ClientTimeout(total=0.1))
    with web.serving(web.stays_silent) as site, pytest.raises(bfl.NoAnswerError):
        asyncio.run(poll(site.url))
    assert len(site.requests) == 1


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
def test_a_server_that_stops_reading_does_not_hold_the_request_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def submit(listener: socket.socket) -> None:
        upstream = upstream_at(f"http://127.0.0.1:{listener.getsockname()[1]}")
        try:
            await upstream.submit(b"x" * (32 << 20))
        finally:
            listener.close()  # or what was not sent would keep the connection
            await upstream.close()

    monkeypatch.setattr(bfl, "SUBMIT_TIMEOUT", aiohttp.ClientTimeout(total=0.2))
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(bfl.NoAnswerError, match="TimeoutError"),
    ):
        asyncio.run(submit(listener))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("2", 2.0), ("0.5", 0.5), ("0", 0.0), ("-1", 0.0), ("86400", 120.0), ("1e300", 120.0)],
)
def test_retry_after_is_taken_in_seconds_and_never_for_longer_than_a_result_can_wait(
    header: str, seconds: float
) -> None:
    assert bfl.retry_after(answer(retry_after=header)) == seconds


@pytest.mark.parametrize("header", ["soon", "", "nan", "inf", "-inf", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_retry_after_that_is_no_number_is_none(header: str) -> None:
    assert bfl.retry_after(answer(retry_after=header)) is None
    assert bfl.retry_after(answer()) is None


@pytest.mark.parametrize(("told", "price"), [(5, 5.0), (4.5, 4.5), (0, 0.0)])
def test_a_price_is_a_number(told: object, price: float) -> None:
    assert bfl.cost(told) == price


@pytest.mark.parametrize("told", [None, "5", [], math.nan, math.inf, -1, 10**400])
def test_what_is_no_price_is_none(told: object) -> None:
    assert bfl.cost(told) is None


@given(st.text(st.characters(), min_size=1))
def test_words_can_be_stored_and_printed_whatever_the_upstream_said(text: str) -> None:
    said = bfl.words(text, 100)
    assert said.isprintable()
    said.encode()
    assert len(said) == min(len(text), 100)
