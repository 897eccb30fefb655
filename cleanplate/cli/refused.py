"""What of a batch never became a job."""

from collections.abc import Iterable
from typing import Final

from cleanplate.cli.manifest import Content, Fault, ItemLine
from cleanplate.cli.progress import Progress
from cleanplate.cli.report import Report, listed
from cleanplate.resources import Batch, Rejection
from cleanplate.states import Status

ASIDE: Final = frozenset({"missing_mask", "missing_image", "ambiguous_pair", "ignored_file"})
"""Codes of files that are no items: they are told, and are no failures, as in a folder."""


def settle(batches: Iterable[Batch], report: Report, progress: Progress) -> list[Rejection]:
    """Report the items that the server refused as failed, and return the files that are no items; tell of both."""
    aside: list[Rejection] = []
    refused: list[Rejection] = []
    none = Content(sha256="", bytes=0)
    for batch in batches:
        for one in batch.rejected:
            (aside if one.code in ASIDE else refused).append(one)
            if one.code not in ASIDE:
                line = ItemLine(name=one.item, batch_id=batch.id, params=batch.options.params, image=none, mask=none)
                fault = Fault(code=one.code, detail=one.detail)
                report.item(line.model_copy(update={"status": Status.FAILED, "error": fault}), earlier=True)
    for what, some in (("files are left aside", aside), ("items were refused", refused)):
        if some:
            progress.say(listed(f"{len(some)} {what}:", [f"{one.item}: {one.detail}" for one in some]))
    return aside
