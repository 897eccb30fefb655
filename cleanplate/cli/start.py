"""The beginning of a run: takes up what earlier runs left on the server, and sends what is left to send."""

from collections.abc import Iterator

from cleanplate.cli.follow import Follower
from cleanplate.cli.manifest import BatchLine, Manifest, ManifestError
from cleanplate.cli.plan import Photos, Plan
from cleanplate.cli.progress import Progress
from cleanplate.cli.run import Run
from cleanplate.cli.upload import Uploader, chunks
from cleanplate.client import Client
from cleanplate.client_errors import NotFoundError
from cleanplate.resources import BatchOptions


def start(
    run: Run,
    client: Client,
    manifest: Manifest,
    plan: Plan,
    photos: Photos,
    options: BatchOptions,
    progress: Progress,
) -> None:
    """Follow, fetch and send what ``plan`` names; a pair that was to be on the server and is not is sent after all."""
    for line in plan.fetch:
        run.fetch(manifest, line)
    unsealed = list(_take_up(run, client, manifest, plan, photos))
    names = {pair.name for pair in plan.send}
    follower = None
    for left in unsealed:
        if follower is None and names and not names & left.names and left.batch.options.params == options.params:
            follower = left
        else:
            run.seal(left.batch.id)
    if not names:
        return
    if follower is None:
        follower = Follower(client, client.create_batch(options))
        manifest.write(BatchLine(id=follower.batch.id, url=client.url))
    progress.say(f"sending {len(names)} pairs as batch {follower.batch.id}")
    run.follow(follower, names)
    run.send(Uploader(client, manifest, photos, follower.batch), chunks(plan.send, photos.bytes))


def _take_up(run: Run, client: Client, manifest: Manifest, plan: Plan, photos: Photos) -> Iterator[Follower]:
    """Follow what earlier runs sent, and yield each batch that still takes more."""
    pairs = {pair.name: pair for pair in photos.pairs}
    unsealed = {batch.id for batch in manifest.batches.values() if not batch.sealed}
    for batch_id in sorted(unsealed | {line.batch_id for line in plan.follow}):
        sent = {line.name for line in plan.follow if line.batch_id == batch_id}
        try:
            follower = Follower(client, client.batch(batch_id))
        except NotFoundError as error:
            if not sent:
                continue
            of = manifest.batches[batch_id].url if batch_id in manifest.batches else "another server"
            raise ManifestError(
                f"{len(sent)} pairs were sent to {of} as batch {batch_id}, which {client.url} does not know for this "
                f"key; use that server and key, or name another folder in --out to send all anew"
            ) from error
        ended = follower.look_at_all()
        there = sent & follower.names
        plan.send += [pairs[name] for name in sorted(sent - there)]
        run.follow(follower, there)
        for job in ended:
            run.take(follower, job)
        if follower.batch.status == "open":
            yield follower
