"""Every command and every line of Python of the README and the guide, as a newcomer would paste them."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from cleanplate.client import Client
from cleanplate.resources import BatchOptions
from tests import guide, pictures, web
from tests.journeys.harness import Stack, all_jobs, stack, wait_until
from tests.pictures import MASK
from tests.s3 import make_bucket, s3_environment, s3_server

RUN = {"curl", "cleanplate", ".venv/bin/cleanplate", "openapi-python-client"}
NOT_RUN = {"export", "make"}
README = guide.ROOT / "README.md"
CURLS = [name for name in (shutil.which("curl"), "a stand-in") if name]
SEEDS = count(1)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    allowed: dict[str, Any] = {
        "CLEANPLATE_ALLOW_PRIVATE_NETWORKS": "127.0.0.0/8",
        "CLEANPLATE_IMPORT_BUCKETS": "photos",
    }
    with s3_server() as endpoint, pytest.MonkeyPatch.context() as patch:
        make_bucket(endpoint, "photos")
        for name, value in s3_environment(endpoint).items():
            patch.setenv(name, value)
        for name, content in (("mug.jpg", image()), ("mug_mask.png", MASK)):
            httpx.put(f"{endpoint}/photos/{name}", content=content, trust_env=False, timeout=300).raise_for_status()
        with stack(tmp_path_factory.mktemp("stack") / "data", latency=0.2, fast=True, **allowed) as started:
            yield started


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """The address of a site with pictures."""

    async def answer(request: Any) -> Any:
        content = MASK if "_mask" in request.path else image()
        return await web.says(200, content)(request)

    with web.serving(answer) as site:
        yield site.url


def image() -> bytes:
    """Return a picture that was never sent before."""
    return pictures.encoded(pictures.scene(seed=next(SEEDS)), "JPEG")


class Shown:
    """What the examples are about: ids of the kind that each needs, for those that stand in their place."""

    def __init__(self, running: Stack) -> None:
        self._running = running
        self._done: tuple[str, str] | None = None
        self.seen: dict[str, str] = {}

    def ids(self, text: str) -> dict[str, str]:
        """Return ids for the placeholders: ``bat`` and ``job`` are made for this text, others were seen last."""
        if not re.search(r"bat_\.\.\.|job_\.\.\.|\b(batch|job)_id\b", text):
            return self.seen
        with Client(os.environ["CLEANPLATE_URL"], os.environ["CLEANPLATE_API_KEY"]) as client:
            if re.search(r"/items|/seal", text):
                batch_id, job_id = client.create_batch(BatchOptions(seal=False)).id, ""
            elif re.search(r"\b(cancel|release)\b", text):
                batch_id, job_id = self._batch(client, BatchOptions(seal=False, canary=1))
            elif re.search(r"\bretry(\b|_)", text):
                self._running.faults({"where": "submit", "what": "status", "code": 422})
                batch_id, job_id = _ended(client, *self._batch(client, BatchOptions(seal=False)))
                self._running.faults()
            elif re.search(r"DELETE|\.delete", text):
                batch_id, job_id = _ended(client, *self._batch(client, BatchOptions(seal=False)))
            else:
                self._done = self._done or _ended(client, *self._batch(client, BatchOptions(seal=False)))
                batch_id, job_id = self._done
        return {**self.seen, "bat": batch_id, "job": job_id}

    def _batch(self, client: Client, options: BatchOptions) -> tuple[str, str]:
        batch = client.create_batch(options)
        client.add_items(batch.id, [one for n in "abc" for one in ((f"{n}.jpg", image()), (f"{n}_mask.png", MASK))])
        client.seal(batch.id)
        return batch.id, all_jobs(client, batch.id)[-1].id


def _ended(client: Client, batch_id: str, job_id: str) -> tuple[str, str]:
    wait_until(lambda: client.batch(batch_id).finished_at)
    return batch_id, job_id


@pytest.fixture
def folder(running: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The newcomer's folder: pictures, the commands, and the two variables."""
    for name in ("mug", "vase", "photos/chair", "photos/lamp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.jpg").write_bytes(image())
        (tmp_path / f"{name}_mask.png").write_bytes(MASK)
    (tmp_path / "mask.png").write_bytes(MASK)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("red.jpg", image())
        archive.writestr("red_mask.png", MASK)
    (tmp_path / "client.yaml").write_text(guide.block("A client in your language", "yaml"))
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    _program(programs / "cleanplate", "cleanplate")
    (tmp_path / ".curlrc").write_text("fail\nshow-error\nmax-time = 300\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CURL_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(guide.ROOT))
    monkeypatch.setenv("PATH", f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("CLEANPLATE_URL", running.running.url)
    monkeypatch.setenv("CLEANPLATE_API_KEY", _key(running, tmp_path.name))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "erasing"]:
        del sys.modules[name]


def _key(running: Stack, team: str) -> str:
    """Return the key of a new team, to which nothing has happened yet."""
    command = [sys.executable, "-m", "cleanplate", "keys", "create", "--tenant", team, "--scope", "admin", "first"]
    env = {**os.environ, **running.running.environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip()


def _program(path: Path, module: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
    path.chmod(0o755)


@pytest.mark.parametrize("curl", CURLS)
@pytest.mark.parametrize("document", [README, guide.GUIDE], ids=lambda path: path.stem)
def test_every_example_works(running: Stack, elsewhere: str, folder: Path, document: Path, curl: str) -> None:
    if not Path(curl).is_file():
        _program(folder / ".venv" / "bin" / "curl", "tests.curl")
    shown, ran = Shown(running), 0
    blocks = guide.blocks(document)
    preamble = next((block.text for block in blocks if block.language == "python"), "")
    for block in blocks:
        text = block.text.replace("https://photos.example.com", elsewhere)
        text = text.replace("https://cleanplate.example.com", running.running.url)
        text = text.replace('"cp_..."', f'"{os.environ["CLEANPLATE_API_KEY"]}"')
        if block.language == "sh":
            for command in commands(text):
                ran += _run_command(command, shown, f"{document.name}:{block.line}")
        elif block.language == "python" and curl == CURLS[0]:
            _run_python(preamble, text, shown, f"{document.name}:{block.line}")
    assert ran >= 8


def commands(text: str) -> Iterator[str]:
    """Yield the commands of a block, each with the lines that belong to it."""
    command = ""
    for line in text.splitlines(keepends=True):
        command += line
        try:
            words = shlex.split(command, comments=True)
        except ValueError:  # a quote is still open
            continue
        if words and not command.endswith("\\\n"):
            yield command
            command = ""


def _run_command(command: str, shown: Shown, where: str) -> bool:
    """Run a command that a newcomer would run here, which has to succeed; return whether it is one."""
    name = command.split(maxsplit=1)[0]
    if name in NOT_RUN:
        return False
    assert name in RUN, f"{where}: {name} is neither run nor known to be left out"
    command = command.replace("https://.../the url of the answer", shown.seen.get("url", ""))
    if re.search(r"\b[a-z]{3}_\.\.\.", command):
        ids = shown.ids(command)
        command = re.sub(r"\b([a-z]{3})_\.\.\.", lambda found: ids[found[1]], command)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, f"{where}: {command}\n{done.stdout}\n{done.stderr}"
    for id_, kind in reversed(re.findall(r'"(?:upload_)?id": ?"(([a-z]{3})_[0-9a-f]{32})"', done.stdout)):
        shown.seen[kind] = id_
    if found := re.search(r'"url": ?"(https?://[^"]+/uploads/[^"]+)"', done.stdout):
        shown.seen["url"] = found[1]
    return True


def _run_python(preamble: str, text: str, shown: Shown, where: str) -> None:
    ids = shown.ids(text)
    given: dict[str, Any] = {"batch_id": ids.get("bat"), "job_id": ids.get("job")}
    exec(compile(preamble, f"{where} (preamble)", "exec"), given)
    opened: Client = given["client"]
    with opened:
        if text != preamble:
            exec(compile("\n" * int(where.rpartition(":")[2]) + text, where, "exec"), given)
