"""The simulator as a program: how it starts, ends, and what outlives it."""

import json
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.contract.upstreams import SUBMIT, image, mask, simulator
from tests.servers import wait_until

COMMAND = [sys.executable, "-m", "cleanplate.simulator"]


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *flags], capture_output=True, text=True, timeout=300, check=False)


def test_it_tells_where_it_listens_and_each_site_is_alive(tmp_path: Path) -> None:
    with simulator("--ports-file", str(tmp_path / "ports")) as (upstream, process):
        ready = json.loads((tmp_path / "ports").read_text())
        assert ready == upstream.urls
        assert ready["pid"] == process.pid
        for name in ("base_url", "polling_url", "delivery_url"):
            assert httpx.get(f"{ready[name]}/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_with_tasks_in_flight_and_clients_waiting(number: int) -> None:
    with simulator("--latency", "3600") as (upstream, process):
        for _ in range(3):
            upstream.accepted()
        upstream.fault("credits", "hang")
        with socket.create_connection((httpx.URL(upstream.base_url).host, httpx.URL(upstream.base_url).port)) as client:
            client.sendall(b"GET /v1/credits HTTP/1.1\r\nHost: x\r\nx-key: simulator\r\n\r\n")
            upstream.admin("GET", "faults")
            process.send_signal(number)
            assert process.wait(300) == 0


def test_results_are_files_and_leave_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with simulator("--latency", "0.1") as (upstream, process):
        upstream.finished(upstream.accepted())
        (folder,) = tmp_path.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert [path.suffix for path in folder.iterdir()] == [".png"]
        upstream.admin("POST", "clock", {"advance": 606})
        wait_until(lambda: not list(folder.iterdir()))
        process.terminate()
        process.wait(300)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", ["inpaint", "fast"])
def test_with_a_state_dir_tasks_and_what_was_paid_outlive_a_kill(tmp_path: Path, how: str) -> None:
    flags = ("--state-dir", str(tmp_path), "--latency", "1.5", "--spread", "0", "--credits", "100", "--erase", how)
    with simulator(*flags) as (upstream, process):
        done, pending = upstream.accepted(), upstream.accepted()
        upstream.finished(done)
        pending = upstream.accepted()
        process.kill()
        process.wait(300)
    with simulator(*flags) as (upstream, _):
        stats = upstream.stats()
        assert (stats["paid"], stats["accounts"]["account-1"]["credits"]) == (3, 85)
        for task in (done, pending):
            reply = upstream.finished({"id": task["id"]})
            assert reply["status"] == "Ready"
            assert httpx.get(reply["result"]["sample"]).status_code == 200


def test_keys_come_from_flags_or_else_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMULATOR_KEYS", "one,two")
    for flags, good, bad in (((), "two", "simulator"), (("--key", "three"), "three", "one")):
        with simulator(*flags) as (upstream, _):
            for key, status in ((good, 200), (bad, 403)):
                answer = httpx.get(f"{upstream.base_url}/v1/credits", headers={"x-key": key})
                assert answer.status_code == status


def test_it_does_not_listen_to_others_unless_told_to() -> None:
    refused = run("--host", "0.0.0.0")
    assert refused.returncode == 2
    assert "--allow-public" in refused.stderr
    assert "--advertise" in run("--host", "0.0.0.0", "--allow-public").stderr


def test_told_to_it_puts_the_advertised_name_into_urls() -> None:
    with simulator("--host", "0.0.0.0", "--allow-public", "--advertise", "localhost", "--latency", "0") as (
        upstream,
        _,
    ):
        hosts = [httpx.URL(upstream.urls[name]).host for name in ("base_url", "polling_url", "delivery_url")]
        assert hosts == ["localhost"] * 3
        reply = upstream.finished(upstream.accepted())
        assert httpx.get(reply["result"]["sample"]).status_code == 200


def test_a_port_in_use_is_said_to_be() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = run("--port", str(taken.getsockname()[1]))
    assert refused.returncode == 1
    assert "in use" in refused.stderr


def test_no_key_is_ever_printed() -> None:
    secret = "sk-not-to-be-seen"
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", "--key", secret, "--latency", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = json.loads(line)["base_url"]
        body = {"image": image(), "mask": mask(), "webhook_url": "http://127.0.0.1:9/", "webhook_secret": secret}
        assert httpx.post(url + SUBMIT, json=body, headers={"x-key": secret}).status_code == 200
        assert secret not in httpx.get(f"{url}/admin/stats").text + httpx.get(f"{url}/admin/ledger").text
        process.terminate()
        assert secret not in line + process.stdout.read()
