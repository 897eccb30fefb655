"""A forbidden address sees no packet, however it is named: proved in a network where every address would answer."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.addresses import FORBIDDEN

ROOT = Path(__file__).parents[2]
WALLED = ["unshare", "--user", "--map-root-user", "--net"]
ADDRESSES = [address for addresses in FORBIDDEN.values() for address in addresses.split()]
NOWHERE = {
    "::",
    "224.0.0.1",
    "239.255.255.255",
    "255.255.255.255",
    "ff02::1",
    "ff0e::1",
    "fe80::1",
    "fe80::1%lo",
    "240.0.0.1",
}
"""Where no connection leads, so that there is nothing to see when it is allowed."""


@pytest.fixture(scope="module")
def packets() -> dict[str, dict[str, dict[str, int]]]:
    """How many packets were seen, by whether it was allowed, address and way."""
    if (
        not (shutil.which("unshare") and shutil.which("ip"))
        or subprocess.run([*WALLED, "true"], check=False).returncode
    ):
        pytest.skip("this machine gives nobody a network of its own")
    command = [*WALLED, sys.executable, "-m", "tests.walled", *ADDRESSES]
    told: Any = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=100).stdout)
    return told


@pytest.mark.parametrize("address", ADDRESSES)
def test_it_sees_none_by_any_way_in(packets: dict[str, Any], address: str) -> None:
    seen = packets["forbidden"][address]
    assert len(seen) == 22
    assert {way: count for way, count in seen.items() if count} == {}


@pytest.mark.parametrize("address", [address for address in ADDRESSES if address not in NOWHERE])
def test_it_would_see_them_if_it_were_allowed(packets: dict[str, Any], address: str) -> None:
    seen = packets["allowed"][address]
    assert set(seen) == {"webhook: a name", "image: a name"}
    assert all(seen.values())
