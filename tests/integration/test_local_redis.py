import os
import shutil
import signal
from pathlib import Path

import pytest
import redis as redis_py

from cleanplate.local import redis
from cleanplate.local.errors import MissingServerError
from cleanplate.local.supervisor import Supervisor
from tests.servers import running_redis, wait_until


def test_what_was_written_is_there_at_the_next_start(tmp_path: Path) -> None:
    with running_redis(tmp_path) as url, redis_py.Redis.from_url(url) as client:
        client.set("word", "kept")
    with running_redis(tmp_path) as url, redis_py.Redis.from_url(url) as client:
        assert client.get("word") == b"kept"


def test_a_killed_server_is_started_again_at_the_same_url(tmp_path: Path) -> None:
    with Supervisor(tmp_path, lambda _: None) as supervisor:
        server = redis.server(tmp_path)
        supervisor.start(server.service)
        killed = supervisor.pid("redis")
        assert killed
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: supervisor.pid("redis") not in {killed, None} and redis.answers(server.url))


def test_no_key_is_ever_evicted_and_every_write_is_logged(redis_url: str) -> None:
    with redis_py.Redis.from_url(redis_url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly", "appendfsync") == {"appendonly": "yes", "appendfsync": "everysec"}


def test_nobody_gets_in_without_the_password(redis_url: str) -> None:
    host = redis_url.rpartition("@")[2]
    with redis_py.Redis.from_url(f"redis://{host}") as client, pytest.raises(redis_py.AuthenticationError):
        client.ping()


def test_the_password_is_in_no_command_line_and_in_no_file_that_others_may_read(tmp_path: Path) -> None:
    server = redis.server(tmp_path)
    password = server.url.removeprefix("redis://:").partition("@")[0]
    assert password not in " ".join(server.service.argv)
    assert not any(password in value for value in server.service.env.values())
    assert (tmp_path / "redis.conf").stat().st_mode & 0o777 == 0o600


def test_a_platform_without_a_wheel_takes_the_server_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(shutil, "which", {"valkey-server": "/opt/valkey-server"}.get)
    assert redis.server(tmp_path).service.argv[0] == "/opt/valkey-server"


def test_where_there_is_none_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MissingServerError, match=r"apt-get install redis-server.*REDIS_URL"):
        redis.server(tmp_path)
