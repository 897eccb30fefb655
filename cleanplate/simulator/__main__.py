"""``python -m cleanplate.simulator``: a FLUX Erase server on this machine."""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import get_args

from cleanplate.simulator.options import Options, Place, is_loopback


def main() -> int:
    """Serve until SIGTERM or SIGINT. Prints one line of JSON with the URLs when ready."""
    parser = _parser()
    flags = parser.parse_args()
    if not is_loopback(flags.host) and not flags.allow_public:
        parser.error(f"{flags.host} is not a loopback address and the admin has no key; --allow-public if you mean it")
    if flags.host in {"0.0.0.0", "::"} and not flags.advertise:  # noqa: S104  compared with, not bound to
        parser.error(f"{flags.host} is no address to put into URLs: --advertise the name that clients use")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    keys = flags.key or [key for key in os.environ.get("SIMULATOR_KEYS", "").split(",") if key] or ["simulator"]
    options = Options(**{name: getattr(flags, name) for name in Options.model_fields})
    place = Place(flags.host, flags.port, flags.advertise, flags.state_dir)
    try:
        asyncio.run(_serve(options, keys, place, flags.ports_file))
    except OSError as error:
        sys.stderr.write(f"simulator: cannot listen on {flags.host}:{flags.port}: {error.strerror or error}\n")
        return 1
    return 0


async def _serve(options: Options, keys: list[str], place: Place, ports_file: Path | None) -> None:
    from cleanplate.simulator.server import serving

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(options, keys, place) as urls:
        ready = json.dumps(urls | {"pid": os.getpid()})
        if ports_file is not None:
            partial = ports_file.with_suffix(".part")
            partial.write_text(ready + "\n")
            partial.rename(ports_file)
        sys.stdout.write(ready + "\n")
        sys.stdout.flush()
        await stop.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cleanplate.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="Where to listen; loopback unless --allow-public.")
    parser.add_argument("--port", type=int, default=9090, help="Port of all three sites; 0 picks free ones.")
    parser.add_argument("--allow-public", action="store_true", help="Let --host be reachable, admin included.")
    parser.add_argument("--advertise", metavar="NAME", help="Host name in the URLs that answers carry.")
    parser.add_argument(
        "--key", action="append", help="An account's x-key; more for more accounts. Else SIMULATOR_KEYS."
    )
    parser.add_argument("--ports-file", type=Path, metavar="PATH", help="Where to write the ready line, too.")
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="Keep tasks and results over restarts.")
    for name, field in Options.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        described = f"{field.description} Default {field.default}."
        if field.annotation is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default, help=described)
        elif choices := [choice for choice in get_args(field.annotation) if isinstance(choice, str)]:
            parser.add_argument(flag, choices=choices, default=field.default, help=described)
        else:
            number = float if field.annotation is float else int
            parser.add_argument(flag, type=number, default=field.default, help=described)
    return parser


if __name__ == "__main__":
    sys.exit(main())
