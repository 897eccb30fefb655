"""An S3 over the wire for tests: a moto server in a process of its own, which forgets everything when it ends."""

import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import httpx


@contextmanager
def s3_server() -> Iterator[str]:
    """Run a server on a free port of 127.0.0.1, which takes any credentials, and yield its endpoint URL."""
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        env=os.environ | {"MOTO_S3_DEFAULT_MAX_KEYS": "50"},  # short pages, so that every listing has several
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert server.stdout is not None
    said = []
    with server:
        try:
            for line in server.stdout:
                said.append(line)
                if found := re.search(r"Running on (http://[\d.]+:\d+)", line):
                    break
            else:
                raise RuntimeError(f"moto_server ended: {''.join(said)}")
            drain = Thread(target=deque, args=(server.stdout, 0))  # or its log would fill the pipe and stall it
            drain.start()
            yield found[1]
        finally:
            server.kill()  # it keeps nothing that a gentler end could save
    drain.join()


def make_bucket(endpoint: str, name: str) -> None:
    """Make a bucket on the server."""
    httpx.put(f"{endpoint}/{name}", trust_env=False, timeout=60).raise_for_status()


def s3_environment(endpoint: str) -> dict[str, str]:
    """Return the variables that lead boto3, in this process or a child, to the server."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
