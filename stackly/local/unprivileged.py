"""Run a program that refuses root (Postgres) without root's rights: `unprivileged.py HOW DIRECTORY -- ARGV…`.

Standard library only: it starts before anything else and becomes the program by exec.
"""

import contextlib
import ctypes
import errno
import os
import pwd
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

# as_is: we are no root. setuid: become the user that owns the directory. namespace: stay the owner of the files but
# hold no right outside of it, which also works below a directory of mode 0700, where another could not even look.
How: TypeAlias = Literal["as_is", "setuid", "namespace"]

_CLONE_NEWUSER = 0x10000000


def how(*directories: Path) -> How:
    """Choose the way for a program that needs these directories. Raises: nothing; `possible` tells whether it works."""
    if os.geteuid() != 0:
        return "as_is"
    return "setuid" if all(_open_to_all(d) for d in directories) else "namespace"


def wrap(way: How, argv: Sequence[str], directory: Path) -> list[str]:
    """The command line that runs `argv` that way."""
    if way == "as_is":
        return list(argv)
    return [sys.executable, "-I", str(Path(__file__).resolve()), way, str(directory), "--", *argv]


def named() -> int:
    """An account that owns nothing, for a program that asks for a user with a name (initdb)."""
    return pwd.getpwnam("bin").pw_uid


def shared() -> set[int]:
    """Users that a directory of ours may not stay with: root's own, and those that others run as too."""
    known = set()
    for name in ("root", "bin", "nobody"):
        with contextlib.suppress(KeyError):
            known.add(pwd.getpwnam(name).pw_uid)
    return known


def give(directory: Path, uid: int) -> None:
    """Hand a directory and all below it to that user, without following a link."""
    os.chown(directory, uid, uid, follow_symlinks=False)
    for _, folders, files, at in os.fwalk(directory, follow_symlinks=False):
        for name in (*folders, *files):
            os.chown(name, uid, uid, dir_fd=at, follow_symlinks=False)


def possible(way: How) -> bool:
    """Try it once with a child that does nothing."""
    if way == "as_is":
        return True
    child = os.fork()
    if child == 0:
        try:
            _become(way, named())
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _open_to_all(directory: Path) -> bool:
    """Whether everybody may walk to it; a directory that does not exist yet is judged by its parents."""
    walk = [directory.resolve(), *directory.resolve().parents]
    return all(p.stat().st_mode & 0o001 for p in walk[1:] if p.exists())


def _become(way: str, user: int) -> None:
    if way == "setuid":
        if user == 0:
            raise OSError(errno.EPERM, "its directory is root's")
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        return
    nobody = pwd.getpwnam("nobody")
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"user namespaces are not allowed here: {os.strerror(code)}")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{nobody.pw_uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{nobody.pw_gid} {gid} 1")


def main(argv: list[str]) -> None:
    way, directory, separator, *command = argv
    if separator != "--" or way not in {"setuid", "namespace"} or not command:
        sys.exit("usage: unprivileged setuid|namespace DIRECTORY -- ARGV…")
    try:
        _become(way, Path(directory).stat().st_uid)
        os.execvp(command[0], command)  # noqa: S606 - an argv list, no shell
    except OSError as e:
        sys.exit(f"{command[0]} cannot be run without root's rights: {e}")


if __name__ == "__main__":
    main(sys.argv[1:])
