"""A migrated database, empty for each test, and the settings and messages of the process under test."""

import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, delete, make_url

import worker.store
from api import arriving, cancel, deletion, release
from cleanplate import accounts, db, holding, queue, settings, tenants
from cleanplate.models import Base
from cleanplate.storage import Store, open_store
from tests import web
from tests.api import Api, configured, serving
from tests.arriving import Newest, counted
from tests.s3 import make_bucket, s3_environment, s3_server
from tests.servers import fresh_database, wait_until
from tests.stores import BUCKET
from tests.upstream import Upstream, carrying
from worker import conveyor, deliveries
from worker.sweep import Sweeper

Hints = list[tuple[str, str]]


@pytest.fixture(scope="session")
def migrated_url(postgres_url: str) -> Iterator[str]:
    """The URL of a database with the schema and no rows: a template, to which nobody stays connected."""
    with fresh_database(postgres_url) as url:
        db.migrate(url)
        yield url


@pytest.fixture(scope="session")
def shared_engine(postgres_url: str) -> Iterator[Engine]:
    """The engine of one migrated database for all tests: making one takes half a second, emptying it a hundredth."""
    with fresh_database(postgres_url) as url:
        db.migrate(url)
        engine = db.connect(url)
        yield engine
        engine.dispose()


@pytest.fixture
def hints(monkeypatch: pytest.MonkeyPatch) -> Hints:
    """The messages (task, argument) that would have been sent."""
    sent: Hints = []

    def send(task: str, argument: str) -> bool:
        sent.append((task, argument))
        return True

    monkeypatch.setattr(queue, "send", send)
    monkeypatch.setattr(queue, "waiting", lambda _: len(sent))
    return sent


@pytest.fixture
def database(shared_engine: Engine, hints: Hints, monkeypatch: pytest.MonkeyPatch) -> Engine:  # noqa: ARG001 -- no test of rows may wait for a broker
    """An empty database that ``db.transaction()`` opens; messages go to ``hints``."""
    with shared_engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(delete(table))
    monkeypatch.setattr(db, "engine", lambda: shared_engine)
    return shared_engine


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Call it with environment variables to run the test with those settings."""

    def set_all(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        settings.get.cache_clear()

    yield set_all
    monkeypatch.undo()
    settings.get.cache_clear()


@pytest.fixture
def broker(configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Use the broker at a URL, about which nothing is known yet."""

    def use(url: str) -> None:
        configure(REDIS_URL=url)
        monkeypatch.setattr(queue, "app", queue.make_app())
        monkeypatch.setattr(queue, "_muted_until", 0.0)
        queue._redis.cache_clear()

    return use


@pytest.fixture
def loopback_receivers(configure: Callable[..., None]) -> None:
    """Receivers of this machine may be reached, and secrets are sealed."""
    configure(CLEANPLATE_ALLOW_PRIVATE_NETWORKS="127.0.0.0/8", CLEANPLATE_SECRET_KEYS=Fernet.generate_key().decode())


@pytest.fixture
def receiver() -> Iterator[web.Site]:
    """A receiver of webhooks that takes whatever comes."""
    with web.serving(web.says(204)) as site:
        yield site


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A very small upstream, listening."""
    made = Upstream()
    with web.serving(made.answer) as site:
        made.site = site
        yield made
        made.answers.set()


@pytest.fixture
def quick_conveyor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rescues and probes of conveyors in a tenth of the time; who lives keeps its lease however busy the machine is."""
    monkeypatch.setattr(conveyor, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(conveyor, "LEASE_SECONDS", 60.0)
    monkeypatch.setattr(conveyor, "SILENCE_SECONDS", 0.3)
    monkeypatch.setattr(conveyor, "RESCUE_SECONDS", 0.1)
    monkeypatch.setattr(conveyor, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(accounts, "PROBE_SECONDS", 0.3)


@pytest.fixture
def long_tries() -> Iterator[None]:
    """Let no try of a webhook be taken for one whose notifier died."""
    deliveries._begin.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deliveries, "LEASE", timedelta(hours=1))
        yield
    deliveries._begin.cache_clear()


@pytest.fixture
def shut_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the gates of paused accounts shut until the test opens them."""
    monkeypatch.setattr(accounts, "PROBE_SECONDS", 3600.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty directory store."""
    made = open_store((tmp_path / "objects").as_uri())
    made.prepare()
    return made


@pytest.fixture
def start(upstream: Upstream, store: Store) -> Callable[..., AbstractContextManager[Callable[[], None]]]:
    """Runs a conveyor on ``upstream`` with the pairs of ``store``; see ``tests.upstream.carrying``."""
    return partial(carrying, upstream, store)


@pytest.fixture
def worker_store(tmp_path: Path, configure: Callable[..., None]) -> Iterator[Store]:
    """An empty directory store, which is that of workers of this process."""
    configure(STORAGE_URL=(tmp_path / "objects").as_uri())
    worker.store.store().prepare()
    yield worker.store.store()
    worker.store._open.cache_clear()


@pytest.fixture(scope="module")
def api(postgres_url: str, migrated_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API on a database of its own, with a directory as its store, small limits and no broker."""
    objects = tmp_path_factory.mktemp("objects")
    open_store(objects.as_uri()).prepare()
    with (
        fresh_database(postgres_url, make_url(migrated_url).database or "") as url,
        configured(
            DATABASE_URL=url,
            STORAGE_URL=objects.as_uri(),
            REDIS_URL="redis://127.0.0.1:9/0",
            CLEANPLATE_SECRET_KEYS=Fernet.generate_key().decode(),
            CLEANPLATE_MAX_FILE_BYTES="100000",
            CLEANPLATE_MAX_REQUEST_BYTES="3000000",
            CLEANPLATE_MAX_REQUEST_FILES="60",
            CLEANPLATE_BODY_TIMEOUT_SECONDS="600",  # some hold theirs back until they have seen something
        ),
        pytest.MonkeyPatch.context() as patch,
        serving() as address,
    ):
        for calls, seconds in ((cancel, "REQUEST"), (deletion, "REQUEST"), (release, "REQUEST"), (holding, "AT_ONCE")):
            patch.setattr(calls, f"{seconds}_SECONDS", 600.0)  # nothing is left to the sweep: there is none
        yield Api(address, url, objects)


@pytest.fixture
def client(api: Api) -> Iterator[httpx.Client]:
    """A client of ``api`` with a key of a tenant of its own."""
    with api.client() as client:
        yield client


@pytest.fixture
def tenant_id(client: httpx.Client) -> str:
    """The tenant whose key ``client`` has."""
    with db.transaction() as tx:
        key = tenants.find(tx, tenants.digest(client.headers["authorization"].removeprefix("Bearer ")))
    assert key is not None
    return key.tenant_id


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the API look at what has come of a request more often than there is need to."""
    monkeypatch.setattr(arriving, "LOOK_SECONDS", 0.02)


@pytest.fixture
def some_looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it to wait until the API has looked several times more at what has come of a request."""
    looks = counted(monkeypatch, "_look")

    def wait() -> None:
        before = len(looks)
        wait_until(lambda: len(looks) >= before + 3)

    return wait


@pytest.fixture
def newest(api: Api, client: httpx.Client) -> Iterator[Newest]:
    """The newest batch of ``client``, as another one sees it as soon as a job is in it."""
    with api.anonymous(Authorization=client.headers["authorization"]) as other:

        def batch() -> dict[str, Any]:
            return next(iter(other.get("/v1/batches").json()["data"]), {"counts": {"total": 0}})

        def look() -> dict[str, Any]:
            wait_until(lambda: batch()["counts"]["total"])
            return batch()

        yield look


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    """An S3 over the wire, with a bucket."""
    with s3_server() as url:
        make_bucket(url, BUCKET)
        yield url


@pytest.fixture
def s3_url(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty store there."""
    for name, value in s3_environment(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/test-{uuid.uuid4().hex}"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An empty directory store."""
    open_store((tmp_path / "objects").as_uri()).prepare()
    return tmp_path / "objects"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that listens on 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def sweeper(database: Engine) -> Iterator[Sweeper]:
    """A sweeper that is not started; what its rounds begin beside them ends before the test's database does."""
    assert database
    made = Sweeper(on_death=pytest.fail)
    yield made
    made.end()
    made.close()
