"""Our API in memory, as a transport for the client: what it does with a batch, without pictures, time or sockets."""

import hashlib
import io
import itertools
import json
import threading
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import httpx

from cleanplate.pairing import pair
from cleanplate.resources import BatchOptions

NOW = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
Answer = httpx.Response | Exception


def parts(request: httpx.Request) -> list[tuple[str, str | None, bytes]]:
    """Return the field, the file name and the bytes of each part of a multipart body."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + request.read())
    return [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    ]


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    body = {"code": code, "detail": f"because of {code}", "request_id": "req_1", "errors": []}
    return httpx.Response(status, json=body, headers=headers)


def answering(*answers: httpx.Response | Exception) -> Any:
    """Give these answers first, one after the other; what comes then is served."""
    left = list(answers)
    return lambda _: left.pop(0) if left else None


class FakeApi(httpx.BaseTransport):
    """``refuse`` and ``fail`` name the custom ids that the intake refuses and the upstream fails.

    ``finish`` says whether a job that is looked at ends. ``before`` may answer any request first: a response or an
    exception, or None to let it through. ``after`` sees requests that were served, and may lose the answer by raising.
    """

    def __init__(self) -> None:
        self.batches: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.ended: dict[str, list[str]] = {}
        self.refuse: set[str] = set()
        self.fail: set[str] = set()
        self.warnings: dict[str, list[str]] = {}
        self.held: str | None = None
        self.finish: Callable[[dict[str, Any]], bool] = lambda _: True
        self.before: Callable[[httpx.Request], Answer | None] = lambda _: None
        self.after: Callable[[httpx.Request], None] = lambda _: None
        self.upstream: dict[str, Any] = {}
        self.uploaded: list[str] = []
        self.downloaded: list[str] = []
        self.requests: list[httpx.Request] = []
        self._ids = itertools.count(1)
        self._one_at_a_time = threading.Lock()

    def client(self, **given: Any) -> Any:
        from cleanplate.client import Client

        return Client("http://api.test", "cp_secret", transport=self, **given)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        early = self.before(request)
        if isinstance(early, Exception):
            raise early
        with self._one_at_a_time:
            special = early or self._cancel(request) or self._release(request) or self._tell(request)
            response = special or self._serve(request)
        self.after(request)
        return response

    def count(self, method: str, path: str) -> int:
        return sum(request.method == method and path in request.url.path for request in self.requests)

    def _serve(self, request: httpx.Request) -> httpx.Response:
        body: Any = None
        match request.method, request.url.path.strip("/").split("/")[1:]:
            case "POST", ["batches"]:
                ((_, _, options),) = parts(request)
                body = self._batch(self._create(json.loads(options)))
            case "POST", ["batches", id_, "items"] if self.batches[id_]["sealed"]:
                return problem(409, "batch_sealed")
            case "POST", ["batches", id_, "items"]:
                body = self._add(id_, parts(request))
            case "POST", ["batches", id_, "seal"]:
                self.batches[id_]["sealed"] = True
                body = self._batch(id_)
            case "GET", ["batches", id_] if id_ in self.batches:
                self._work(id_)
                body = self._batch(id_)
            case "GET", ["batches", id_, "jobs"]:
                body = self._page(id_, request.url.params)
            case "GET", ["jobs", id_] if id_ in self.jobs:
                body = self.jobs[id_]
            case "GET", ["jobs", id_, "result"]:
                self.downloaded.append(self.jobs[id_]["custom_id"])
                return httpx.Response(200, content=result_of(self.jobs[id_]))
            case "GET", ["upstream"]:
                counts = {"slots": 24, "slots_allowed": 24, "slots_used": 0}
                times = {"paused_at": None, "latency_seconds": 4.0}
                pause = {"paused": False, "paused_reason": None, "paused_detail": None}
                one = {"account": "default", **counts, **times, **pause}
                body = {**one, "workers": 1, "accounts": [{**one, **self.upstream}], **self.upstream}
        return httpx.Response(200, json=body) if body else problem(404, "not_found")

    def _create(self, options: dict[str, Any]) -> str:
        id_ = f"bat_{next(self._ids):04}"
        told = BatchOptions(**options).model_dump()
        self.batches[id_] = {"options": told, "sealed": False, "cancelled": False, "rejected": []}
        return id_

    def jobs_of(self, batch_id: str) -> list[dict[str, Any]]:
        return [job for job in self.jobs.values() if job["batch_id"] == batch_id]

    def _cancel(self, request: httpx.Request) -> httpx.Response | None:
        *_, id_, last = request.url.path.split("/")
        if last != "cancel" or id_ not in self.jobs | self.batches:
            return None
        jobs = self.jobs_of(id_) if id_ in self.batches else [self.jobs[id_]]
        queued = [job for job in jobs if job["status"] == "queued"]
        for job in queued:
            job |= {"status": "cancelled", "stage": "cancelled", "finished_at": NOW}
        if id_ in self.batches:
            self.batches[id_]["cancelled"] = True
        saved = {
            "stopped": len(queued),
            "credits": 5.0 * len(queued),
            "in_flight": sum(job["status"] == "processing" for job in jobs),
            "in_flight_policy": request.url.params["in_flight"],
        }
        body = self._batch(id_) if id_ in self.batches else self.jobs[id_]
        return httpx.Response(200, json={**body, "saved": saved})

    def _release(self, request: httpx.Request) -> httpx.Response | None:
        *_, id_, last = request.url.path.split("/")
        if last != "release" or id_ not in self.batches:
            return None
        self.held = None
        self.batches[id_]["options"] |= {name: float(value) for name, value in request.url.params.items()}
        return httpx.Response(200, json=self._batch(id_))

    def _work(self, batch_id: str) -> None:
        for job in self.jobs_of(batch_id):
            if job["status"] == "queued" and self.finish(job):
                self._end(job)

    def _end(self, job: dict[str, Any]) -> None:
        if job["custom_id"] in self.fail:
            error = {"code": "content_moderated", "detail": "no"}
            job |= {"status": "failed", "stage": "failed", "error": error, "cost_credits": 5.0}
            return
        content = result_of(job)
        facts = {"width": 1, "height": 1, "format": "png", "bytes": len(content), "outside_mask_max_delta": 0}
        digest = hashlib.sha256(content).hexdigest()
        url = f"http://api.test/v1/jobs/{job['id']}/result"
        job |= {"status": "succeeded", "stage": "succeeded", "cost_credits": 5.0}
        job["result"] = {**facts, "sha256": digest, "url": url}

    def _add(self, batch_id: str, sent: list[tuple[str, str | None, bytes]]) -> dict[str, Any]:
        contents = {str(name): content for _, name, content in sent}
        if [field for field, _, _ in sent] == ["archive"]:
            with zipfile.ZipFile(io.BytesIO(sent[0][2])) as archive:
                contents = {name: archive.read(name) for name in archive.namelist()}
        pairs, alone = pair(contents, self.batches[batch_id]["options"]["mask_suffix"])
        accepted, rejected = [], [one.model_dump() for one in alone]
        for found in pairs:
            known = {job["custom_id"] for job in self.jobs_of(batch_id)}
            if found.name in known:
                rejected.append({"item": found.image, "code": "duplicate_custom_id", "detail": "there already"})
            elif found.name in self.refuse:
                rejected.append({"item": found.image, "code": "mask_size_mismatch", "detail": "4 x 4 and 5 x 5"})
            else:
                self.uploaded.append(found.name)
                job = self._job(batch_id, found.name, contents[found.image], contents[found.mask])
                accepted.append(self.jobs.setdefault(job["id"], job))
        if contents.keys() - {name for _, name, _ in sent}:
            told = self.batches[batch_id]["rejected"]
            told += [one for one in rejected if one["code"] != "duplicate_custom_id" and one not in told]
        return {
            "accepted": accepted,
            "accepted_count": len(accepted),
            "rejected": rejected,
            "batch": self._batch(batch_id),
        }

    def _job(self, batch_id: str, custom_id: str, image: bytes, mask: bytes) -> dict[str, Any]:
        def picture(content: bytes) -> dict[str, Any]:
            digest = hashlib.sha256(content).hexdigest()
            return {"width": 1, "height": 1, "format": "png", "bytes": len(content), "sha256": digest}

        return {
            "id": f"job_{next(self._ids):04}",
            "batch_id": batch_id,
            "custom_id": custom_id,
            "status": "queued",
            "stage": "queued",
            "error": None,
            "warnings": self.warnings.get(custom_id, []),
            "params": self.batches[batch_id]["options"]["params"],
            "image": picture(image),
            "mask": {**picture(mask), "coverage": 0.1},
            "result": None,
            "cost_credits": 0.0,
            "attempts": 0,
            "position": 0,
            "created_at": NOW,
            "started_at": None,
            "finished_at": None,
            "metadata": {},
        }

    def _page(self, batch_id: str, params: httpx.QueryParams) -> dict[str, Any]:
        jobs = sorted(self.jobs_of(batch_id), key=lambda job: job["id"])
        later = [job for job in jobs if job["id"] > params.get("cursor", "")]
        page = later[: int(params["limit"])]
        return {"data": page, "next_cursor": page[-1]["id"] if len(later) > len(page) else None}

    def _tell(self, request: httpx.Request) -> httpx.Response | None:
        """Tell by events what has ended; the line ends there, and the next one tells the rest."""
        *_, batch_id, what = request.url.path.split("/")
        if what != "events" or batch_id not in self.batches:
            return None
        last = int(request.headers.get("last-event-id", "0"))
        self._work(batch_id)
        ends = self.ended.setdefault(batch_id, [])
        its = self.jobs_of(batch_id)
        over = [job["id"] for job in its if job["status"] in {"succeeded", "failed", "cancelled"}]
        ends += [id_ for id_ in over if id_ not in ends]
        batch = self._batch(batch_id)
        told = [("job", self.jobs[id_], number) for number, id_ in enumerate(ends, start=1) if number > last]
        told += [("counts", batch["counts"], None)]
        told += [("end", batch, "end")] if batch["finished_at"] else []
        lines = [
            f"event: {name}\ndata: {json.dumps(data)}\n" + (f"id: {id_}\n" if id_ else "") for name, data, id_ in told
        ]
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, text="\n".join([*lines, ""]))

    def _batch(self, batch_id: str) -> dict[str, Any]:
        batch = self.batches[batch_id]
        statuses = [job["status"] for job in self.jobs_of(batch_id)]
        counts = {name: statuses.count(name) for name in ("queued", "processing", "succeeded", "failed", "cancelled")}
        closed = batch["sealed"] or batch["cancelled"]
        over = closed and not counts["queued"] + counts["processing"]
        ended = "cancelled" if batch["cancelled"] else "completed"
        return {
            "id": batch_id,
            "name": None,
            "status": ended if over else "processing" if closed else "open",
            "counts": {"total": len(statuses), **counts},
            "rejected": batch["rejected"],
            "cost_credits": 0.0,
            "quote_credits": 0.0,
            "eta_seconds": None,
            "created_at": NOW,
            "sealed_at": NOW if batch["sealed"] else None,
            "finished_at": NOW if over else None,
            "held": None if over else self.held,
            "options": batch["options"],
        }


def result_of(job: dict[str, Any]) -> bytes:
    return f"the result of {job['id']}".encode()
