"""Whose turn a new job is: start-time fair queueing (Goyal, Vin and Cheng, 1996) by a tag that intake writes.

Claims take the smallest tags, so all that is fair is decided here, once, and a claim stays one scan of an index.

Among tenants: each has a line, in which tag follows tag by ``COST / weight``. A line that goes on begins where it
ended; one that begins anew begins at the virtual time, so an idle tenant has saved nothing up and owes nothing. The
virtual time is the smallest tag that waits: one probe of the claim's index, and no row that every claim would write.

Among the batches of one tenant (its single jobs are one batch more): the share of each in the line is ``2 ** priority``
beside the others'. Were tags merely put between those that are there, a tenant's share would grow with its batches. So
newcomers stand at the end of the line, and then change places with jobs that wait before them, by their share: with
those of batches that have as far to go themselves, so that a small one is not torn. So do, from where they stand, jobs
of other batches whose result newcomers wait for: nobody comes later for having a twin.

The tenant's row is locked while its line is read and written, after the batch's. Jobs are locked only if nobody holds
them: whoever waits for one of these rows is never waited for.
"""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any, Final

from sqlalchemy import ColumnElement, Double, Row, Select, case, func, literal, literal_column, select

from cleanplate.db import Transaction
from cleanplate.models import Batch, Job, Tenant
from cleanplate.records import update_from

COST: Final = 1 << 20
"""The step of the tags in the line of a tenant of weight 1."""
SINGLES_PRIORITY: Final = 5
GOLDEN: Final = 0.6180339887498949

QUEUED: Final[ColumnElement[bool]] = Job.state == literal_column("'queued'")


@dataclass(frozen=True, slots=True)
class Far:
    """Which batches have far to go: those with more than ``jobs`` left for each part that their share has.

    Of the ``singles``, of which nobody counts how many are left, it is told.
    """

    jobs: float
    singles: bool

    def column(self, tenant_id: str) -> ColumnElement[bool]:
        """Return the column that tells it of a job."""
        left = Batch.total - Batch.succeeded - Batch.failed - Batch.cancelled
        share = func.power(literal_column("2.0", Double()), Batch.priority)
        these = select(Batch.id).where(
            Batch.tenant_id == tenant_id, Batch.finished_at.is_(None), left > share * literal(self.jobs, Double())
        )
        return case((Job.batch_id.is_(None), literal(self.singles)), else_=Job.batch_id.in_(these))


def line_up(tx: Transaction, tenant_id: str, batch: Batch | None, count: int) -> list[int]:
    """Return the tags of ``count`` new jobs, ascending; ``batch`` is locked by the caller, or None for single jobs.

    Jobs of the same tenant may change their tags; the tags of the line as a whole only grow by ``count`` at its end.
    """
    if not count:
        return []
    flow = _flow(tx, tenant_id, batch)
    tail = [flow.end + flow.step * number for number in range(count)]
    finish = flow.tenant.finish_tag = flow.end + flow.step * count
    if flow.others and flow.begin < flow.end:
        finish = min(finish, flow.after(count))
        tail = _change_places(tx, flow, tail)
    flow.go_to(finish)
    return tail


def bring_forward(tx: Transaction, tenant_id: str, batch: Batch | None, job_ids: Sequence[str]) -> None:
    """Let those of ``job_ids`` that wait in line, but for those of ``batch``, stand no later than new jobs of it would.

    Each changes places with one before it, so the tags of the line stay what they are. ``batch`` is as in
    :func:`line_up`, and the share is its, too: as with jobs of its own, the first of ``job_ids`` come first.
    """
    others = Job.batch_id.is_distinct_from(batch.id if batch else None)
    tags = dict(tx.execute(select(Job.id, Job.tag).where(Job.id.in_(job_ids), QUEUED, others)).all())
    if not tags:
        return
    flow = _flow(tx, tenant_id, batch)
    ahead = [id_ for id_ in dict.fromkeys(job_ids) if id_ in tags]
    partners, _ = _partners(tx, flow, len(tags), but=tags)
    later = zip(ahead, partners, strict=False)
    _exchange(tx, {id_: row.id for id_, row in later if row.tag < tags[id_]})
    flow.go_to(min(flow.end, flow.after(len(tags))))


def virtual_time(tx: Transaction) -> int:
    """Return the tag at which a line begins anew; when nothing waits, it is where all lines have ended."""
    first = tx.scalar(first_waiting())
    return first if first is not None else tx.scalar(select(func.max(Tenant.finish_tag))) or 0


def first_waiting() -> Select[int]:
    """Return the query for the smallest tag that waits. A job that waits again after a submit turns no time back."""
    return (
        select(Job.tag)
        .where(QUEUED, Job.attempts == literal_column("0"))
        .order_by(Job.tag, Job.id)
        .limit(literal_column("1"))
    )


def last_in_line(tenant_id: str) -> Select[int]:
    """Return the query for the largest tag of the tenant's that waits."""
    last = select(Job.tag).order_by(Job.tenant_id.desc(), Job.tag.desc(), Job.id.desc())
    return last.where(_of(tenant_id), QUEUED).limit(literal_column("1"))


def others_in_line(tenant_id: str, batch_id: str | None, begin: int, limit: int, far: Far) -> Select[str, int, bool]:
    """Return the query for the first jobs of the tenant that wait at or after ``begin``, but for those of the batch.

    It tells of each whether it is of those who have ``far`` to go.
    """
    return (
        select(Job.id, Job.tag, far.column(tenant_id).label("far"))
        .where(_of(tenant_id), QUEUED, Job.tag >= begin, Job.batch_id.is_distinct_from(batch_id))
        .order_by(Job.tenant_id, Job.tag, Job.id)
        .limit(literal_column(str(int(limit))))
    )


def priorities_in_line(tenant_id: str, batch_id: str | None, begin: int) -> Select[int]:
    """Return the query for the priorities of the tenant's other batches whose jobs stand in line after ``begin``."""
    return select(Batch.priority).where(
        Batch.tenant_id == tenant_id,
        Batch.finish_tag > begin,
        Batch.finished_at.is_(None),
        Batch.id.is_distinct_from(batch_id),
    )


def places(waiting: int, count: int, ratio: float, phase: float = 0.0) -> list[int]:
    """Return which places of a line of ``waiting + count``, from 0, are those of ``count`` newcomers: one in ``ratio``.

    Where exactly within each stretch of ``ratio`` places differs by the golden ratio, so that newcomers do not
    always meet jobs of the same one of several batches that take turns.
    """
    found: list[int] = []
    for number in range(count):
        place = floor((number + (phase + number * GOLDEN) % 1.0) * ratio)
        found.append(min(max(place, found[-1] + 1 if found else 0), waiting + number))
    return found


def _of(tenant_id: str) -> ColumnElement[bool]:
    """Equal, in words that leave the planner only the index by tenant: it would rather walk the claim's for a match."""
    return Job.tenant_id.between(tenant_id, tenant_id)


def _locked(tenant_id: str) -> Select[Tenant]:
    """Jobs that are inserted refer to the row, and need not wait: their reference locks only its key."""
    return (
        select(Tenant)
        .where(Tenant.id == tenant_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )


@dataclass(frozen=True, slots=True)
class _Flow:
    """The jobs of ``batch``, or the single ones, in their tenant's line, which ends before ``end``.

    The next of them would begin at ``begin``, beside ``others``, which is the sum of the shares of those after that.
    """

    tenant: Tenant
    batch: Batch | None
    step: int
    begin: int
    end: int
    others: int

    @property
    def ratio(self) -> float:
        """Of how many jobs in line one is its."""
        own = 1 << (SINGLES_PRIORITY if self.batch is None else self.batch.priority)
        return (own + self.others) / own

    def after(self, count: int) -> int:
        """Return the tag at which so many more of its jobs would end."""
        return self.begin + round(self.step * self.ratio * count)

    @property
    def far(self) -> Far:
        """Who has half of the line before it, or more: what the shares beside each other leave it for is its jobs."""
        half = (self.end - self.begin) / 2
        own = 1 << (SINGLES_PRIORITY if self.batch is None else self.batch.priority)
        return Far(half / self.step / (own + self.others), self.tenant.singles_finish_tag > self.begin + half)

    def line(self, count: int, begin: int | None = None) -> Select[str, int, bool]:
        """Return the query for so many jobs of others, from where its next would begin or from ``begin`` on."""
        batch_id = self.batch.id if self.batch else None
        begin = self.begin if begin is None else begin
        return others_in_line(self.tenant.id, batch_id, begin, count, self.far)

    def go_to(self, tag: int) -> None:
        """Write down where the next of its jobs will begin."""
        if self.batch is None:
            self.tenant.singles_finish_tag = tag
        else:
            self.batch.finish_tag = tag


def _flow(tx: Transaction, tenant_id: str, batch: Batch | None) -> _Flow:
    tenant = tx.scalars(_locked(tenant_id)).one()
    step = max(1, round(COST / tenant.weight))
    now = virtual_time(tx)
    last = tx.scalar(last_in_line(tenant_id))
    end = max(now, min(tenant.finish_tag, max(now, last or now) + step))
    begin = max(now, min(tenant.singles_finish_tag if batch is None else batch.finish_tag, end))
    singles = 1 << SINGLES_PRIORITY if batch is not None and tenant.singles_finish_tag > begin else 0
    priorities = tx.scalars(priorities_in_line(tenant.id, batch.id if batch else None, begin))
    return _Flow(tenant, batch, step, begin, end, singles + sum(1 << priority for priority in priorities))


def _change_places(tx: Transaction, flow: _Flow, tail: Sequence[int]) -> list[int]:
    """Let newcomers, who stand at ``tail``, change places with some before them; return the tags that are theirs then.

    One whom a conveyor is claiming now keeps its place, and the newcomer too.
    """
    partners, kept = _partners(tx, flow, len(tail))
    free = [tag for place, tag in enumerate(tail) if place not in kept]
    given = _free(tx, [row.id for row in partners])
    _move(tx, [row.id for row in given], free)
    return sorted([tail[place] for place in kept] + [row.tag for row in given] + free[len(given) :])


def _partners(
    tx: Transaction, flow: _Flow, count: int, but: Collection[str] = ()
) -> tuple[list[Row[str, int, bool]], set[int]]:
    """Return with whom so many newcomers are to change places, and which places after the line's end are theirs.

    Each is the first at its spot or after it who has far to go; none of them is one of ``but``.
    """
    stretch = ceil(count * flow.ratio)
    before = [row for row in tx.execute(flow.line(stretch)) if row.id not in but]
    if not before:
        return [], set()
    spots = places(len(before), count, flow.ratio, phase=before[0].tag * GOLDEN % 1.0)
    far = [place for place, row in enumerate(before) if row.far]
    found, at = [], 0
    for spot in spots:
        at = bisect_left(far, spot, lo=at)
        if at == len(far):
            break
        found.append(before[far[at]])
        at += 1
    if wanted := sum(spot < len(before) for spot in spots) - len(found):
        beyond = tx.execute(flow.line(stretch, before[-1].tag + 1))
        found += [row for row in beyond if row.far and row.id not in but][:wanted]
    return found, {spot - len(before) for spot in spots if spot >= len(before)}


def _exchange(tx: Transaction, places: Mapping[str, str]) -> None:
    """Let jobs, the first of them first, take the places of those before them that they map to, who take theirs."""
    free = _free(tx, {*places, *places.values()})
    there = [row.id for row in free]
    forward = [id_ for id_ in places if id_ in there]
    _move(tx, forward + [id_ for id_ in there if id_ not in forward], [row.tag for row in free])


def _free(tx: Transaction, job_ids: Collection[str]) -> Sequence[Row[str, int]]:
    """Lock those of the jobs that wait in line and that nobody else has locked; return them in the order of turns."""
    still = select(Job.id, Job.tag).where(Job.id.in_(job_ids), QUEUED).order_by(Job.tag, Job.id)
    return tx.execute(still.with_for_update(skip_locked=True)).all()


def _move(tx: Transaction, job_ids: Sequence[str], tags: Sequence[int]) -> None:
    """Give the jobs, which are locked, the first of these tags."""
    moved: list[dict[str, Any]] = [{"id": id_, "tag": tag} for id_, tag in zip(job_ids, tags, strict=False)]
    if moved:
        update_from(tx, Job, ("id",), moved)
