"""From pairs of uploaded files to jobs: check, put both objects, write the rows. In that order.

So a pair that cannot be worked on costs nothing, and no row is without its objects. Objects whose rows were never
written (a refused duplicate, a request that failed half way) are the sweep's.
"""

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeVar

from sqlalchemy import func, insert, select

from api import names
from api.errors import Problem
from api.forms import File
from api.store import store
from api.turns import Turns
from cleanplate import holding, ids, inputs
from cleanplate.db import Transaction
from cleanplate.imaging import pair as imaging
from cleanplate.imaging.faults import ImageFault
from cleanplate.models import Batch, Job, JobEvent
from cleanplate.resources import Params, Rejection
from cleanplate.reuse import Newcomer, fingerprint

T = TypeVar("T")

AT_ONCE = 4
AHEAD = 4 * AT_ONCE
"""Pairs that are handed to the workers before the first of them is asked for."""
DUPLICATE = "duplicate_custom_id"
IGNORED = "ignored_file"
HARMLESS = frozenset({DUPLICATE, IGNORED})
"""Codes of items that an atomic batch goes on without: they are no picture, or are in the batch already."""

_workers = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="intake")
_turn = Turns(AT_ONCE)  # pairs in memory at once, those of batches and single jobs in a fair mix


class Source(Protocol):
    """Where the bytes of files are: the request itself, or an archive in it."""

    def read(self, file: File) -> bytes:
        """Return the bytes of ``file``; threads may read at once. Raises :class:`Problem`."""


class Candidate(Protocol):
    """What may become a job: the client's id for it, and what to call it in an answer."""

    @property
    def custom_id(self) -> str | None: ...

    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Upload:
    """Two files that belong together, the id of the job they may become, and the id that the client has for them.

    ``params`` are its own ones, or None for the batch's. ``name`` is what to call it in an answer.
    """

    job_id: str
    custom_id: str | None
    image: File
    mask: File
    name: str
    params: Params | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checked:
    """A candidate that can be worked on, with its warnings and, if its files are here, what tells its result."""

    candidate: Candidate
    warnings: Sequence[str] = ()
    tells: Mapping[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A pair whose objects are stored, with the columns of the job that tell what they are and where they lie."""

    upload: Upload
    image: Mapping[str, Any]
    mask: Mapping[str, Any]
    warnings: Sequence[str]
    keys: Mapping[str, str]

    @property
    def custom_id(self) -> str | None:
        return self.upload.custom_id

    @property
    def name(self) -> str:
        return self.upload.name


def upload(image: File, mask: File, custom_id: str | None, name: str | None = None, **own: Any) -> Upload:
    """Give a pair the id of the job it may become: in the order of these calls jobs are listed."""
    return Upload(ids.new(ids.Kind.JOB), custom_id, image, mask, name or names.clean(image.name), **own)


def check_all(source: Source, uploads: Sequence[Upload], params: Params) -> tuple[list[Checked], list[Rejection]]:
    """Store nothing; return the pairs that can be worked on, and why others cannot."""

    def check(one: Upload) -> Checked:
        with _turn:
            pair = _check(source, one, params)[2]
        own = (one.params or params).model_dump()
        return Checked(one, pair.warnings, {"image": asdict(pair.image), "mask": asdict(pair.mask), "params": own})

    found = list(_each(check, uploads))
    return [one for one in found if isinstance(one, Checked)], [one for one in found if isinstance(one, Rejection)]


def take_pages(
    source: Source, uploads: Iterable[Upload], params: Params, rejected: list[Rejection], size: int
) -> Generator[list[Stored]]:
    """Check and store many pairs, a few at once; yield those that are stored, in their order and never none.

    Why others are not is added to ``rejected``. Raises ``StoreUnavailable`` and such.
    """
    page: list[Stored] = []
    for one in _each(lambda upload: take(source, upload, params), uploads):
        if isinstance(one, Rejection):
            rejected.append(one)
        else:
            page.append(one)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page


def _each(work: Callable[[Upload], T], uploads: Iterable[Upload]) -> Iterator[T | Rejection]:
    """Do the work for each, a few at once and a few ahead of the caller; nothing is under way after the end."""
    ahead: deque[Future[T | Rejection]] = deque()
    try:
        for one in uploads:
            ahead.append(_workers.submit(_unless_faulty, work, one))
            if len(ahead) == AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        wait([future for future in ahead if not future.cancel()])


def take(source: Source, upload: Upload, params: Params) -> Stored:
    """Decode a pair wholly; if it can be worked on, store it, and what the upstream is sent where that differs.

    Raises ``ImageFault``, :class:`Problem` 413 for a file that is too large, and ``StoreUnavailable`` and such.
    """
    with _turn:
        image, mask, pair = _check(source, upload, params)
        keys = inputs.put(store(), upload.job_id, image, mask, pair)
    return Stored(upload, asdict(pair.image), asdict(pair.mask), pair.warnings, keys)


def _check(source: Source, upload: Upload, params: Params) -> tuple[bytes, bytes, imaging.Pair]:
    image, mask = source.read(upload.image), source.read(upload.mask)
    return image, mask, inputs.check(image, mask, upload.params or params)


def _unless_faulty(work: Callable[[Upload], T], candidate: Upload) -> T | Rejection:
    try:
        return work(candidate)
    except (ImageFault, Problem) as fault:
        return reject(candidate.name, fault.code, fault.detail)


def known(tx: Transaction, batch_id: str, candidates: Iterable[Candidate]) -> set[str | None]:
    """Return those of the candidates' custom ids that the batch has already."""
    asked = [one.custom_id for one in candidates if one.custom_id is not None]
    return set(tx.scalars(select(Job.custom_id).where(Job.batch_id == batch_id, Job.custom_id == func.any(asked))))


def duplicates(candidates: Iterable[Candidate], known_ids: Collection[str | None]) -> list[Rejection]:
    """Return the rejections of those candidates that the batch has already."""
    return [
        reject(one.name, DUPLICATE, f"the batch has a job {one.custom_id!r} already")
        for one in candidates
        if one.custom_id in known_ids
    ]


def insert_jobs(
    tx: Transaction,
    stored: Sequence[Stored],
    params: Params,
    *,
    tenant_id: str,
    batch: Batch | None = None,
    reuse: bool = True,
    endpoint_id: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> list[Job]:
    """Write the jobs, their turns, or whom they follow, and the first event of each; their objects are stored already.

    The caller holds the lock of ``batch``'s row, whose total it has to raise.
    """
    rows = [
        Job(
            id=one.upload.job_id,
            tenant_id=tenant_id,
            batch_id=batch and batch.id,
            position=position,
            custom_id=one.upload.custom_id,
            endpoint_id=endpoint_id,
            meta=metadata or dict(one.upload.metadata),
            params=(own := (one.upload.params or params).model_dump()),
            warnings=list(one.warnings),
            image=dict(one.image),
            mask=dict(one.mask),
            **one.keys,
            fingerprint=fingerprint(tenant_id, one.image, one.mask, own),
            reuse=reuse,
        )
        for position, one in enumerate(stored, batch.total if batch else 0)
    ]
    newcomers = [Newcomer(row.id, row.fingerprint, row.reuse) for row in rows]
    events = []
    for row, place in zip(rows, holding.places(tx, tenant_id, batch, newcomers), strict=True):
        row.state, row.tag, row.due_at = place.state, place.tag, place.due_at
        events.append({"job_id": row.id, "state": row.state, "reason": place.told("accepted")})
    tx.add_all(rows)
    tx.flush()
    if events:
        tx.execute(insert(JobEvent), events)
    return rows


def reject(item: str, code: str, detail: str) -> Rejection:
    """Return that an item never became a job, and why."""
    return Rejection(item=item, code=code, detail=detail)
