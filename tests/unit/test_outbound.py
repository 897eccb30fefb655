"""Which addresses and URLs may be reached at all."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleanplate.outbound import MAX_URL_LENGTH, ForbiddenAddress, ForbiddenUrl, Guard, check_url
from tests.addresses import FORBIDDEN, PUBLIC

LOOPBACK = (IPv4Network("127.0.0.0/8"),)
PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")))


@pytest.mark.parametrize(
    "address", [pytest.param(one, id=f"{why}: {one}") for why, all_ in FORBIDDEN.items() for one in all_.split()]
)
def test_what_is_not_public_is_forbidden_unless_it_is_allowed(address: str) -> None:
    with pytest.raises(ForbiddenAddress, match="CLEANPLATE_ALLOW_PRIVATE_NETWORKS") as forbidden:
        Guard(()).check_address(ip_address(address))
    assert isinstance(forbidden.value, httpx.ConnectError)
    assert address not in str(forbidden.value)
    Guard((ip_network(address.partition("%")[0]),)).check_address(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC.split())
def test_what_is_public_may_be_reached(address: str) -> None:
    Guard(()).check_address(ip_address(address))


def test_an_allowed_network_opens_nothing_beside_it() -> None:
    guard = Guard((IPv4Network("10.1.0.0/16"), IPv6Network("fd00::/64")))
    guard.check_address(ip_address("10.1.255.255"))
    guard.check_address(ip_address("fd00::1"))
    guard.check_address(ip_address("64:ff9b::10.1.0.1"))
    for address in ("10.2.0.0", "fd00:0:0:1::", "127.0.0.1", "::ffff:10.1.0.1", "64:ff9b::10.2.0.1"):
        with pytest.raises(ForbiddenAddress):
            guard.check_address(ip_address(address))


@settings(max_examples=50)
@given(st.sampled_from(PRIVATE).flatmap(lambda network: st.ip_addresses(network=network)))
def test_no_disguise_makes_a_private_address_public(address: IPv4Address) -> None:
    number = int(address)
    disguises = [
        int(IPv6Address("::")) + number,
        int(IPv6Address("::ffff:0:0")) + number,
        int(IPv6Address("::ffff:0:0:0")) + number,
        int(IPv6Address("64:ff9b::")) + number,
        int(IPv6Address("64:ff9b:1::")) + number,
        int(IPv6Address("2002::")) + (number << 80),
        int(IPv6Address("2001::")) + (0xFFFFFFFF ^ number),
    ]
    for disguise in (address, *map(IPv6Address, disguises)):
        with pytest.raises(ForbiddenAddress):
            Guard(()).check_address(disguise)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hooks?a=1#part",
        "http://example.com:8080",
        "https://my_service.internal/",
        "https://localhost/",  # a name: judged when it is resolved
        "https://bücher.example/",
        "https://a.123.example.",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]:8443/x",
        "http://127.0.0.1:9/",
        "https://e.com/" + "a" * (MAX_URL_LENGTH - 14),
    ],
)
def test_a_url_to_a_name_or_to_an_address_that_may_be_reached_is_taken(url: str) -> None:
    check_url(url, LOOPBACK)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://e.com/" + "a" * (MAX_URL_LENGTH - 13), "url_too_long"),
        ("", "url_scheme"),
        ("example.com/hook", "url_scheme"),
        ("//example.com/hook", "url_scheme"),
        (" https://example.com", "url_scheme"),
        ("ftp://example.com", "url_scheme"),
        ("file:///etc/passwd", "url_scheme"),
        ("gopher://example.com", "url_scheme"),
        ("https://user:hunter2@example.com/", "url_credentials"),
        ("https://user@example.com/", "url_credentials"),
        ("https://example.com\\@evil.example/", "url_credentials"),
        ("https:///hook", "url_invalid"),
        ("https:hook", "url_invalid"),
        ("https://exa mple.com/", "url_invalid"),
        ("https://example.com/\n", "url_invalid"),
        ("https://a..b/", "url_invalid"),
        ("https://-a.example/", "url_invalid"),
        ("https://" + "a" * 64 + ".example/", "url_invalid"),
        ("https://" + "a." * 130 + "example/", "url_invalid"),
        ("https://%6c%6fcalhost/", "url_invalid"),
        ("https://a%00b/", "url_invalid"),
        ("https://xn--a/", "url_invalid"),
        ("https://\ud800.example/", "url_invalid"),
        ("https://example.com/\ud800", "url_invalid"),
        ("https://example.com:0/", "url_invalid"),
        ("https://example.com:65536/", "url_invalid"),
        ("https://example.com:-1/", "url_invalid"),
        ("https://example.com:http/", "url_invalid"),
        ("https://[::1/", "url_invalid"),
        ("https://300.1.1.1/", "url_invalid"),
        ("https://127.1/", "url_invalid"),
        ("https://2130706433/", "url_invalid"),
        ("https://0x7f000001/", "url_invalid"),
        ("https://0x7f.0.0.0x1/", "url_invalid"),
        ("https://0177.0.0.01/", "url_invalid"),
        ("https://127.0.0.1./", "url_invalid"),
        ("https://127.0.0.1/", "url_not_public"),
        ("https://127。0。0。1/", "url_not_public"),
        ("https://[::1]/", "url_not_public"),
        ("https://[::ffff:127.0.0.1]/", "url_not_public"),
        ("https://[fe80::1%25eth0]/", "url_not_public"),
        ("https://169.254.169.254/latest/meta-data/", "url_not_public"),
    ],
)
def test_a_url_that_cannot_be_sent_to_is_refused_with_a_code(url: str, code: str) -> None:
    with pytest.raises(ForbiddenUrl) as forbidden:
        check_url(url, ())
    assert forbidden.value.code == code
    assert forbidden.value.detail.endswith(".")
    assert "hunter2" not in str(forbidden.value)
