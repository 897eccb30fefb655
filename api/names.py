"""What to make of the names that files come under. Nothing is ever written by such a name."""

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_JUNK = {"thumbs.db", "desktop.ini", "ehthumbs.db"}


def clean(name: str) -> str:
    """Return the name as a relative path with ``/``, without ``.``, ``..`` and control characters."""
    steps = _CONTROL.sub("_", name.replace("\\", "/")).split("/")
    return "/".join(step for step in steps if step not in {"", ".", ".."}) or "unnamed"


def is_junk(name: str) -> bool:
    """Tell whether an operating system left this there: ``.DS_Store``, ``__MACOSX/._x``, ``Thumbs.db``."""
    steps = name.split("/")
    return "__MACOSX" in steps or steps[-1].startswith(".") or steps[-1].lower() in _JUNK
