"""``make bench``: every claim about speed, as one table to stdout and JSON beside it.

Machines differ, so what counts are ratios within one run: each way of working is measured on a simulator of the same
seed, which draws the same latencies for all of them. ``python -m tests.bench NAME ...`` runs some of the scenarios.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import photographs
from tests.bench import archive, engine, intake, rivals, scale, tenk_gaps, tenk_in, tenk_out, webhooks, whole

Figures = dict[str, Any]
Scenario = Callable[[Path], list[Figures]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", help="scenarios; all of them if none is named")
    parser.add_argument("--photos", type=int, default=240, help="photographs of the whole stack's scenario")
    parser.add_argument("--pixels", type=int, default=photographs.MEGAPIXEL, help="pixels of each")
    parser.add_argument("--inpaint", action="store_true", help="let the simulator really erase, on the same cores")
    parser.add_argument("--json", type=Path, default=None, help="write the figures here, too")
    given = parser.parse_args()
    scenarios: dict[str, Scenario] = {
        "whole": lambda folder: [whole.run(folder, given.photos, given.pixels, fast=not given.inpaint)],
        "vendor": lambda folder: [rivals.vendor(folder)],
        "celery": lambda folder: [rivals.blocking_task(folder)],
        "engine-24x4": lambda folder: [engine.run(folder, jobs=240, slots=24, latency=4.0)],
        "callbacks-24x4": lambda folder: [engine.run(folder, jobs=240, slots=24, latency=4.0, called_back=True)],
        "engine-24x10": lambda folder: [engine.run(folder, jobs=96, slots=24, latency=10.0)],
        "engine-500x5": lambda folder: [engine.run(folder, jobs=5000, slots=500, latency=5.0, stored=False)],
        "engine-2000x10": lambda folder: [engine.run(folder, jobs=12000, slots=2000, latency=10.0, stored=False)],
        "callbacks-500x5": lambda folder: [
            engine.run(folder, jobs=5000, slots=500, latency=5.0, stored=False, called_back=True)
        ],
        "callbacks-2000x10": lambda folder: [
            engine.run(folder, jobs=12000, slots=2000, latency=10.0, stored=False, called_back=True)
        ],
        "intake": lambda folder: [intake.run(folder)],
        "archive": lambda folder: [archive.run(folder)],
        "webhooks": webhooks.run,
        "tenk-in": tenk_in.run,
        "tenk-out": tenk_out.run,
        "tenk-gaps": tenk_gaps.run,
        "scale": scale.run,
    }
    if unknown := set(given.names) - set(scenarios):
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(scenarios)}")
    results: dict[str, list[Figures]] = {}
    for name in given.names or scenarios:
        sys.stderr.write(f"bench: {name} ...\n")
        with tempfile.TemporaryDirectory(prefix="cleanplate-bench-") as folder:
            results[name] = scenarios[name](Path(folder))
        show(name, results[name])
    if given.json:
        given.json.write_text(json.dumps(results, indent=2))


def show(name: str, rows: list[Figures]) -> None:
    """Print the figures of a scenario, a line each."""
    for row in rows:
        for figure, value in row.items():
            shown = f"{value:.3f}" if isinstance(value, float) else f"{value}"
            sys.stdout.write(f"{name:16} {figure:44} {shown}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
