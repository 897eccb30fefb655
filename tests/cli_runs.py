"""What a run of ``cleanplate erase`` is given, how it is interrupted, and what it told and saved."""

import json
from pathlib import Path
from typing import Any

from typer.testing import Result

from cleanplate.cli.manifest import NAME
from tests.fake_api import FakeApi


def add(folder: Path, name: str, content: str = "") -> None:
    """Put a pair of that name into the folder."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jpg").write_bytes(f"image of {name}{content}".encode())
    (folder / f"{name}_mask.png").write_bytes(f"mask of {name}".encode())


def told(result: Result) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the items by their names, and the summary."""
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    items = {line["name"]: line for line in lines if line["type"] == "item"}
    assert len(items) == len(lines) - 1
    assert lines[-1]["type"] == "summary"
    return items, lines[-1]


def saved(out: Path) -> set[str]:
    """Return what lies in the folder, but for the manifest."""
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} - {NAME}


def interrupt_at_the_seal(erase: Any, api: FakeApi) -> None:
    """Interrupt a run when all is sent and, so that it cannot have seen an end before, nothing has ended."""
    api.before = lambda request: interrupted() if request.url.path.endswith("/seal") else None
    api.finish = lambda _: False
    assert erase().exit_code == 130
    api.before, api.finish = lambda _: None, lambda _: True


def interrupted() -> None:
    raise KeyboardInterrupt
