"""The whole of Cleanplate on one machine, from the settings: embedded servers for every URL that is not set."""

import http
import http.client
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cleanplate.local import commands, environment, ports, postgres, redis
from cleanplate.local.errors import ServiceFailedError
from cleanplate.local.logs import Log
from cleanplate.local.service import Server, Service
from cleanplate.local.supervisor import Supervisor, to_stderr
from cleanplate.settings import Settings

DRAIN_SECONDS = 30.0


@dataclass(frozen=True)
class Simulation:
    """How the simulator behaves: seconds a picture takes it in the middle of its distribution, and its seed."""

    latency_seconds: float = 4.0
    seed: int = 1


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
        env |= _start_servers(supervisor, settings)
        simulated = settings.bfl_api_key is None
        if simulated:
            say("no BFL_API_KEY is set: pictures go to the built-in simulator, not to BFL, and nothing is paid")
            env |= _start_simulator(supervisor, settings.bfl_max_in_flight, simulation, env)
        _prepare(data_dir, env)
        supervisor.start(*_processes(settings, port, env))
        yield Running(
            url=f"http://{ports.HOST}:{port}",
            data_dir=data_dir,
            simulator_url=env["BFL_BASE_URL"] if simulated else None,
            supervisor=supervisor,
            api_key=key_file(data_dir).read_text(encoding="utf-8").strip(),
            environment=env,
        )


def key_file(data_dir: Path) -> Path:
    """Return where a stack keeps its API key, mode 600."""
    return data_dir / "api-key"


def _start_servers(supervisor: Supervisor, settings: Settings) -> dict[str, str]:
    """Start what no URL was given for; return the URLs."""
    servers: dict[str, Server] = {}
    if "database_url" not in settings.model_fields_set:
        servers["DATABASE_URL"] = postgres.server(supervisor.data_dir)
    if "redis_url" not in settings.model_fields_set:
        servers["REDIS_URL"] = redis.server(supervisor.data_dir)
    supervisor.start(*(server.service for server in servers.values()))
    urls = {name: server.url for name, server in servers.items()}
    if "DATABASE_URL" in urls:
        urls["DATABASE_URL"] = postgres.ensure_database(urls["DATABASE_URL"], "cleanplate")
    return urls


def _start_simulator(
    supervisor: Supervisor, slots: int, simulation: Simulation, env: Mapping[str, str]
) -> dict[str, str]:
    # Jobs that were in flight at the last stop hold polling URLs with the port of then.
    port = ports.keep(supervisor.data_dir / "simulator-port")
    arguments = commands.simulator(
        port,
        supervisor.data_dir / "simulator",
        slots=slots,
        latency_seconds=simulation.latency_seconds,
        seed=simulation.seed,
        key=environment.SIMULATOR_KEY,
    )
    supervisor.start(Service("simulator", commands.python(arguments), env, lambda: _answers(port, "/healthz")))
    ready = next(line for line in supervisor.output("simulator").splitlines() if line.startswith("{"))
    return environment.of_simulator(json.loads(ready))


def _prepare(data_dir: Path, env: Mapping[str, str]) -> None:
    log = Log(data_dir / "logs", "prepare")
    command = commands.python(commands.prepare(key_file(data_dir)))
    with log.open() as file:
        status = subprocess.run(command, env=env, stdout=file, stderr=file, check=False).returncode  # noqa: S603  ours
    if status:
        raise ServiceFailedError("preparing the database", f"ended with status {status}", log.path, log.tail())


def _processes(settings: Settings, port: int, env: Mapping[str, str]) -> list[Service]:
    def drained(name: str, arguments: list[str]) -> Service:
        return Service(name, commands.python(arguments), env, stop_timeout_seconds=DRAIN_SECONDS)

    api = Service(
        "api",
        commands.python(commands.api(ports.HOST, port)),
        env,
        ready=lambda: _answers(port, "/readyz"),
        stop_timeout_seconds=commands.GRACEFUL_SECONDS + 5.0,
    )
    return [
        api,
        drained("conveyor", commands.conveyor()),
        drained("finalizer", commands.finalizer(settings.finalize_processes)),
        drained("notifier", commands.notifier()),
    ]


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(ports.HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
