"""The one place through which a conveyor writes: wishes that come together are one transaction.

Those who wait for a slot are served in the same transaction in which the slot becomes free: between two tasks of a slot
lies one commit.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from cleanplate.db import Transaction
from cleanplate.jobs import Change
from cleanplate.states import HOLDS_SLOT
from worker.capacity import Seat, Turn

Effect = Callable[[Transaction], None]
Take = Callable[[list[Change], list[Effect], Mapping[str, str | None]], Awaitable[Turn]]

GATHER_SECONDS: Final = 0.015
"""How long after a turn the next one waits for more wishes: most of what a turn costs it costs for one, too."""
LOOK_AGAIN_SECONDS: Final = 0.25
"""How soon those who wait are asked for again when nothing happened here: others free slots, and gates open."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A change, what goes with it, and who waits to hear whether it was granted."""

    change: Change
    effect: Effect | None
    granted: asyncio.Future[bool]


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the line for slots, which is in the order of ``tag``.

    ``callback_sha256`` is the digest of the callback that the submit will ask for, ``seat`` what :meth:`Writer.slot`
    returns.
    """

    tag: int
    callback_sha256: str | None
    seat: asyncio.Future[Seat | None]


class Writer:
    """Collects wishes while the transaction before them runs, so load makes transactions larger, not more."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._wishes: list[Wish] = []
        self._line: dict[str, Place] = {}
        self._asked: AbstractSet[str] = frozenset()
        self._asks = False
        self._closed = False
        self._work = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many jobs wait for a slot."""
        return len(self._line)

    async def write(self, change: Change, effect: Effect | None = None) -> bool:
        """Make the change and return whether it was granted; False means that the job is no longer ours.

        ``effect`` happens in the same transaction, whether the change is granted or not.
        """
        wish = Wish(change, effect, asyncio.get_running_loop().create_future())
        self._wishes.append(wish)
        self._work.set()
        return await wish.granted

    async def slot(self, job_id: str, tag: int, callback_sha256: str | None = None) -> Seat | None:
        """Wait in line for a slot, by ``tag``, and return it; None when the job is no longer ours."""
        if self._closed:
            return None
        self._leave(job_id, None)
        place = Place(tag, callback_sha256, asyncio.get_running_loop().create_future())
        self._line[job_id] = place
        self.look()
        try:
            return await place.seat
        finally:
            if self._line.get(job_id) is place:
                del self._line[job_id]

    def look(self) -> None:
        """Ask for slots for those in line: there may be one."""
        self._asks = True
        self._work.set()

    def line(self) -> dict[str, Place]:
        """Return who stands in line now."""
        return dict(self._line)

    def seat(self, line: Mapping[str, Place], seats: Mapping[str, Seat]) -> None:
        """Tell of these slots those who stand in line as they did; who came back to it has none."""
        still = {job_id for job_id, place in line.items() if self._line.get(job_id) is place}
        self._serve({job_id: seat for job_id, seat in seats.items() if job_id in still})

    def close_line(self) -> None:
        """Give nobody a slot any more, but for those whom the turn under way seats: in the rows they send already."""
        self._closed = True
        self._serve(dict.fromkeys(self._line.keys() - self._asked))

    async def lane(self) -> None:
        """Write until cancelled."""
        while True:
            try:
                async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                    await self._work.wait()
            except TimeoutError:
                self._asks = True
            await self._turn()
            await asyncio.sleep(GATHER_SECONDS)

    async def _turn(self) -> None:
        wishes = self._next_wishes()
        asks = self._asks or any(wish.change.target not in HOLDS_SLOT for wish in wishes)
        places = sorted(self._line.items(), key=lambda item: item[1].tag) if asks else []
        line = {job_id: place.callback_sha256 for job_id, place in places}
        self._asks = False
        if not self._wishes:
            self._work.clear()
        if not wishes and not line:
            return
        effects = list(dict.fromkeys(wish.effect for wish in wishes if wish.effect))
        self._asked = line.keys()
        turn = await self._take([wish.change for wish in wishes], effects, line)
        self._asked = frozenset()
        for wish in wishes:
            if not wish.granted.done():
                wish.granted.set_result(wish.change.job_id in turn.granted)
        self._serve(turn.seated)
        self._serve(dict.fromkeys(turn.lost))
        if turn.lost:
            self.look()  # a slot that was kept for them is still free
        if self._closed:
            self.close_line()

    def _next_wishes(self) -> list[Wish]:
        """Take the first wish of each job; the next for the same one must find what this one has done."""
        taken: dict[str, Wish] = {}
        for wish in self._wishes:
            taken.setdefault(wish.change.job_id, wish)
        self._wishes = [wish for wish in self._wishes if taken[wish.change.job_id] is not wish]
        return list(taken.values())

    def _serve(self, seats: Mapping[str, Seat | None]) -> None:
        for job_id, seat in seats.items():
            self._leave(job_id, seat)

    def _leave(self, job_id: str, seat: Seat | None) -> None:
        place = self._line.pop(job_id, None)
        if place is not None and not place.seat.done():
            place.seat.set_result(seat)
