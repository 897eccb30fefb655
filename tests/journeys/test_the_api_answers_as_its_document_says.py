"""Calls made from the published document, right ones and wrong ones, one by one and along its links."""

import os
import subprocess
import sys
from pathlib import Path

import httpx

from tests.journeys.harness import stack

HERE = Path(__file__).parent
SECONDS = 30


def test_no_call_made_from_the_document_is_answered_in_another_way_than_it_says(tmp_path: Path) -> None:
    with stack(tmp_path / "data", fast=True) as running:
        httpx.get(f"{running.running.url}/openapi.json").raise_for_status()  # the first takes its time; 10 s are waited
        made = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", HERE / "schemathesis.toml"),
                *("run", f"{running.running.url}/openapi.json", "--no-color", "--seed", "1", "--checks", "all"),
                *("-H", f"Authorization: Bearer {running.running.api_key}"),
                *("--max-time", str(SECONDS), "--max-examples", "10", "--generation-database", "none"),
            ],
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": "tests.journeys.schemathesis_hooks",
                "PYTHONPATH": str(HERE.parents[1]),
            },
            cwd=tmp_path,  # it leaves a cache where it runs
            capture_output=True,
            text=True,
            check=False,
        )
    assert made.returncode == 0, made.stdout + made.stderr
