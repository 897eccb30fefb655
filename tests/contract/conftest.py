"""One suite against whatever answers as the upstream: the simulator always, the real one where it may be paid for.

The real one is asked when ``BFL_API_KEY`` and ``CLEANPLATE_CONTRACT_PAID=1`` are both set; a run pays for one picture.
"""

import os
from collections.abc import Iterator

import pytest

from tests.contract import upstreams
from tests.contract.upstreams import Upstream

PAID = os.environ.get("CLEANPLATE_CONTRACT_PAID") == "1" and bool(os.environ.get("BFL_API_KEY"))


@pytest.fixture(scope="session")
def shared_simulator() -> Iterator[Upstream]:
    with upstreams.simulator("--latency", "0.2", "--credits", "1000") as (simulator, _):
        yield simulator


@pytest.fixture
def simulator(shared_simulator: Upstream) -> Upstream:
    """A simulator as good as new."""
    shared_simulator.admin("POST", "reset")
    return shared_simulator


@pytest.fixture(params=["simulator", "bfl"] if PAID else ["simulator"], scope="module")
def upstream(request: pytest.FixtureRequest, shared_simulator: Upstream) -> Upstream:
    if request.param == "bfl":
        return Upstream(os.environ.get("BFL_BASE_URL", "https://api.bfl.ai"), os.environ["BFL_API_KEY"])
    shared_simulator.admin("POST", "reset")
    return shared_simulator
