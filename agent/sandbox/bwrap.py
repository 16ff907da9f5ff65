"""The options of bubblewrap for a box: a file system of what it may see, a process table and IPC of its own."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from agent.sandbox.box import Box
from agent.sandbox.seccomp import filter_program

INIT = Path(__file__).with_name("init.py")
_LINKED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_PROGRAMS = ("/opt", "/nix/store")
_ETC = (
    *(
        "ssl",
        "ca-certificates",
        "ca-certificates.conf",
        "pki",
        "crypto-policies",
        "resolv.conf",
        "hosts",
        "nsswitch.conf",
    ),
    *("services", "protocols", "gai.conf", "localtime", "timezone", "alternatives", "ld.so.cache", "ld.so.conf"),
    *("ld.so.conf.d", "os-release", "mime.types", "terminfo"),
)
# The init's, to become the box's user and to enter that user's private directory; the command has none.
_TO_DROP = ("SETUID", "SETGID", "SETPCAP", "KILL", "DAC_READ_SEARCH")
_MADE = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - the sandbox's own, not the host's


def _memory(content: bytes) -> int:
    file = os.memfd_create("stackly-sandbox")
    os.write(file, content)
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _separation(box: Box, files: list[int]) -> list[str]:
    out = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--new-session", "--as-pid-1", "--cap-drop", "ALL"]
    if os.geteuid() != 0:
        out.append("--unshare-user")
    elif box.uid:
        out += [word for name in _TO_DROP for word in ("--cap-add", f"CAP_{name}")]
    if program := filter_program():
        files.append(_memory(program))
        out += ["--seccomp", str(files[-1])]
    return out


def _system(box: Box, files: list[int]) -> list[str]:
    out = ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"]
    out += ["--perms", "0755", "--dir", "/etc"]  # else of root, and closed
    for shared in ("/dev/shm", *map(str, _MADE)):  # noqa: S108 - the same
        out += ["--perms", "1777", "--tmpfs", shared]
    for name in _LINKED:
        at = Path(name)
        if at.is_symlink():
            out += ["--symlink", str(at.readlink()), name]
        elif at.exists():
            out += ["--ro-bind", name, name]
    # A platform that lives among the programs would be seen with them.
    programs = [name for name in _PROGRAMS if not box.cwd.is_relative_to(name)]
    for name in (*programs, *(f"/etc/{name}" for name in _ETC)):
        out += ["--ro-bind-try", name, name]
    uid, gid = (box.uid, box.uid) if box.uid else (os.getuid(), os.getgid())
    # initdb and others want a user that has a name.
    for name, line in (("passwd", f"stackly:x:{uid}:{gid}::{box.cwd}:/bin/sh\n"), ("group", f"stackly:x:{gid}:\n")):
        files.append(_memory(line.encode()))
        out += ["--perms", "0644", "--ro-bind-data", str(files[-1]), f"/etc/{name}"]
    return out


def _shown(box: Box) -> Iterator[tuple[str, Path]]:
    """Ours and the box's, the outer before the inner: a mount hides what was there."""
    own = dict.fromkeys((Path(sys.base_prefix), INIT, *box.readable), "--ro-bind")
    own |= dict.fromkeys(box.writable, "--bind")
    for path, how in sorted(own.items()):
        if how == "--bind" or not path.is_relative_to("/usr"):
            yield how, path


def always_shown() -> list[Path]:
    """What every box sees and no platform's home may lie below."""
    return [Path("/usr"), *(Path(name) for name in _LINKED), Path(sys.base_prefix)]


def view(box: Box) -> tuple[list[str], list[int]]:
    """Its options, and the descriptors that they name: the caller passes them on and closes them.

    Never --die-with-parent, which is a SIGKILL; never another path inside than outside.
    """
    files: list[int] = []
    out = [*_separation(box, files), *_system(box, files)]
    made: set[Path] = {Path("/"), *_MADE}
    for how, path in _shown(box):
        for parent in [p for p in reversed(path.parents) if p not in made]:
            made.add(parent)
            out += ["--perms", "0755", "--dir", str(parent)]  # else of root, and closed
        out += [how, str(path), str(path)]
        made.add(path)
    return [*out, "--remount-ro", "/", "--chdir", str(box.cwd)], files
