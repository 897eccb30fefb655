"""The vendor's side of everything: accounts, tasks, what is charged, what is answered. Endpoints only speak HTTP."""

import hashlib
import math
import uuid
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from cleanplate.simulator import latency
from cleanplate.simulator.accounts import Account, Accounts
from cleanplate.simulator.callbacks import Callbacks
from cleanplate.simulator.clock import Clock
from cleanplate.simulator.faults import Faults, Rule
from cleanplate.simulator.ledger import Ledger
from cleanplate.simulator.options import Options
from cleanplate.simulator.orders import Order
from cleanplate.simulator.signing import sign_link
from cleanplate.simulator.studio import Studio
from cleanplate.simulator.tasks import KEPT_SECONDS, NOT_FOUND, PENDING, READY, Task

SWEEP_SECONDS = 5


class Link(NamedTuple):
    """Where a result can be had, and until when."""

    url: str
    expires_at: float


class Upstream:
    """All state of one simulator; ``lasting`` keeps the ledger in ``folder`` for the next run.

    ``polling_url`` and ``delivery_url`` are set once the sockets are bound.
    """

    polling_url = ""
    delivery_url = ""

    def __init__(self, options: Options, keys: list[str], folder: Path, clock: Clock, lasting: bool = False) -> None:
        self.started_with = self.options = options
        self.clock = clock
        self.accounts = Accounts(keys, options.credits)
        self.faults = Faults(options.seed)
        self.studio = Studio(folder, clock, lasting)
        self.callbacks = Callbacks(clock)
        self.ledger = Ledger(folder / "ledger.ndjson" if lasting else None)
        self.link_secret = hashlib.sha256(f"{options.seed}:delivery".encode()).digest()
        self.tasks: dict[str, Task] = {}
        self.links: dict[str, Link] = {}
        self._clear_counts()

    def resume(self) -> None:
        """Go on with what the folder of an earlier run holds."""
        now = self.clock.now()
        for task in self.ledger.tasks:
            self._charge(task)
            if task.ends_at + KEPT_SECONDS > now:
                self.tasks[task.id] = task
                self.studio.resume(task, self.options)
                if task.ends_at > now:
                    self._promise_callback(task, None)

    async def sweep(self) -> None:
        """Forget results when nobody can ask for them any more, until cancelled."""
        while True:
            await self.clock.sleep(SWEEP_SECONDS)
            now = self.clock.now()
            for task in list(self.tasks.values()):
                link = self.links.get(task.id)
                if max(task.done_at + KEPT_SECONDS, link.expires_at if link else 0) < now:
                    self._forget(task)

    def refusal(self, account: Account) -> tuple[int, str, dict[str, str]] | None:
        """Return status, detail and headers where the account may not submit now: 402 or 429."""
        if account.credits < self.options.cost:
            return 402, "Insufficient credits. Please visit https://api.bfl.ai to add credits.", {}
        now = self.clock.now()
        slots = self.options.slots if account.slots is None else account.slots
        if account.gauge.in_flight(now) < slots:
            return None
        ends = account.gauge.next_end()
        wait = 1 if ends is None or math.isinf(ends) else max(1, math.ceil(ends - now))
        headers = {"Retry-After": str(wait)} if self.options.retry_after else {}
        return 429, f"Rate limit exceeded: {slots} active tasks. Please try again later.", headers

    async def accept(self, account: Account, order: Order, fault: Rule | None) -> Task:
        """Charge a submit that nothing refused and see to its result; ``fault`` may shape how it ends."""
        now = self.clock.now()
        ordinal = len(self.ledger.tasks)
        seconds = latency.draw(self.options.seed, ordinal, self.options.latency, self.options.spread)
        what = fault.what if fault else ""
        inputs = order.inputs
        called = None
        if inputs.webhook_url:
            called = self.faults.draw("callback", account=account.name, image_sha256=order.image_sha256)
        early = called is not None and called.what == "early"
        if early:
            seconds = 0.0
        task = Task(
            ordinal=ordinal,
            id=str(uuid.uuid4()),
            account=account.name,
            accepted_at=now,
            ends_at=math.inf if what == "never_ready" else now + seconds,
            latency=seconds,
            cost=self.options.cost,
            image_sha256=order.image_sha256,
            mask_sha256=order.mask_sha256,
            dilate_pixels=inputs.dilate_pixels,
            output_format=inputs.output_format,
            seed=ordinal if inputs.seed is None else inputs.seed,
            outcome=(fault.value or "Error") if fault and what == "task_status" else READY,
            webhook_url=inputs.webhook_url,
            webhook_secret=inputs.webhook_secret,
        )
        self._charge(task)
        self.ledger.record(task)
        self.tasks[task.id] = task
        await self.studio.take(task, order, self.options)
        if early and math.isfinite(task.ends_at):
            await self._call_back(task, called)
        else:
            self._promise_callback(task, called)
        return task

    def submit_reply(self, task: Task) -> dict[str, Any]:
        reply: dict[str, Any] = {"id": task.id}
        if task.webhook_url is None or self.options.polling_url_with_webhook:
            reply["polling_url"] = f"{self.polling_url}/v1/get_result?id={task.id}"
        return reply | ({"cost": task.cost} if self.options.tell_cost else {})

    def find(self, account: Account, task_id: str) -> Task | None:
        """Return the account's own task; another's looks like none."""
        task = self.tasks.get(task_id)
        return task if task is not None and task.account == account.name else None

    def poll_reply(self, task_id: str, task: Task | None) -> dict[str, Any]:
        now = self.clock.now()
        status = NOT_FOUND if task is None else task.status(now)
        reply: dict[str, Any] = {"id": task_id, "status": status, "result": None, "progress": None, "details": None}
        if task is None or status == NOT_FOUND:
            return reply
        if status == PENDING:
            return reply | {"progress": task.progress(now)}
        if self.options.tell_cost:
            reply["cost"] = task.cost
        if status == READY:
            reply["result"] = {
                "sample": self._link(task, now),
                "seed": task.seed,
                "start_time": task.accepted_at,
                "end_time": task.done_at,
                "duration": round(task.latency, 3),
            }
        return reply

    def reset(self) -> None:
        """Forget all that happened; the options and accounts are those of the start."""
        self.callbacks.drop()
        for task in list(self.tasks.values()):
            self._forget(task)
        self.options = self.started_with
        self.accounts.reset(self.options.credits)
        self.faults.clear()
        self.ledger.clear()
        self._clear_counts()

    def stats(self) -> dict[str, Any]:
        now = self.clock.now()
        tasks = self.ledger.tasks
        return {
            "now": now,
            "paid": len(tasks),
            "first_accepted_at": tasks[0].accepted_at if tasks else None,
            "last_ends_at": max((task.ends_at for task in tasks if math.isfinite(task.ends_at)), default=None),
            "late_results": sum(1 for task in tasks if task.ends_at < task.done_at < math.inf),
            "accounts": {
                name: {
                    "credits": account.credits,
                    "spent": account.spent,
                    "slots": self.options.slots if account.slots is None else account.slots,
                    "in_flight": account.gauge.in_flight(now),
                    "max_in_flight": account.gauge.most,
                    "slot_seconds": account.gauge.slot_seconds(now),
                }
                for name, account in self.accounts.by_name.items()
            },
            "submits": dict(self.submits),
            "rate_limited": self.submits["429"],
            "polls": self.polls.total(),
            "polls_by_status": dict(self.polls),
            "polls_by_host": dict(self.polled_hosts),
            "downloads": self.downloads["200"],
            "downloads_by_status": dict(self.downloads),
            "key_seen_at_delivery": self.key_seen_at_delivery,
            "callbacks": dict(self.callbacks.counts),
        }

    def _clear_counts(self) -> None:
        self.submits: Counter[str] = Counter()
        self.polls: Counter[str] = Counter()
        self.polled_hosts: Counter[str] = Counter()
        self.downloads: Counter[str] = Counter()
        self.key_seen_at_delivery = 0

    def _charge(self, task: Task) -> None:
        account = self.accounts.by_name.get(task.account)
        if account is not None:
            account.credits -= task.cost
            account.spent += task.cost
            account.gauge.take(task.accepted_at, task.ends_at)

    def _link(self, task: Task, now: float) -> str:
        if task.id not in self.links or self.options.fresh_urls:
            path = f"/results/{task.result_name}"
            expires_at = (now if self.options.fresh_urls else task.done_at) + KEPT_SECONDS
            url = f"{self.delivery_url}{path}?{sign_link(self.link_secret, path, expires_at)}"
            self.links[task.id] = Link(url, expires_at)
        return self.links[task.id].url

    def _promise_callback(self, task: Task, fault: Rule | None) -> None:
        if task.webhook_url is not None and math.isfinite(task.ends_at):
            self.callbacks.spawn(self._call_back(task, fault))

    async def _call_back(self, task: Task, fault: Rule | None) -> None:
        await self.clock.until(task.ends_at)
        while task.id in self.tasks and task.status(self.clock.now()) == PENDING:
            await self.clock.sleep(0.02)
        if task.id in self.tasks and task.webhook_url is not None:
            reply = self.poll_reply(task.id, task)
            await self.callbacks.tell(task.webhook_url, task.webhook_secret, reply, self.options, fault)

    def _forget(self, task: Task) -> None:
        del self.tasks[task.id]
        self.links.pop(task.id, None)
        self.studio.forget(task)
