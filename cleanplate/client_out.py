"""The client's ways out: what became of a job or batch, as it happens and afterwards, and forgetting it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import httpx
from pydantic import ValidationError

from cleanplate.client_errors import CutLineError, UnusableAnswerError, refusal
from cleanplate.connection import Connection
from cleanplate.receipt import Line
from cleanplate.resources import Batch, Counts, History, Job, Page, Usage

SILENCE_SECONDS = 40.0
"""The server says something every 15 s; after 40 s of nothing the line is dead."""
AGAIN_SECONDS = 0.2
CUTS_IN_A_ROW = 3


TOLD: Final[dict[str, type[Job | Counts | Batch]]] = {"job": Job, "counts": Counts, "end": Batch}


class WaysOut(Connection):
    """What a client has beside the ways in."""

    def history(self, job_id: str, *, cursor: str | None = None, limit: int = 200) -> History:
        """Return one page of what happened to a job, and all submits that were made for it."""
        params = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        return self._get(History, f"/v1/jobs/{job_id}/history", params=params)

    def usage(
        self,
        since: date | None = None,
        until: date | None = None,
        *,
        by: Literal["day", "batch"] = "day",
        cursor: str | None = None,
    ) -> Page[Usage]:
        """Return what was used in a period, both days included, by day or a page of batches."""
        given = {"since": since, "until": until, "by": by, "cursor": cursor}
        params = {name: str(value) for name, value in given.items() if value is not None}
        return self._get(Page[Usage], "/v1/usage", params=params)

    def delete_job(self, job_id: str) -> None:
        """Forget a job that has ended; ``NotFoundError`` may mean that it is done and the answer was lost."""
        self._repeat(lambda: self._ask("DELETE", f"/v1/jobs/{job_id}"))

    def delete_batch(self, batch_id: str) -> None:
        """Forget a batch that has ended, with all of its jobs; ``NotFoundError`` as with a job."""
        self._repeat(lambda: self._ask("DELETE", f"/v1/batches/{batch_id}"))

    def receipt(self, batch_id: str) -> Iterator[Line]:
        """Yield a line for each job of the batch that has ended, and for each item that never became one."""
        with self._streamed(f"/v1/batches/{batch_id}/results.ndjson") as response:
            for line in response.iter_lines():
                self._go_on()
                try:
                    yield Line.model_validate_json(line)
                except ValidationError as error:
                    raise UnusableAnswerError(f"the receipt of {batch_id} is not what this API tells") from error

    def download_results(self, batch_id: str, target: Path) -> str:
        """Put the batch's results at ``target`` as a ZIP file, whole or not at all.

        Returns the status that the batch had when the answer began: unless it is ``completed`` or ``cancelled``, more
        results will come.
        """
        part = target.with_name(f".{target.name}.part")
        try:
            with self._streamed(f"/v1/batches/{batch_id}/results.zip") as response, part.open("wb") as file:
                for chunk in response.iter_raw():
                    self._go_on()
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return response.headers["cleanplate-batch-status"]

    def events(self, batch_id: str) -> Iterator[Job | Counts | Batch]:
        """Yield each job of a batch as it ends, in the order of their ends, the counts after them, and last the batch.

        A line that breaks is taken up again where it broke, for as long as the client's patience lasts. Raises
        ``CutLineError`` when three in a row broke before they had told of an end: something on the way holds them up.
        """
        heard: str | None = None
        cuts = 0
        while (before := heard) != "end":
            response = self._repeat(partial(self._listen, batch_id, heard))
            try:
                for name, heard_now, data in _events(response):
                    self._go_on()
                    heard = heard_now or heard
                    if name in TOLD:
                        yield TOLD[name].model_validate(data)
            except httpx.TransportError as error:
                cuts = cuts + 1 if heard == before else 0
                if cuts == CUTS_IN_A_ROW:
                    raise CutLineError(f"the events of {batch_id} do not come through") from error
            except ValueError as error:
                raise UnusableAnswerError(f"the events of {batch_id} are not what this API tells") from error
            finally:
                response.close()
            self._aborted.wait(0 if heard == "end" else AGAIN_SECONDS)

    def _listen(self, batch_id: str, last: str | None) -> httpx.Response:
        self._go_on()
        headers = {"Last-Event-ID": last} if last else {}
        timeout = httpx.Timeout(SILENCE_SECONDS, connect=5.0)
        request = self._http.build_request("GET", f"/v1/batches/{batch_id}/events", headers=headers, timeout=timeout)
        response = self._http.send(request, stream=True)
        if not response.is_success:
            response.read()
            raise refusal(response)
        return response

    @contextmanager
    def _streamed(self, path: str) -> Iterator[httpx.Response]:
        """Open an answer that comes in pieces; one that breaks off is none."""
        try:
            with self._http.stream("GET", path) as response:
                if not response.is_success:
                    response.read()
                    raise refusal(response)
                yield response
        except httpx.TransportError as error:
            raise UnusableAnswerError(f"the answer to {path} broke off ({type(error).__name__})") from error


def _events(response: httpx.Response) -> Iterator[tuple[str, str | None, Any]]:
    """Yield the events of a stream as name, id and data (the HTML standard's server-sent events)."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line and not line.startswith(":"):
            name, _, fields[name] = line.partition(": ")
        elif not line:
            if "data" in fields:
                yield fields.get("event", "message"), fields.get("id"), json.loads(fields["data"])
            fields = {}
