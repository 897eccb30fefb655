"""The upstream by account: each task is sent and polled with the key of its own."""

from collections.abc import Set as AbstractSet

from cleanplate.outcomes import NoAnswer, PollOutcome, SubmitOutcome
from cleanplate.settings import Settings
from worker.bfl import Upstream
from worker.poll import poll
from worker.submit import submit


class Upstreams:
    """Connections for every account that the settings name. Make it where an event loop runs."""

    def __init__(self, settings: Settings) -> None:
        self._delivery_hosts = settings.bfl_delivery_hosts
        self._by_name = {account.name: Upstream(account, settings.bfl_hosts) for account in settings.upstream_accounts}

    @property
    def names(self) -> AbstractSet[str]:
        """The accounts there is a key of."""
        return self._by_name.keys()

    async def close(self) -> None:
        """Close every connection."""
        for upstream in self._by_name.values():
            await upstream.close()

    async def submit(self, account: str, body: bytes) -> SubmitOutcome:
        """Submit as :func:`worker.submit.submit` does."""
        return await submit(self._by_name[account], body)

    async def poll(self, account: str, polling_url: str) -> PollOutcome:
        """Poll as :func:`worker.poll.poll` does; a task of an account without a key is asked about with no other."""
        if account not in self._by_name:
            return NoAnswer(f"there is no key of account {account!r}")
        return await poll(self._by_name[account], polling_url, self._delivery_hosts)

    def polling_url(self, account: str, task_id: str) -> str:
        """Return where to poll a task whose answer named no address, nowhere without a key of its account."""
        return self._by_name[account].polling_url(task_id) if account in self._by_name else ""
