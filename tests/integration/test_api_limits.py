"""How often a team may ask, and that nobody is refused because the counter is away."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis
from sqlalchemy import make_url

from api import limits
from cleanplate.api_keys import Scope
from tests.api import Api, configured, problem, serving
from tests.servers import fresh_database

LIMIT = 5


@pytest.fixture(scope="module")
def counted(
    postgres_url: str, migrated_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    """An API that counts, and takes five requests a minute."""
    objects = tmp_path_factory.mktemp("objects")
    with (
        fresh_database(postgres_url, make_url(migrated_url).database or "") as url,
        configured(
            DATABASE_URL=url, STORAGE_URL=objects.as_uri(), REDIS_URL=redis_url, CLEANPLATE_RATE_LIMIT=str(LIMIT)
        ),
        serving() as address,
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(limits, "REDIS_SECONDS", 60.0)  # a busy machine may keep Redis waiting
            limits._counter(redis_url)
        yield Api(address, url, Path(objects))


def told(answer: httpx.Response) -> tuple[int, int]:
    return int(answer.headers["x-ratelimit-limit"]), int(answer.headers["x-ratelimit-remaining"])


def test_every_answer_tells_what_is_left_and_past_it_nothing_is_done(counted: Api) -> None:
    with counted.client(Scope.READ) as client:
        answers = [
            client.get("/v1/jobs"),
            client.get("/v1/jobs/job_unknown"),
            client.get("/v1/jobs", params={"colour": "red"}),
            client.post("/v1/batches"),
            client.get("/v1/batches"),
        ]
        assert [answer.status_code for answer in answers] == [200, 404, 400, 403, 200]
        assert [told(answer) for answer in answers] == [(LIMIT, left) for left in (4, 3, 2, 1, 0)]
        refused = client.get("/v1/jobs")
        problem(refused, 429, "rate_limited")
        assert told(refused) == (LIMIT, 0)
        assert 1 <= int(refused.headers["retry-after"]) <= limits.WINDOW_SECONDS
        assert abs(int(refused.headers["x-ratelimit-reset"]) - int(answers[0].headers["x-ratelimit-reset"])) <= 1
        assert client.get("/livez").status_code == 200


def test_a_team_has_one_limit_for_all_of_its_keys_and_another_team_its_own(counted: Api) -> None:
    with counted.client(Scope.ADMIN) as one, counted.client() as other:
        key = one.post("/v1/api-keys", json={"name": "second"}).json()["key"]
        with counted.anonymous(Authorization=f"Bearer {key}") as second:
            assert told(second.get("/v1/jobs"))[1] == LIMIT - 2
        assert told(other.get("/v1/jobs"))[1] == LIMIT - 1


def test_with_the_next_window_it_goes_on(counted: Api, redis_url: str) -> None:
    with counted.client() as client:
        while client.get("/v1/jobs").is_success:
            pass
        with Redis.from_url(redis_url) as redis:
            keys = redis.keys("cleanplate.requests.*")
            assert all(0 < redis.ttl(key) <= limits.WINDOW_SECONDS for key in keys)
            redis.delete(*keys)
        assert told(client.get("/v1/jobs"))[1] == LIMIT - 1


def test_a_stranger_is_told_nothing(counted: Api) -> None:
    with counted.anonymous() as nobody:
        assert "x-ratelimit-limit" not in nobody.get("/v1/jobs").headers


def test_without_redis_everybody_passes(client: httpx.Client) -> None:
    for _ in range(3):
        limit, left = told(client.get("/v1/jobs"))
        assert limit == left > 0


def test_a_redis_that_stands_still_holds_up_one_request_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AWAY_SECONDS", 600.0)
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        counter = limits.Counter(f"redis://127.0.0.1:{frozen.getsockname()[1]}/0")
        assert [counter.count("ten_1") for _ in range(20)] == [None] * 20
        frozen.setblocking(False)
        frozen.accept()[0].close()
        with pytest.raises(BlockingIOError):
            frozen.accept()


def test_no_limit_is_no_limit(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, api.client() as client:
        patch.setattr(
            limits.settings, "get", lambda get=limits.settings.get: get().model_copy(update={"rate_limit": 0})
        )
        assert "x-ratelimit-limit" not in client.get("/v1/jobs").headers
