"""Running as root a program that refuses to run as root."""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cleanplate.local.errors import StackError

_DROP = (
    "import os, sys; gid, uid = map(int, sys.argv[1:3]); "
    "os.setgroups([]); os.setgid(gid); os.setuid(uid); os.execv(sys.argv[3], sys.argv[3:])"
)


@dataclass(frozen=True)
class Identity:
    """Who a program runs as. ``prefix`` goes before its command line; ``uid`` and ``gid`` own what it writes.

    ``passes_everywhere`` tells whether it may enter directories that only root may, such as one below /root.
    """

    prefix: Sequence[str]
    uid: int
    gid: int
    passes_everywhere: bool

    def own(self, path: Path) -> None:
        os.chown(path, self.uid, self.gid)


def identity(program: Path) -> Identity:
    """Return who ``program`` (which must know ``--version``) shall run as: this user or, for root, ``nobody``.

    As root, setpriv leaves nobody the one capability to pass any directory, for the environment or the data may lie
    below /root. The permissions of those directories are not ours to change. Raises ``StackError`` where neither that
    nor a plain change of user reaches the program.
    """
    if os.geteuid() != 0:
        return Identity((), os.geteuid(), os.getegid(), passes_everywhere=True)
    nobody = pwd.getpwnam("nobody")
    uid, gid = nobody.pw_uid, nobody.pw_gid
    if (setpriv := shutil.which("setpriv")) and _works(prefix := _with_capability(setpriv, uid, gid), program):
        return Identity(prefix, uid, gid, passes_everywhere=True)
    if _works(prefix := (sys.executable, "-I", "-S", "-c", _DROP, str(gid), str(uid)), program):
        return Identity(prefix, uid, gid, passes_everywhere=False)
    raise StackError(
        f"{program.name} does not run as root, and the user nobody cannot reach {program}; "
        "install setpriv (util-linux), or run cleanplate as an ordinary user"
    )


def _with_capability(setpriv: str, uid: int, gid: int) -> tuple[str, ...]:
    # Without no_setuid_fixup, access(2), which initdb asks, leaves out the capabilities of a user that is not root.
    capability = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup")
    return (setpriv, f"--reuid={uid}", f"--regid={gid}", "--clear-groups", *capability, "--")


def _works(prefix: Sequence[str], program: Path) -> bool:
    command = [*prefix, str(program), "--version"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603  all parts are ours
