"""Small programs in the place of ours, for tests of what starts, watches and stops them.

As a program, ``cleanplate up`` with those: ``python -m tests.stand_ins --port 8000``.
"""

from collections.abc import Callable
from pathlib import Path

from cleanplate.local import commands

SERVE = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
port = int(sys.argv[1])
server = http.server.HTTPServer(("127.0.0.1", port), Handler)
sites = {"base_url": 1, "polling_url": 2, "delivery_url": 3}
print(json.dumps({site: f"http://127.0.0.{host}:{port}" for site, host in sites.items()}))
server.serve_forever()
"""
SHOW = f"""
import json, os, time
print(json.dumps(dict(os.environ)))
print({commands.WORKER_READY!r}, flush=True)
time.sleep(600)
"""
PREPARE = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('cp_stand_in')"


def install(replace: Callable[[object, str, Callable[..., list[str]]], None]) -> None:
    """Servers answer 200 to all, workers print their environment, no database is prepared but a key is written."""

    def api(_host: str, port: int) -> list[str]:
        return ["-c", SERVE, str(port)]

    def simulator(port: int, _state_dir: Path, **_: object) -> list[str]:
        return ["-c", SERVE, str(port)]

    def prepare(key_file: Path) -> list[str]:
        return ["-c", PREPARE, str(key_file)]

    def worker(*_: object) -> list[str]:
        return ["-c", SHOW]

    for program in (api, simulator, prepare):
        replace(commands, program.__name__, program)
    for role in ("conveyor", "importer", "finalizer", "notifier"):
        replace(commands, role, worker)


if __name__ == "__main__":
    import typer

    from cleanplate.cli.up import up

    install(setattr)
    typer.run(up)
