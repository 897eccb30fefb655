"""The whole of Cleanplate on one machine, from the settings: embedded servers for every URL that is not set."""

import http
import http.client
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cleanplate.local import commands, environment, ports, postgres, redis
from cleanplate.local.errors import ServiceFailedError
from cleanplate.local.files import write_private
from cleanplate.local.logs import Log
from cleanplate.local.service import Server, Service
from cleanplate.local.supervisor import Supervisor, to_stderr
from cleanplate.settings import Settings

DATABASE, BROKER = "DATABASE_URL", "REDIS_URL"
DRAIN_SECONDS = 30.0
INTAKE_NICE = 10
"""Results have a deadline and uploads have none, so on a busy machine those who store results go first."""


@dataclass(frozen=True)
class Simulation:
    """How the simulator behaves.

    Seconds that a picture takes it in the middle of its distribution, the seed of all it draws, and whether it erases:
    ``fast`` gives every picture back, to leave the machine to what is measured on it.
    """

    latency_seconds: float = 4.0
    seed: int = 1
    erase: Literal["inpaint", "fast"] = "inpaint"


@dataclass(frozen=True)
class Running:
    """A stack that is ready, with what its processes have as environment; with the real upstream no simulator runs."""

    url: str
    data_dir: Path
    simulator_url: str | None
    supervisor: Supervisor = field(repr=False)
    api_key: str = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)


@contextmanager
def running(
    settings: Settings,
    *,
    port: int | None = 8000,
    simulation: Simulation = Simulation(),
    say: Callable[[str], None] = to_stderr,
) -> Iterator[Running]:
    """Run the stack on a loopback ``port`` (None: any free one) until the block ends; then it drains.

    Raises ``StackError``, in words for a person, when it cannot start; then nothing of it is left running.
    """
    with Supervisor(settings.data_dir, say) as supervisor:
        data_dir = supervisor.data_dir
        port = port or ports.choose()
        ports.require(port)
        env = environment.base(settings, data_dir)
        servers = _servers(settings, data_dir)
        services = [server.service for server in servers.values()]
        simulated = settings.keyless
        if simulated:
            say("no BFL_API_KEY is set: pictures go to the built-in simulator, not to BFL, and nothing is paid")
            services.append(_simulator(supervisor, settings, simulation, env))
        supervisor.start(*services)
        env |= {name: server.url for name, server in servers.items()}
        if DATABASE in servers:
            env[DATABASE] = postgres.ensure_database(env[DATABASE], "cleanplate")
            write_private(database_file(data_dir), f"{env[DATABASE]}\n")
        url = f"http://{ports.HOST}:{port}"
        env["CLEANPLATE_URL"] = url  # links in webhooks start with it
        if simulated:
            env |= environment.of_simulator(_simulator_urls(supervisor))
        _prepare(data_dir, env)
        supervisor.start(*_processes(supervisor, settings, port, env))
        yield Running(
            url=url,
            data_dir=data_dir,
            simulator_url=env["BFL_BASE_URL"] if simulated else None,
            supervisor=supervisor,
            api_key=key_file(data_dir).read_text(encoding="utf-8").strip(),
            environment=env,
        )


def key_file(data_dir: Path) -> Path:
    """Return where a stack keeps its API key, mode 600."""
    return data_dir / "api-key"


def database_file(data_dir: Path) -> Path:
    """Return where a stack tells ``cleanplate keys`` its embedded database, mode 600."""
    return data_dir / "database-url"


def _servers(settings: Settings, data_dir: Path) -> dict[str, Server]:
    """Return what no URL was given for, by the variable that its URL goes into."""
    servers: dict[str, Server] = {}
    if "database_url" not in settings.model_fields_set:
        servers[DATABASE] = postgres.server(data_dir)
    if "redis_url" not in settings.model_fields_set:
        servers[BROKER] = redis.server(data_dir)
    return servers


def _simulator(supervisor: Supervisor, settings: Settings, simulation: Simulation, env: Mapping[str, str]) -> Service:
    data_dir = supervisor.data_dir
    arguments = commands.simulator(
        # Jobs that were in flight at the last stop hold polling URLs with the port of then.
        ports.keep(data_dir / "simulator-port"),
        data_dir / "simulator",
        slots=settings.bfl_max_in_flight,
        latency_seconds=simulation.latency_seconds,
        seed=simulation.seed,
        erase=simulation.erase,
        key=environment.SIMULATOR_KEY,
    )
    return _ours("simulator", arguments, env, ready=lambda: bool(_simulator_urls(supervisor)))


def _simulator_urls(supervisor: Supervisor) -> dict[str, str]:
    """Return what the simulator prints once it is ready; nothing until then."""
    lines = supervisor.output("simulator").splitlines(keepends=True)
    ready = (line for line in lines if line.startswith("{") and line.endswith("}\n"))
    urls: dict[str, str] = json.loads(next(ready, "{}"))
    return urls


def _prepare(data_dir: Path, env: Mapping[str, str]) -> None:
    log = Log(data_dir / "logs", "prepare")
    command = commands.python(commands.prepare(key_file(data_dir)))
    with log.open() as file:
        status = subprocess.run(  # noqa: S603  runs a module of ours
            command, env=env, cwd=commands.PACKAGES, stdout=file, stderr=file, check=False
        ).returncode
    if status:
        raise ServiceFailedError(
            "preparing the database and the object store", f"ended with status {status}", log.path, log.tail()
        )


def _processes(supervisor: Supervisor, settings: Settings, port: int, env: Mapping[str, str]) -> list[Service]:
    def worker(name: str, arguments: list[str]) -> Service:
        return _ours(name, arguments, env, ready=lambda: commands.WORKER_READY in supervisor.output(name))

    return [
        _ours("api", commands.api(ports.HOST, port), env, ready=lambda: _answers(port, "/readyz"), nice=INTAKE_NICE),
        worker("conveyor", commands.conveyor()),
        worker("importer", commands.importer(settings.import_processes)),
        worker("finalizer", commands.finalizer(settings.finalize_processes)),
        worker("notifier", commands.notifier()),
    ]


def _ours(
    name: str,
    arguments: list[str],
    env: Mapping[str, str],
    ready: Callable[[], bool] | None = None,
    nice: int = 0,
) -> Service:
    argv = commands.python(arguments)
    return Service(name, argv, env, ready, stop_timeout_seconds=DRAIN_SECONDS, cwd=commands.PACKAGES, nice=nice)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(ports.HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
