"""A ZIP of photos, which goes to the server as one request."""

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from cleanplate.cli.exits import UsageError
from cleanplate.cli.manifest import ArchiveLine, BatchLine, Content, Manifest, ManifestError
from cleanplate.cli.progress import Progress
from cleanplate.cli.refused import settle
from cleanplate.cli.report import Report, count, counted, listed
from cleanplate.cli.run import Run
from cleanplate.cli.stream import Stream
from cleanplate.client import Client
from cleanplate.client_errors import ApiError, NotFoundError
from cleanplate.pairing import pair
from cleanplate.resources import Batch, BatchOptions, Rejection
from cleanplate.retrying import RetryingBatch

MANIFEST: Final = "manifest.csv"


class Archive:
    """A ZIP with the options of the batch that it would go into. What of it is an item is for the server to say."""

    def __init__(self, path: Path, options: BatchOptions, progress: Progress, *, retry_failed: bool) -> None:
        self._path = path
        self._progress = progress
        self._retry_failed = retry_failed
        self._pairs, has_manifest = _count(path, options.mask_suffix)
        self._options = options.model_copy(update={"manifest": has_manifest})
        if self._pairs < 1:
            example = f"NAME.jpg needs NAME{options.mask_suffix}.png beside it, or a row in {MANIFEST}"
            raise UsageError(f"there are no pairs in {path}: {example}")
        self._content = Content.of(path)
        self._batches: list[Stream] = []

    def dry_run(self, manifest: Manifest, connect: Callable[[], Client]) -> str:
        """Let the server check it, which only the server can: it is sent, and nothing of it is kept."""
        with connect() as client:
            if manifest.path.exists():
                with manifest:
                    if there := self._there(manifest, client):
                        return f"{self._path.name} was sent as batch {there[-1]}; nothing more would be"
            quote = client.quote_archive(self._options, self._path)
        kinds: dict[str, list[str]] = {}
        for item in quote.items:
            count(item.item, item.warnings, kinds)
        reused = sum(item.reused for item in quote.items)
        told = f"{len(quote.items)} pairs to send ({self._content.bytes / 1e6:.1f} MB"
        told += f", about {quote.quote_credits:g} credits"
        told += f", {reused} reused" if reused else ""
        told += f"), {len(quote.rejected)} files or items left aside"
        return "\n".join([listed(told, [f"{one.item}: {one.detail}" for one in quote.rejected]), *counted(kinds)])

    def start(self, run: Run, client: Client, manifest: Manifest, _: Report) -> None:
        """Send it, or what is missing of it, or follow where it was sent before."""
        ids = self._there(manifest, client)
        if not ids:
            batch = client.create_batch(self._options)
            self._progress.say(f"sending {self._path.name} as batch {batch.id}")
            ids = [self._remember(manifest, client, batch)]
        elif self._retry_failed and (child := _retried(client, ids[-1])):
            self._progress.say(f"{child.counts.total} photos go again as batch {child.id}")
            ids.append(self._remember(manifest, client, child))
        self._batches = [Stream(client, self._find(client, manifest, batch_id)) for batch_id in ids]
        for follower in self._batches:
            run.follow(follower, retried=follower is not self._batches[-1])
        first = self._batches[0].batch
        if first.status == "open":
            run.send_archive(first.id, self._path, self._pairs)

    def alone(self, report: Report) -> Sequence[Rejection]:
        """Report the items that the server refused as failed, and return the files that are no items."""
        return settle([follower.batch for follower in self._batches], report, self._progress)

    def _there(self, manifest: Manifest, client: Client) -> list[str]:
        """Return the ids of the batches that this very ZIP went into before with these options, oldest first."""
        this = (self._content.sha256, self._options.params, self._options.mask_suffix)
        sent = [
            line.batch_id for line in manifest.archives if (line.archive.sha256, line.params, line.mask_suffix) == this
        ]
        return [batch_id for batch_id in sent if not _was_refused(self._find(client, manifest, batch_id))]

    def _remember(self, manifest: Manifest, client: Client, batch: Batch) -> str:
        went = ArchiveLine(
            batch_id=batch.id,
            params=self._options.params,
            mask_suffix=self._options.mask_suffix,
            archive=self._content,
        )
        manifest.write(BatchLine(id=batch.id, url=client.url, sealed=batch.sealed_at is not None), went)
        return batch.id

    def _find(self, client: Client, manifest: Manifest, batch_id: str) -> Batch:
        try:
            return client.batch(batch_id)
        except NotFoundError as error:
            raise ManifestError(
                f"{self._path.name} was sent to {manifest.batches[batch_id].url} as batch {batch_id}, which "
                f"{client.url} does not know for this key; use that server and key, or name another folder in "
                "--out to send it anew"
            ) from error


def _was_refused(batch: Batch) -> bool:
    return batch.status == "cancelled" and not batch.counts.total


def _count(path: Path, mask_suffix: str) -> tuple[int, bool]:
    """Return about how many pairs there are, and whether a manifest is. Raises :class:`UsageError` for what is no ZIP.

    A ZIP without one is worked on while it still arrives.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if _counts(name)]
            for name in names:
                if PurePosixPath(name).name.lower() == MANIFEST:
                    return sum(bool(row.strip()) for row in archive.read(name).splitlines()) - 1, True
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise UsageError(f"{path} is neither a folder nor a ZIP file that can be read ({error})") from error
    return len(pair(names, mask_suffix)[0]), False


def _counts(name: str) -> bool:
    path = PurePosixPath(name)
    return not (name.endswith("/") or path.name.startswith(".") or "__MACOSX" in path.parts)


def _retried(client: Client, batch_id: str) -> Batch | None:
    """Return the child batch of what failed or was cancelled, or None when nothing was."""
    try:
        return client.retry_batch(batch_id, RetryingBatch(cancelled=True))
    except ApiError as error:
        if error.code != "nothing_to_retry":
            raise
        return None
