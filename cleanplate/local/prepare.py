"""Makes ready for the stack: the database's schema, the object store, a first API key, into the file that is given."""

import sys
from pathlib import Path

from cleanplate import db, tenants
from cleanplate.local.files import write_private
from cleanplate.preparing import NotReadyError, prepare


def main() -> None:
    try:
        prepare()
    except NotReadyError as error:
        sys.exit(str(error))
    _ensure_key(Path(sys.argv[1]))


def _ensure_key(file: Path) -> None:
    standing = file.read_text(encoding="utf-8").strip() if file.exists() else None
    with db.transaction() as tx:
        key = tenants.ensure_key(tx, tenant="default", name="cleanplate up", secret=standing)
    if key != standing:
        write_private(file, f"{key}\n")


if __name__ == "__main__":
    main()
