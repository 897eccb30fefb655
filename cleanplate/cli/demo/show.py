"""What a demonstration came to: the results, a contact sheet, a short table, and what was not as promised."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cleanplate.cli import plan
from cleanplate.cli.demo import sheet
from cleanplate.cli.demo.check import largest_difference
from cleanplate.cli.demo.stage import DILATE_PIXELS, EVENT, Outcome
from cleanplate.cli.manifest import NAME


@dataclass(frozen=True)
class Shown:
    """``table`` holds label and value, a row each; ``faults`` are promises that were not kept."""

    table: list[tuple[str, str]]
    faults: list[str]


def show(outcome: Outcome, folder: Path, saved: Path, out: Path) -> Shown:
    """Put the results and the contact sheet into ``out`` and return what there is to say."""
    shutil.copytree(saved, out / "erased", dirs_exist_ok=True, ignore=shutil.ignore_patterns(NAME))
    rows = _rows(outcome, folder, saved)
    png, html = out / "contact-sheet.png", out / "contact-sheet.html"
    by = "the built-in simulator" if outcome.stats else "FLUX Erase"
    sheet.write(rows, png, html, title="Cleanplate", subtitle=f"{len(rows)} photographs, erased by {by}")
    told = [item["outside_mask_max_delta"] for item in outcome.items if item["output"]]
    measured = [
        difference
        for row in rows
        if row.after and (difference := largest_difference(row.before, row.mask, row.after, DILATE_PIXELS)) is not None
    ]
    untouched = f"differ by at most {max(told, default=0)} of 255, says the server"
    untouched += f"; by {max(measured, default=0)}, measured here on {len(measured)} results"
    summary = outcome.summary
    table = [
        ("photographs", f"{summary['succeeded']} erased, {summary['failed']} failed"),
        ("time", f"{summary['seconds']:.1f} s, {summary['total'] / summary['seconds']:.1f} a second"),
        ("paid", _paid(outcome)),
        ("outside the masks", untouched),
        ("webhook", f"{EVENT} came, and its signature is right"),
        ("results", str(out / "erased")),
        ("contact sheet", f"{png}, {html}"),
    ]
    return Shown(table, list(_faults(outcome, measured)))


def _rows(outcome: Outcome, folder: Path, saved: Path) -> list[sheet.Row]:
    items = {item["name"]: item for item in outcome.items}
    photos = plan.look(folder, saved, "_mask")
    rows = []
    for pair in photos.pairs:
        item = items[pair.name]
        after = saved / item["output"] if item["output"] else None
        rows.append(sheet.Row(pair.name, *photos.paths(pair), after, item["error"]["detail"] if item["error"] else ""))
    return rows


def _paid(outcome: Outcome) -> str:
    if outcome.stats is None:
        return f"{outcome.summary['cost_credits']:g} credits"
    (account,) = outcome.stats["accounts"].values()
    seconds = outcome.stats["last_ends_at"] - outcome.stats["first_accepted_at"]
    busy = account["slot_seconds"] / (seconds * min(account["slots"], outcome.stats["paid"]))
    return (
        f"{outcome.stats['paid']} submits to the simulator, no money; at most {account['max_in_flight']} of "
        f"{account['slots']} slots at once, those busy {busy:.0%} of the time"
    )


def _faults(outcome: Outcome, measured: list[int]) -> Iterator[str]:
    if failed := outcome.summary["failed"]:
        yield f"{failed} photographs were not erased"
    if outcome.stats and outcome.stats["paid"] > outcome.summary["succeeded"]:
        yield f"{outcome.stats['paid']} submits were paid for {outcome.summary['succeeded']} photographs"
    if any(measured):
        yield f"a result differs by {max(measured)} outside its mask"
