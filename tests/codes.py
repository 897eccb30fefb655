"""The codes that the source can answer with, as it is written."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.guide import ROOT


def problems() -> dict[str, set[int]]:
    """Return the statuses of each ``code`` of a problem that is raised or returned somewhere in the API."""
    found: dict[str, set[int]] = defaultdict(set)
    for name, arguments in _calls("api"):
        match name, arguments:
            case "Problem", [int(status), str(code), *_]:
                found[code].add(status)
            case "unavailable", [str(code), *_]:
                found[code].add(503)
            case "_unauthorized", [str(code), *_]:
                found[code].add(401)
            case "_too_many", [str(what), *_]:
                found[f"too_many_{what}"].add(413)
    return found


def addresses() -> set[str]:
    """Return the codes of addresses that are refused."""
    return {arguments[0] for name, arguments in [*_calls("cleanplate"), *_calls("api")] if name == "ForbiddenUrl"}


def rejections() -> set[str]:
    """Return the codes of items that never become a job."""
    found = set()
    for name, arguments in [*_calls("api"), *_calls("cleanplate/pairing.py")]:
        match name, arguments:
            case "Rejection", [str(code)]:
                found.add(code)
            case "reject", [_, str(code), *_]:
                found.add(code)
    return found


def _calls(place: str) -> Iterator[tuple[str, list[Any]]]:
    """Yield the name and the literal arguments of each call; of a ``code=`` just that."""
    path = ROOT / place
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    of_all = dict(one for tree in trees for one in _constants(tree))
    for tree in trees:
        constants = of_all | dict(_constants(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                named = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
                yield name, [_value(one, constants) for one in named or node.args]


def _constants(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    yield target.id, node.value.value


def _value(node: ast.expr, constants: dict[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    return constants.get(node.id) if isinstance(node, ast.Name) else None
