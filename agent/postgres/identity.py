"""Who Postgres runs as: it refuses root, and may have to work below a directory that only root enters."""

import contextlib
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from stackly.errors import Faulty

# initdb wants a user that has a name. One of its own, where somebody made it; else the one that owns nothing.
_USERS = ("stackly", "nobody")


@dataclass(frozen=True, slots=True)
class Identity:
    """Shape: `prefix` goes before every server command; `uid` owns its files, None where that is us."""

    prefix: tuple[str, ...]
    uid: int | None

    def own(self, *paths: Path) -> None:
        if self.uid is None:
            return
        for path in paths:
            os.chown(path, self.uid, self.uid)


def _uid() -> int:
    for name in _USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_uid
    raise Faulty(f"Postgres cannot run as root, and this machine has no user {' or '.join(_USERS)}; add one.")


def _reachable(path: Path) -> bool:
    """Whether anyone may enter every directory above it."""
    return all(p.stat().st_mode & stat.S_IXOTH for p in path.resolve().parents)


def choose(directory: Path, program: str) -> Identity:
    """The strongest separation that works here.

    Not root: ourselves. Root: a uid of its own where it can reach `directory` and the program; else a user namespace,
    in which root's files look like an ordinary user's and no capability is left.
    Raises: Faulty when root and neither is possible.
    """
    if os.geteuid() != 0:
        return Identity((), None)
    setpriv = shutil.which("setpriv")
    if setpriv and _reachable(directory) and _reachable(Path(program)):
        uid = str(_uid())
        drop = ("--reuid", uid, "--regid", uid, "--clear-groups", "--inh-caps=-all", "--no-new-privs", "--")
        return Identity((setpriv, *drop), int(uid))
    namespace = _namespace()
    if namespace:
        return Identity(namespace, None)
    raise Faulty(
        f"Postgres cannot run as root, {directory} is closed to other users and user namespaces are off; "
        "start Stackly as an ordinary user, or set STACKLY_HOME to a directory others may enter."
    )


def _namespace() -> tuple[str, ...]:
    unshare = shutil.which("unshare")
    if unshare is None:
        return ()
    uid = str(_uid())
    prefix = (unshare, "--user", f"--map-user={uid}", f"--map-group={uid}", "--")
    tried = subprocess.run([*prefix, "true"], capture_output=True, timeout=20, check=False)
    return prefix if tried.returncode == 0 else ()
