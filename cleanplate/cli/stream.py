"""Hears of the jobs of a batch as they end, by its events."""

import threading
import time
from queue import Empty, SimpleQueue

from cleanplate.cli.follow import Follower
from cleanplate.client import Client
from cleanplate.client_errors import ClientError
from cleanplate.resources import Batch, Counts, Job

REFRESH_SECONDS = 5.0
"""What no event tells, whether a batch is held and how long it will take, is asked for so often."""


class Stream(Follower):
    """One batch, listened to on a thread. Where its events do not come through it is looked at, as by a follower.

    Events are resumed by the client, so that a line that breaks costs nothing; they are given up when they cannot be
    had at all. If the server is the reason, looking will say so.
    """

    def __init__(self, client: Client, batch: Batch) -> None:
        super().__init__(client, batch)
        self._heard: SimpleQueue[Job | Counts | Batch | Exception] = SimpleQueue()
        self._streaming = True
        self._due = time.monotonic() + REFRESH_SECONDS
        threading.Thread(target=self._listen, daemon=True).start()

    def look(self) -> list[Job]:
        """Return the jobs that were told of since the last look."""
        found: list[Job] = []
        while self._streaming and (told := self._next()):
            match told:
                case Job():
                    found += [told] if self._is_news(told) else []
                case Counts():
                    self.batch = self.batch.model_copy(update={"counts": told})
                case Batch():
                    self.batch, self.over = told, True
                case ClientError():
                    self._streaming = False
                case Exception():
                    raise told
        if not self._streaming:
            return found + super().look()
        if not self.over and time.monotonic() >= self._due:
            self._due = time.monotonic() + REFRESH_SECONDS
            self.batch = self._client.batch(self.batch.id)
        return found

    def _next(self) -> Job | Counts | Batch | Exception | None:
        try:
            return self._heard.get_nowait()
        except Empty:
            return None

    def _listen(self) -> None:
        try:
            for told in self._client.events(self.batch.id):
                self._heard.put(told)
        except Exception as error:  # noqa: BLE001 -- raised, or taken for what it is, by the next look
            self._heard.put(error)
