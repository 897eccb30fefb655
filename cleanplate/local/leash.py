"""Ends what a supervisor leaves behind when it is killed with no chance to do so itself.

The leash is a small process that waits for its standard input to close, which the kernel does for a supervisor however
it ends. It shares the supervisor's lock, so that nobody starts in the data directory until all has ended.
"""

import subprocess
import sys
from pathlib import Path

from cleanplate.local import processes
from cleanplate.local.commands import PACKAGES


def fasten(data_dir: Path, lock: int) -> "subprocess.Popen[bytes]":
    """Start the leash of this process; ``lock`` is the descriptor of the lock it shall hold too."""
    return subprocess.Popen(  # noqa: S603  runs this very module
        [sys.executable, "-m", __name__, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=PACKAGES,
        pass_fds=(lock,),
        start_new_session=True,
    )


def main() -> None:
    sys.stdin.buffer.read()
    processes.end_leftovers(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
