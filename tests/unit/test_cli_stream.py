from collections.abc import Iterator

import httpx
import pytest

from cleanplate import client_out
from cleanplate.cli import stream
from cleanplate.cli.stream import Stream
from cleanplate.client import Client
from cleanplate.client_errors import NotFoundError
from cleanplate.resources import BatchOptions
from tests.fake_api import FakeApi
from tests.servers import wait_until

NAMES = ["0", "1", "2", "3", "4"]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    monkeypatch.setattr(client_out, "AGAIN_SECONDS", 0.001)
    return FakeApi()


@pytest.fixture
def client(api: FakeApi) -> Iterator[Client]:
    with api.client() as client:
        yield client


def batch(client: Client) -> str:
    made = client.create_batch(BatchOptions(seal=False))
    client.add_items(made.id, [(f"{name}{end}", b"x") for name in NAMES for end in (".jpg", "_mask.png")])
    return client.seal(made.id).id


def told(followed: Stream, seen: list[str | None], names: list[str]) -> bool:
    seen += [job.custom_id for job in followed.look()]
    return seen == names


def test_jobs_are_told_as_they_end_without_a_look_at_any_list(api: FakeApi, client: Client) -> None:
    api.finish = lambda job: job["custom_id"] < "2"
    followed = Stream(client, client.batch(batch(client)))
    seen: list[str | None] = []
    wait_until(lambda: told(followed, seen, NAMES[:2]))
    wait_until(lambda: told(followed, seen, NAMES[:2]) and followed.batch.counts.succeeded == 2)
    assert not followed.over
    api.finish = lambda _: True
    wait_until(lambda: told(followed, seen, NAMES))
    wait_until(lambda: told(followed, seen, NAMES) and followed.over)
    assert followed.batch.status == "completed"
    assert api.count("GET", "/jobs") == 0


class Cut(httpx.SyncByteStream):
    """Tells what it is given, and breaks."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self.content
        raise httpx.ReadError("cut")


def test_a_line_that_breaks_is_taken_up_after_what_it_told(api: FakeApi, client: Client) -> None:
    listened: list[str | None] = []

    def break_in_the_middle(request: httpx.Request) -> httpx.Response | None:
        if not request.url.path.endswith("/events") or len(listened) == 4:
            return None
        last = request.headers.get("last-event-id")
        listened.append(last)
        whole = api._tell(request)
        assert whole is not None
        first, _, _ = whole.text.partition("\n\n")
        return httpx.Response(200, stream=Cut(f"{first}\n\nevent: jo".encode()))

    api.before = break_in_the_middle
    followed = Stream(client, client.batch(batch(client)))
    seen: list[str | None] = []
    wait_until(lambda: told(followed, seen, NAMES) and followed.over)
    assert listened == [None, "1", "2", "3"]
    assert api.count("GET", "/jobs") == 0


def test_a_batch_whose_lines_tell_nothing_is_looked_at_instead(api: FakeApi, client: Client) -> None:
    def tell_once(request: httpx.Request) -> httpx.Response | None:
        if not request.url.path.endswith("/events"):
            return None
        if "last-event-id" in request.headers:
            return httpx.Response(200, stream=Cut(b": waiting\n\n"))
        whole = api._tell(request)
        assert whole is not None
        return httpx.Response(200, stream=Cut(whole.content.partition(b"event: counts")[0]))

    api.finish = lambda job: job["custom_id"] < "2"
    api.before = tell_once
    followed = Stream(client, client.batch(batch(client)))
    seen: list[str | None] = []
    wait_until(lambda: told(followed, seen, NAMES[:2]))
    wait_until(lambda: told(followed, seen, NAMES[:2]) and api.count("GET", "/events") == 1 + client_out.CUTS_IN_A_ROW)
    api.finish = lambda _: True
    wait_until(lambda: told(followed, seen, NAMES) and followed.over)
    assert api.count("GET", "/events") == 1 + client_out.CUTS_IN_A_ROW


def test_a_batch_that_is_deleted_while_it_is_listened_to_is_told(api: FakeApi, client: Client) -> None:
    api.finish = lambda _: False
    followed = Stream(client, client.batch(batch(client)))
    wait_until(lambda: api.count("GET", "/events"))
    api.batches.clear()
    with pytest.raises(NotFoundError):
        wait_until(followed.look)


def test_what_no_event_tells_is_asked_for_now_and_then(
    api: FakeApi, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "REFRESH_SECONDS", 0.0)
    api.finish = lambda _: False
    followed = Stream(client, client.batch(batch(client)))
    api.held = "budget"
    wait_until(lambda: followed.look() == [] and followed.batch.held == "budget")
