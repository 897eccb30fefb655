"""Upstreams to talk to over plain HTTP, and simulators of one's own."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from PIL import Image, ImageDraw

from tests.pictures import encoded, mask_image
from tests.servers import wait_until

SUBMIT, POLL = "/v1/flux-tools/erase-v1", "/v1/get_result"
SIZE, SPOT, STICKER = (96, 64), (32, 21, 49, 38), (250, 215, 40)


@dataclass(frozen=True)
class Upstream:
    """Whatever answers as the upstream; ``urls`` holds what a simulator said when it was ready."""

    base_url: str
    key: str
    urls: dict[str, str] = field(default_factory=dict)

    def submit(self, **fields: Any) -> httpx.Response:
        body = {"image": image(), "mask": mask()} | fields
        return httpx.post(self.base_url + SUBMIT, json=body, headers={"x-key": self.key}, timeout=60)

    def accepted(self, **fields: Any) -> dict[str, Any]:
        answer = self.submit(**fields)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ask(self, task: dict[str, Any]) -> httpx.Response:
        url = task.get("polling_url", f"{self.base_url}{POLL}?id={task['id']}")
        return httpx.get(url, headers={"x-key": self.key}, timeout=60)

    def poll(self, task: dict[str, Any]) -> dict[str, Any]:
        return dict(self.ask(task).raise_for_status().json())

    def finished(self, task: dict[str, Any]) -> dict[str, Any]:
        """Poll until the task says something else than Pending."""
        wait_until(lambda: self.poll(task)["status"] != "Pending", 90)
        return self.poll(task)

    def credits(self) -> float:
        answer = httpx.get(f"{self.base_url}/v1/credits", headers={"x-key": self.key}, timeout=60)
        return float(answer.raise_for_status().json()["credits"])

    def admin(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Ask the simulator's own endpoints."""
        answer = httpx.request(method, f"{self.urls['admin_url']}/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def fault(self, where: str, what: str, **rule: object) -> None:
        self.admin("POST", "faults", [{"where": where, "what": what, **rule}])

    def stats(self) -> dict[str, Any]:
        return self.admin("GET", "stats")


def image() -> str:
    """Return a grey picture with a yellow sticker, in base64."""
    picture = Image.new("RGB", SIZE, (120, 130, 140))
    ImageDraw.Draw(picture).rectangle((SPOT[0], SPOT[1], SPOT[2] - 1, SPOT[3] - 1), fill=STICKER)
    return base64.b64encode(encoded(picture)).decode()


def mask(size: tuple[int, int] = SIZE) -> str:
    """Return the sticker's mask, in base64."""
    return base64.b64encode(encoded(mask_image(size, SPOT))).decode()


@contextmanager
def simulator(*flags: str) -> Iterator[tuple[Upstream, subprocess.Popen[str]]]:
    """Run a simulator on free ports until the block is left."""
    command = [sys.executable, "-m", "cleanplate.simulator", "--port", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            urls = json.loads(process.stdout.readline())
            yield Upstream(urls["base_url"], "simulator", urls), process
        finally:
            process.terminate()
