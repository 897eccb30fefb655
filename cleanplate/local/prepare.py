"""Makes a database ready for the stack: its schema, and a first API key. Run as ``python -m`` with the key's file."""

import sys
from pathlib import Path

from cleanplate import db, tenants
from cleanplate.local.files import write_private


def main() -> None:
    db.migrate()
    _ensure_key(Path(sys.argv[1]))


def _ensure_key(file: Path) -> None:
    standing = file.read_text(encoding="utf-8").strip() if file.exists() else None
    with db.transaction() as tx:
        key = tenants.ensure_key(tx, tenant="default", name="cleanplate up", secret=standing)
    if key != standing:
        write_private(file, f"{key}\n")


if __name__ == "__main__":
    main()
