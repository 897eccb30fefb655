"""The command line as a process of its own, against our API in memory behind a real socket."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fake_api import FakeApi


class Served(FakeApi):
    """``hold`` names a path whose requests are kept waiting, after they were served, until ``let_go``."""

    def __init__(self) -> None:
        super().__init__()
        self.hold = ""
        self.reached = threading.Event()
        self.let_go = threading.Event()
        self.url = ""
        self.after = self._hold

    def _hold(self, request: httpx.Request) -> None:
        if self.hold and request.url.path.endswith(self.hold):
            self.reached.set()
            self.let_go.wait(300)


@pytest.fixture
def api() -> Iterator[Served]:
    api = Served()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            url = f"http://api.test{self.path}"
            answer = api.handle_request(httpx.Request(self.command, url, headers=dict(self.headers), content=body))
            try:
                self.send_response(answer.status_code)
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)
            except OSError:
                self.close_connection = True

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield api
    api.let_go.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:02}.jpg").write_bytes(f"image {number}".encode())
        (folder / f"{number:02}_mask.png").write_bytes(f"mask {number}".encode())
    return folder


def start(api: Served, photos: Path, **given: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "cleanplate", "erase", str(photos), "--out", str(photos.parent / "out"), "--json"]
    env = {**os.environ, "CLEANPLATE_URL": api.url, "CLEANPLATE_API_KEY": "cp_secret"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | given
    return subprocess.Popen(command, env=env, text=True, **pipes)


def finish(process: "subprocess.Popen[str]", seconds: float = 300) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("path", "number"), [("/items", signal.SIGINT), ("/result", signal.SIGINT), ("/jobs", signal.SIGTERM)]
)
def test_a_signal_ends_it_at_once_whatever_it_waits_for_and_the_next_run_goes_on(
    api: Served, photos: Path, path: str, number: signal.Signals
) -> None:
    api.hold = path
    process = start(api, photos)
    assert api.reached.wait(300)
    process.send_signal(number)
    code, _, err = finish(process, 50)
    assert code == 130
    assert err.count("resume with: ") == 1
    assert "Traceback" not in err
    api.hold = ""
    api.let_go.set()
    code, out, _ = finish(start(api, photos))
    assert (code, json.loads(out.splitlines()[-1])["succeeded"]) == (0, 20)
    assert sorted(api.uploaded) == [f"{n:02}" for n in range(20)]


def test_a_kill_costs_nothing_but_the_time(api: Served, photos: Path) -> None:
    api.hold = "/items"
    process = start(api, photos)
    assert api.reached.wait(300)
    process.kill()
    finish(process)
    api.hold = ""
    api.let_go.set()
    code, out, _ = finish(start(api, photos))
    assert (code, json.loads(out.splitlines()[-1])["succeeded"]) == (0, 20)
    assert sorted(api.uploaded) == [f"{n:02}" for n in range(20)]
    assert len(list((photos.parent / "out").glob("*.png"))) == 20


def test_stdout_is_data_only_and_stderr_has_no_control_characters_without_a_terminal(api: Served, photos: Path) -> None:
    code, out, err = finish(start(api, photos))
    assert code == 0
    assert [json.loads(line)["type"] for line in out.splitlines()] == ["item"] * 20 + ["summary"]
    assert "erasing 20/20" in err
    assert "\x1b" not in err


def test_a_terminal_gets_a_bar(api: Served, photos: Path) -> None:
    ours, theirs = pty.openpty()
    process = start(api, photos, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:  # so Linux says that the other side has closed
        pass
    os.close(ours)
    assert finish(process)[0] == 0
    assert b"\x1b[" in shown
    assert b"20/20" in shown
