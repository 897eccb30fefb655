"""Two accounts with unlike caps, and two conveyors: every slot is used, none is overdrawn, nothing is paid twice."""

from pathlib import Path

from cleanplate.local import environment
from tests.contract.upstreams import simulator
from tests.journeys.harness import finish, pairs, stack, stored

KEYS = {"studio": "first-key", "archive": "second-key"}
CAPS = {"studio": 5, "archive": 2}
COUNT = 30


def test_a_folder_fills_both_accounts_to_their_caps(tmp_path: Path) -> None:
    photos, out = pairs(tmp_path / "photos", COUNT), tmp_path / "out"
    keys = [part for key in KEYS.values() for part in ("--key", key)]
    with simulator("--latency", "5", "--erase", "fast", *keys) as (upstream, _):
        slots = {f"account-{number}": {"slots": cap} for number, cap in enumerate(CAPS.values(), 1)}
        upstream.admin("POST", "settings", {"accounts": slots})
        given = environment.of_simulator(upstream.urls)
        del given["BFL_API_KEY"]
        given["BFL_API_KEYS"] = ",".join(f"{name}={key};slots={CAPS[name]}" for name, key in KEYS.items())
        with stack(tmp_path / "data", **given) as running:
            running.start_conveyor("conveyor-2")
            finish(running.erase(photos, out))
            with running.client() as client:
                told = client.upstream()
            logs = b"".join(file.read_bytes() for file in (tmp_path / "data" / "logs").iterdir())
        stats, ledger = upstream.stats(), upstream.admin("GET", "ledger")["data"]
    gauges = [stats["accounts"][name]["max_in_flight"] for name in slots]
    assert gauges == list(CAPS.values())
    assert stats["rate_limited"] == 0
    assert len(stored(out)) == len({task["image_sha256"] for task in ledger}) == stats["paid"] == COUNT
    assert {account.account: account.slots for account in told.accounts} == CAPS
    assert (told.slots, told.slots_used, told.paused, told.workers) == (7, 0, False, 2)
    assert not [key for key in KEYS.values() if key.encode() in logs]
