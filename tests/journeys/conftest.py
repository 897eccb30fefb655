"""One trapped stack that the small stories share, and the figures of all stories at the end of a run."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from cleanplate.local import service
from tests import photographs
from tests.journeys import oracle
from tests.journeys.harness import Stack, stack

TINY = 30_000
"""Pixels of the pictures of a story: what happens to jobs does not depend on them."""


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, long: bool) -> list[Path]:
    """The pictures of every story: 40, or 200 in the long form."""
    return photographs.write(tmp_path_factory.mktemp("photos"), 200 if long else 40, pixels=TINY)


@pytest.fixture
def outage(pytestconfig: pytest.Config, long: bool) -> Callable[[float], float]:
    """Return how many seconds an outage lasts: in the long form those given, or ``--away``; in the short one none."""
    away: float | None = pytestconfig.getoption("away")
    return lambda seconds: (away or seconds) if long else 0.0


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two conveyors whose clocks are 20 minutes apart, both wrong: only the database's counts, in every story."""
    data = tmp_path_factory.mktemp("chaos") / "data"
    often: dict[str, Any] = {"CLEANPLATE_MAX_SUBMITS": 20}  # as often as workers are killed over the same picture
    often |= {"CLEANPLATE_ALLOW_PRIVATE_NETWORKS": "127.0.0.0/8"}  # where the receivers of webhooks are
    with (
        mock.patch.object(service, "BACKOFF_SECONDS", (0.2,)),  # here it is the tests that make them die
        stack(data, slots=24, fast=True, trapped=True, clock_seconds=-600.0, **often) as running,
    ):
        running.start_conveyor("conveyor-2", clock_seconds=600.0)
        yield running


@pytest.fixture
def begin(shared_stack: Stack, request: pytest.FixtureRequest) -> Iterator[oracle.Begin]:
    """Begin a story on the shared stack, in which pictures take 1 s; afterwards no trap and no fault of it is left."""
    promises = ", ".join(str(row) for row in request.node.get_closest_marker("chaos").args)

    def story(name: str, **settings: object) -> oracle.Story:
        shared_stack.simulator("POST", "settings", {"latency": 1.0, "spread": 0.25, **settings})
        return oracle.Story(shared_stack, f"{promises}: {name}")

    yield story
    shared_stack.simulator("DELETE", "faults")
    for trap in shared_stack.traps.iterdir():
        trap.unlink()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip("told at length only: make chaos"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if oracle.told:
        terminalreporter.section("chaos")
        for line in oracle.told:
            terminalreporter.write_line(line)
