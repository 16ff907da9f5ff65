"""Run a program that refuses root (Postgres) without root's rights: `unprivileged.py HOW -- ARGV…`.

Standard library only: it starts before anything else and becomes the program by exec.
"""

import ctypes
import os
import pwd
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

# as_is: we are no root. setuid: become `nobody`. namespace: stay the owner of the files but hold no right outside
# of it, which also works below a directory of mode 0700, where `nobody` could not even look.
How: TypeAlias = Literal["as_is", "setuid", "namespace"]

_CLONE_NEWUSER = 0x10000000


def how(*directories: Path) -> How:
    """Choose the way for a program that needs these directories. Raises: nothing; `possible` tells whether it works."""
    if os.geteuid() != 0:
        return "as_is"
    return "setuid" if all(_open_to_all(d) for d in directories) else "namespace"


def wrap(way: How, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` that way."""
    if way == "as_is":
        return list(argv)
    return [sys.executable, "-I", str(Path(__file__).resolve()), way, "--", *argv]


def own(way: How, directory: Path) -> None:
    """Hand a directory that we made to the uid that will write in it."""
    if way == "setuid":
        nobody = pwd.getpwnam("nobody")
        os.chown(directory, nobody.pw_uid, nobody.pw_gid)


def possible(way: How) -> bool:
    """Try it once with a child that does nothing."""
    if way == "as_is":
        return True
    child = os.fork()
    if child == 0:
        try:
            _become(way)
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _open_to_all(directory: Path) -> bool:
    """Whether everybody may walk to it; a directory that does not exist yet is judged by its parents."""
    walk = [directory.resolve(), *directory.resolve().parents]
    return all(p.stat().st_mode & 0o001 for p in walk[1:] if p.exists())


def _become(way: str) -> None:
    nobody = pwd.getpwnam("nobody")
    if way == "setuid":
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
        return
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"user namespaces are not allowed here: {os.strerror(code)}")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{nobody.pw_uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{nobody.pw_gid} {gid} 1")


def main(argv: list[str]) -> None:
    way, separator, *command = argv
    if separator != "--" or way not in {"setuid", "namespace"} or not command:
        sys.exit("usage: unprivileged setuid|namespace -- ARGV…")
    try:
        _become(way)
        os.execvp(command[0], command)  # noqa: S606 - an argv list, no shell
    except OSError as e:
        sys.exit(f"{command[0]} cannot be run without root's rights: {e}")


if __name__ == "__main__":
    main(sys.argv[1:])
