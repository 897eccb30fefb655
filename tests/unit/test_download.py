import httpx
import pytest

from cleanplate.outcomes import ErrorCode, NotDownloaded, Unusable
from tests import web
from worker import download

HERE = ("127.0.0.1",)


def fetch(url: str) -> bytes | Unusable | NotDownloaded:
    with httpx.Client(trust_env=False) as client:
        return download.download(client, url, HERE)


def outcome_of(answer: web.Answer) -> bytes | Unusable | NotDownloaded:
    """Fetch from a host with this answer, and see that it was asked once and no more."""
    with web.serving(answer) as site:
        outcome = fetch(f"{site.url}/result.png?sig=secret")
    assert [request.target for request in site.requests] == ["/result.png?sig=secret"]
    return outcome


def test_the_bytes_come_as_they_are() -> None:
    assert outcome_of(web.says(200, b"\x89PNG" * 100_000)) == b"\x89PNG" * 100_000


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_asks_for_a_fresh_address(status: int) -> None:
    outcome = outcome_of(web.says(status))
    assert outcome == Unusable(ErrorCode.RESULT_EXPIRED, f"the delivery host refused ({status})")


@pytest.mark.parametrize("status", [204, 206, 301, 302, 307, 408, 429, 500, 503])
def test_any_other_answer_is_something_that_passes_and_no_redirect_is_followed(status: int) -> None:
    assert outcome_of(web.says(status, location="/elsewhere")) == NotDownloaded(f"the delivery host answered {status}")


@pytest.mark.parametrize("answer", [web.hangs_up, web.breaks_off])
def test_a_download_that_breaks_off_is_something_that_passes(answer: web.Answer) -> None:
    assert isinstance(outcome_of(answer), NotDownloaded)


def test_so_is_one_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", httpx.Timeout(60.0, read=0.1))
    assert outcome_of(web.stays_silent) == NotDownloaded("the download broke off (ReadTimeout)")


def test_so_is_one_that_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "WHOLE_SECONDS", 0.0)
    assert outcome_of(web.says(200, b"x" * 100)) == NotDownloaded("the download took longer than 0 s")


def test_so_is_a_host_that_refuses_the_connection() -> None:
    with web.refusing() as url:
        assert fetch(f"{url}/x.png") == NotDownloaded("the download broke off (ConnectError)")


def test_a_result_without_an_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LARGEST_BYTES", 100)
    outcome = outcome_of(web.says(200, b"x" * 1000))
    assert outcome == Unusable(ErrorCode.RESULT_INVALID, "the result is larger than 100 bytes")
    assert outcome_of(web.says(200, b"x" * 100)) == b"x" * 100


@pytest.mark.parametrize("url", ["", "/x.png", "ftp://127.0.0.1/x", "https://127.0.0.1@evil.example/x.png"])
def test_no_address_of_a_foreign_host_is_fetched(url: str) -> None:
    outcome = fetch(url)
    assert isinstance(outcome, Unusable)
    assert outcome.code is ErrorCode.FOREIGN_HOST


def test_a_foreign_host_is_never_connected_to() -> None:
    with web.serving(web.says(200, b"x")) as site:
        assert isinstance(fetch(site.url.replace("127.0.0.1", "localhost")), Unusable)
    assert site.requests == []
