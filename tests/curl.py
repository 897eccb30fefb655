"""What stands in for curl where there is none: the options that the documents use, by httpx. Fails on errors, as -f."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

PARSER = argparse.ArgumentParser(prog="curl", add_help=False, allow_abbrev=False)
for flags in ("-s", "-S", "-f", "-N", "-L", "-O", "-J", "-i", "--retry-all-errors"):
    PARSER.add_argument(flags, action="store_true")
for option in ("-X", "-d", "-T", "-o", "--retry"):
    PARSER.add_argument(option)
PARSER.add_argument("-H", action="append", default=[])
PARSER.add_argument("-F", action="append", default=[])
PARSER.add_argument("url")


def main(arguments: Sequence[str]) -> int:
    """Make one request and write what is answered; return the exit code."""
    given = PARSER.parse_args(arguments)
    headers = dict(re.split(r":\s*", header, maxsplit=1) for header in given.H)
    request: dict[str, Any] = {"headers": headers, "follow_redirects": given.L, "timeout": 60}
    method = given.X or "GET"
    if given.F:
        method, request["files"] = given.X or "POST", [_part(form) for form in given.F]
    elif given.d is not None:
        method, request["content"] = given.X or "POST", given.d.encode()
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
    elif given.T:
        method, request["content"] = "PUT", Path(given.T).read_bytes()
    response = httpx.request(method, given.url, **request)
    if response.is_error:
        print(f"curl: (22) {response.status_code} {response.text}", file=sys.stderr)
        return 22
    if given.i:
        print(
            f"HTTP/1.1 {response.status_code}",
            *(f"{name}: {value}" for name, value in response.headers.items()),
            sep="\n",
        )
    if given.o or given.O:
        Path(given.o or _name(response, announced=given.J)).write_bytes(response.content)
    else:
        sys.stdout.buffer.write(response.content)
    return 0


def _part(form: str) -> tuple[str, Any]:
    """Return a field of a form: ``name=@file``, or ``name=text``."""
    name, _, value = form.partition("=")
    if value.startswith("@"):
        path = Path(value[1:])
        return name, (path.name, path.read_bytes())
    return name, (None, value)


def _name(response: httpx.Response, *, announced: bool) -> str:
    found = re.search(r'filename="([^"]+)"', response.headers.get("content-disposition", ""))
    return Path(found[1] if announced and found else response.url.path).name


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
