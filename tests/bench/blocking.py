"""The Celery application of the rival that blocks; run as a module it sends so many messages."""

import json
import os
import sys

from celery import Celery

from tests.bench import rivals

app = Celery("rival", broker=os.environ["BENCH_BROKER"])
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=1, task_acks_late=True)
client = rivals.client()


@app.task
def erase() -> None:
    """Carry one job, and write when its result was known."""
    line = json.dumps(rivals.erase(client, os.environ["BENCH_UPSTREAM"], 0.1)) + "\n"
    with open(os.environ["BENCH_OUT"], "a") as out:  # noqa: PTH123  one short append is one write
        out.write(line)


if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        app.send_task("tests.bench.blocking.erase")
