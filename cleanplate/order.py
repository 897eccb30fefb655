"""Whose turn a new job is: start-time fair queueing (Goyal, Vin and Cheng, 1996) by a tag that intake writes.

Claims take the smallest tags, so all that is fair is decided here, once, and a claim stays one scan of an index.

Among tenants: each has a line, in which tag follows tag by ``COST / weight``. A line that goes on begins where it
ended; one that begins anew begins at the virtual time, so an idle tenant has saved nothing up and owes nothing. The
virtual time is the smallest tag that waits: one probe of the claim's index, and no row that every claim would write.

Among the batches of one tenant (its single jobs are one batch more): the share of each in the line is ``2 ** priority``
beside the others'. Were tags merely put between those that are there, a tenant's share would grow with its batches. So
newcomers stand at the end of the line, and then change places with jobs that wait before them, by their share. So do,
from where they stand, jobs of other batches whose result newcomers wait for: nobody comes later for having a twin.

The tenant's row is locked while its line is read and written, after the batch's. Jobs are locked only if nobody holds
them: whoever waits for one of these rows is never waited for.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, func, literal_column, select

from cleanplate.db import Transaction
from cleanplate.models import Batch, Job, Tenant
from cleanplate.records import update_from

COST: Final = 1 << 20
"""The step of the tags in the line of a tenant of weight 1."""
SINGLES_PRIORITY: Final = 5
GOLDEN: Final = 0.6180339887498949

QUEUED: Final[ColumnElement[bool]] = Job.state == literal_column("'queued'")


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
        tail = _change_places(tx, flow.line(count), tail, flow.ratio)
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
    before = [row for row in tx.execute(flow.line(len(tags))) if row.id not in tags]
    ahead = [id_ for id_ in dict.fromkeys(job_ids) if id_ in tags]
    spots = zip(ahead, places(len(before), len(tags), flow.ratio), strict=True)
    later = {id_: before[place] for id_, place in spots if place < len(before)}
    _exchange(tx, {id_: row.id for id_, row in later.items() if row.tag < tags[id_]})
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


def others_in_line(tenant_id: str, batch_id: str | None, begin: int, limit: int) -> Select[str, int]:
    """Return the query for the first jobs of the tenant that wait at or after ``begin``, but for those of the batch."""
    return (
        select(Job.id, Job.tag)
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

    def line(self, count: int) -> Select[str, int]:
        """Return the query for the jobs among which so many more of its own belong."""
        batch_id = self.batch.id if self.batch else None
        return others_in_line(self.tenant.id, batch_id, self.begin, ceil(count * self.ratio))

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


def _change_places(tx: Transaction, line: Select[str, int], tail: Sequence[int], ratio: float) -> list[int]:
    """Let newcomers, who stand at ``tail``, change places with some of ``line``; return the tags that are theirs then.

    One whom a conveyor is claiming now keeps its place, and the newcomer too.
    """
    before = tx.execute(line).all()
    if not before:
        return list(tail)
    taken = places(len(before), len(tail), ratio, phase=before[0].tag * GOLDEN % 1.0)
    wanted = [before[place].id for place in taken if place < len(before)]
    kept = {place - len(before) for place in taken if place >= len(before)}
    free = [tag for place, tag in enumerate(tail) if place not in kept]
    given = _free(tx, wanted)
    _move(tx, [row.id for row in given], free)
    return sorted([tail[place] for place in kept] + [row.tag for row in given] + free[len(given) :])


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
