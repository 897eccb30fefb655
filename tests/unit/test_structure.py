"""The code as a whole keeps the rules of CONTRIBUTING, as far as a program can tell."""

import re
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = ("api", "cleanplate", "worker", "tests", "migrations")
HISTORY = ROOT / "migrations" / "versions"


def test_no_file_is_so_long_that_it_is_two_things() -> None:
    (most,) = re.findall(r"past (\d+) it is two things", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    files = [path for path in chain(*((ROOT / folder).rglob("*.py") for folder in CODE)) if HISTORY not in path.parents]
    assert len(files) > 100
    lines = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: count for name, count in lines.items() if count > int(most)} == {}
