"""Servers that many tests share; each starts when the first test asks for it."""

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]
HELPERS = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "tests").rglob("[!_]*.py")]
# A failed assert of a helper shows its values, as one of a test does.
pytest.register_assert_rewrite(*(".".join(path.parts) for path in HELPERS if path.name != "conftest"))

from tests import servers  # noqa: E402 -- what is imported before is not rewritten

# A property is held against inputs, not against the clock of a busy machine.
# The same cases in every run: what fails fails again, everywhere. --hypothesis-profile=explore draws others.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("cleanplate", settings.get_profile("explore"), derandomize=True)
settings.load_profile("cleanplate")

# Without a word from its caller, httpx gives up after 5 s, which a busy machine may need for an answer.
for phase in ("connect", "read", "write", "pool"):
    setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, phase, 100.0)

# A shell that runs us in the background lets us ignore interrupts, and what we start would ignore them, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="tell the stories of `make chaos` in their long form")
    parser.addoption("--away", type=float, metavar="SECONDS", help="how long Redis and the store are away at length")


@pytest.fixture(scope="session")
def long(pytestconfig: pytest.Config) -> bool:
    """Whether the stories are told in their long form."""
    return bool(pytestconfig.getoption("long"))


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real PostgreSQL's superuser; see ``servers.fresh_database``."""
    with servers.running_postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Redis."""
    with servers.running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url
