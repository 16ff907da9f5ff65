"""Who Postgres runs as where no sandbox answers it: it refuses root, and initdb a user without a name."""

import os
import pwd
import shutil
import subprocess
from dataclasses import replace

from agent.sandbox.box import Kind
from agent.sandbox.isolation import Isolation
from agent.sandbox.part import Part
from stackly.errors import Faulty

_OWNS_NOTHING = "bin"


def namespace(uid: int) -> tuple[str, ...]:
    """What goes before a server's command when we are root and `uid` is 0, else nothing.

    A user namespace, in which root's files look like an ordinary user's and no capability is left: that pleases
    Postgres and separates nothing. Raises: Faulty where there is none.
    """
    if os.geteuid() != 0 or uid:
        return ()
    unshare = shutil.which("unshare")
    if unshare is not None:
        prefix = (unshare, "--user", f"--map-user={_named()}", f"--map-group={_named()}", "--")
        if subprocess.run([*prefix, "true"], capture_output=True, timeout=20, check=False).returncode == 0:
            return prefix
    raise Faulty(
        "Postgres cannot run as root, and this machine offers neither a sandbox nor user namespaces; start Stackly as "
        "an ordinary user, or set STACKLY_HOME to a directory that others may enter."
    )


def _named() -> str:
    """A number that has a name: initdb asks for it. Inside the namespace only, outside it stays root."""
    return str(max(user.pw_uid for user in pwd.getpwall() if user.pw_uid < 1 << 16))


def for_initdb(part: Part) -> tuple[Part, tuple[str, ...], int]:
    """Shape: (the part, what goes before the command, the number that makes the files).

    bubblewrap gives the user a name. Without it initdb, which no pushed code reaches, runs as an account that owns
    nothing, and what it made is given to the part's user.
    """
    if part.kind is not Kind.USER:
        return part, namespace(part.uid), part.uid
    uid = pwd.getpwnam(_OWNS_NOTHING).pw_uid
    ids = ("--reuid", str(uid), "--regid", str(uid), "--clear-groups")
    drop = ("setpriv", *ids, "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--")
    return replace(part, isolation=Isolation(Kind.NONE), uid=0), drop, uid
