"""The conveyor: carries jobs from the queue to a known result, with every slot of the upstream busy.

One coroutine carries one job, and reads as the job's journey: load, take a slot, submit, poll. Lanes beside them claim,
write, renew the lease and adopt what others left. Everything runs in one task group: whatever breaks
brings the whole worker down, and what it held is rescued by the next.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from cleanplate import callbacks, db, jobs, leases
from cleanplate.jobs import Change, Claimed
from cleanplate.outcomes import Accepted, Blocked, NotAccepted, Rejected, ResultReady, SubmitOutcome, TryLater
from cleanplate.settings import Settings
from cleanplate.states import State
from cleanplate.storage import Store
from worker import capacity, ledger, meaning
from worker.bfl import extended
from worker.calls import Bell, Calls
from worker.capacity import Seat
from worker.feed import Feed
from worker.flight import Flight, load_flights
from worker.hints import Hints
from worker.latencies import Latencies
from worker.news import News
from worker.payload import load
from worker.session import Session, end_leases
from worker.upstreams import Upstreams
from worker.writer import Effect, Writer

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 0.7
LEASE_SECONDS: Final = 3.0
SILENCE_SECONDS: Final = 1.5
"""How long nothing must be heard of a worker whose session has ended, until it is dead: two heartbeats."""
RESCUE_SECONDS: Final = 0.5
IDLE_SECONDS: Final = 0.25
AWAY_SECONDS: Final = 0.25
DOUBT_SECONDS: Final = 5.0
STORE_AWAY_SECONDS: Final = 1.0
DRAIN_SECONDS: Final = 25.0

P = ParamSpec("P")
T = TypeVar("T")


class Conveyor:
    """One worker's conveyor. :meth:`run` ends when :meth:`drain` was called and all is handed over."""

    def __init__(self, settings: Settings, store: Store, worker: str) -> None:
        self._settings = settings
        self._store = store
        self._worker = worker
        self._feed = Feed(settings.slots)
        self._callbacks = callbacks.base(settings.public_url)
        self._calls = Calls()
        self._session = Session(worker, self._calls)
        self._latencies = Latencies(called=1.0 if self._callbacks else 0.0)
        self._draining = asyncio.Event()
        self._wake_claims = Bell()
        self._carried: dict[asyncio.Task[None], str] = {}
        self._writer = Writer(self._turn)
        self._news = News()
        self._doubtful_until = 0.0
        self._strays: set[str] = set()
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="conveyor")
        self._loads = ThreadPoolExecutor(4, thread_name_prefix="loads")
        self._hints = Hints()

    # -- life ----------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take nothing new, finish what is on the wire, hand the rest over. Call it on the loop's thread."""
        self._draining.set()
        self._wake_claims.ring()
        self._calls.ring_all()
        self._writer.close_line()

    async def run(self) -> None:
        """Carry jobs until drained. Raises whatever broke a lane."""
        self._upstreams = Upstreams(self._settings)
        try:
            await self._db(capacity.ensure, self._settings.upstream_accounts)
            self._latencies.recall(await self._db(capacity.learned))
            await self._db(leases.heartbeat, self._worker, LEASE_SECONDS)
            log.info("conveyor %s takes up to %s at once", self._worker, self._settings.slots)
            async with asyncio.TaskGroup() as group:
                self._group = group
                ours = (self._claims, self._heartbeats, self._keeps_up, self._rescues)
                parts = (self._writer.lane, self._session.lane, self._hints.lane)
                lanes = [group.create_task(lane()) for lane in (*ours, *parts)]
                await self._draining.wait()
                await self._finish()
                for lane_task in lanes:
                    lane_task.cancel()
            await self._hand_over()
        finally:
            await self._upstreams.close()
            for threads in (self._threads, self._loads):
                threads.shutdown(wait=False, cancel_futures=True)

    async def _finish(self) -> None:
        log.info("conveyor %s stops: finishing what is on the wire", self._worker)
        if self._carried:
            _, late = await asyncio.wait(self._carried, timeout=DRAIN_SECONDS)
            for task in late:
                task.cancel()

    async def _hand_over(self) -> None:
        try:
            async with asyncio.timeout(LEASE_SECONDS):
                await self._db(leases.hand_over, self._worker)
        except TimeoutError:
            log.warning("the database is away: what conveyor %s held is adopted when its lease ends", self._worker)

    # -- one job -------------------------------------------------------------------------------------------------------

    async def _carry(self, job: Claimed) -> None:
        body = await self._load(job)
        if body is None:
            return
        bell = self._calls.bell(job.id)
        while True:
            callback = callbacks.issue(self._callbacks)
            seat = await self._writer.slot(job.id, job.tag, callback.sha256)
            if seat is None:
                return
            self._feed.left(job.id)
            self._wake_claims.ring()
            sent = time.monotonic()
            outcome = await self._upstreams.submit(seat.account, extended(body, callback.fields))
            flight = Flight.start(job, seat.account, outcome, sent)
            moved = await self._write_submit(job.id, seat, outcome)
            if isinstance(outcome, NotAccepted | Blocked) and moved:
                continue
            if flight is not None and moved:
                del body
                await self._follow(flight, bell)
            return

    async def _load(self, job: Claimed) -> bytes | None:
        with self._feed.loading():
            while not self._draining.is_set():
                match await self._thread(self._loads, load, self._store, job):
                    case bytes(body):
                        return body
                    case Rejected(code, detail):
                        await self._writer.write(meaning.failed(job.id, meaning.CLAIMED, code, detail, self._worker))
                        return None
                    case TryLater(detail):
                        log.warning("%s waits: %s", job.id, detail)
                        await self._pause(STORE_AWAY_SECONDS)
        return None

    async def _write_submit(self, job_id: str, seat: Seat, outcome: SubmitOutcome) -> bool:
        hold = self._settings.unconfirmed_hold_seconds
        change = meaning.of_submit(job_id, seat.number, outcome, self._worker, hold)
        moved = await self._writer.write(change, self._news.of(seat.account, outcome))
        if not moved and isinstance(outcome, Accepted):
            late = meaning.late_acceptance(job_id, seat.number, outcome, self._worker)
            return await self._writer.write(late, partial(ledger.paid_late, acceptance=late))
        return moved

    async def _follow(self, flight: Flight, bell: Bell) -> None:
        with self._latencies.watching(flight.account, flight.size):
            while not self._draining.is_set():
                expected = self._latencies.next_poll(flight.account, flight.size, flight.age, called=flight.called)
                flight.called |= (rung := await bell.rung(flight.pause or expected))
                if self._draining.is_set() or await self._ended(flight, rung=rung):
                    return

    async def _ended(self, flight: Flight, *, rung: bool) -> bool:
        """Look at the task once, and return whether nothing is left to look for."""
        flight.polled()
        outcome = await self._upstreams.poll(flight.account, flight.polling_url)
        age = flight.age
        change = meaning.of_poll(flight, outcome, self._worker, self._settings.upstream_timeout_seconds)
        if (effect := meaning.effect_of_poll(flight, outcome)) is not None:
            await self._turn([], [effect], {})
        if change is None:
            return False
        if await self._writer.write(change) and flight.first_hand and isinstance(outcome, ResultReady):
            pending = age if rung else flight.pending_age
            self._latencies.learn(flight.account, flight.size, age, pending, called=flight.called)
        return True

    # -- lanes ---------------------------------------------------------------------------------------------------------

    async def _claims(self) -> None:
        looked = -math.inf
        while not self._draining.is_set():
            wanted = self._feed.wanted(carried=len(self._carried), waiting=self._writer.waiting)
            if wanted or time.monotonic() - looked >= IDLE_SECONDS:
                looked = time.monotonic()
                if await self._claim(wanted, self._feed.singles_wanted()):
                    continue
            await self._wake_claims.rung(IDLE_SECONDS)

    async def _claim(self, wanted: int, singles: int) -> bool:
        claimed = await self._db(jobs.claim, self._worker, wanted, singles=singles) if wanted or singles else []
        self._feed.took(claimed)
        for job in claimed:
            self._start(job.id, self._carry(job))
        await asyncio.sleep(0)
        return bool(claimed)

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await self._db(leases.heartbeat, self._worker, LEASE_SECONDS)

    async def _keeps_up(self) -> None:
        """Apart from the heartbeats: it waits for the lock of the slots, and a lease must not."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            if await self._db(capacity.keep_up, self._latencies.learned()):
                self._writer.look()

    async def _rescues(self) -> None:
        while not self._draining.is_set():
            adopted = await self._db(self._rescue) + await self._regained()
            flights = await self._db(load_flights, adopted, self._upstreams.polling_url) if adopted else []
            for flight in flights:
                self._start(flight.job_id, self._follow(flight, self._calls.bell(flight.job_id)))
            for account in {flight.account for flight in flights} - self._upstreams.names:
                log.warning("tasks of account %r cannot be polled: put its key back into BFL_API_KEYS", account)
            await self._pause(RESCUE_SECONDS)

    def _rescue(self, tx: db.Transaction) -> list[str]:
        if self._session.age > SILENCE_SECONDS:  # the others have had as long to begin theirs after an outage
            end_leases(tx, self._worker, LEASE_SECONDS - SILENCE_SECONDS)
        return leases.rescue(tx, self._worker, hold_seconds=self._settings.unconfirmed_hold_seconds)

    async def _regained(self) -> list[str]:
        """Find what a commit gave us whose answer was lost: ours by the rows, and carried by nobody for two looks."""
        if time.monotonic() > self._doubtful_until and not self._strays:
            return []
        line = self._writer.line()
        rows = await self._db(leases.held, self._worker)
        sending = {id_: row for id_, row in rows.items() if row.state is State.SENDING}
        self._writer.seat(line, {id_: Seat(row.account or "", row.attempts) for id_, row in sending.items()})
        strays = set(rows).difference(self._carried.values())
        sure, self._strays = {job_id: rows[job_id] for job_id in strays & self._strays}, strays - self._strays
        return await self._db(leases.regain, self._worker, sure) if sure else []

    # -- tools ---------------------------------------------------------------------------------------------------------

    def _start(self, job_id: str, journey: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(journey)
        self._carried[task] = job_id
        task.add_done_callback(lambda over: self._feed.left(self._carried.pop(over)))

    async def _turn(
        self, changes: list[Change], effects: list[Effect], line: Mapping[str, str | None]
    ) -> capacity.Turn:
        return await self._db(capacity.turn, self._worker, self._upstreams.names, changes, effects, line)

    async def _db(self, call: Callable[Concatenate[db.Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``call`` in a transaction of its own on a thread, for as long as it takes the database to be there.

        When it goes away the commit may have happened; what that gave us is regained.
        """

        def work() -> T:
            with db.transaction(self._hints.send) as tx:
                return call(tx, *args, **kwargs)

        doubtful = 0.0
        while True:
            try:
                done = await self._thread(self._threads, work)
            except db.AWAY as error:
                log.warning("the database is away (%s); trying again", type(error.orig).__name__)
                doubtful = DOUBT_SECONDS
                await asyncio.sleep(AWAY_SECONDS)
            else:
                self._doubtful_until = max(self._doubtful_until, time.monotonic() + doubtful)
                return done

    @staticmethod
    async def _thread(threads: ThreadPoolExecutor, call: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, call, *args)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._draining.wait()
