"""Read what pushed code may have written: without following a link, without waiting, within bounds.

The platform's agent reads with more rights than the code that wrote the file. So a name is opened component by
component below a directory that only the agent writes, no component may be a link, and what is opened must be a
regular file of one name.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stackly.errors import Invalid

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# NONBLOCK: opening a FIFO would wait for its other end for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LINKED = (errno.ELOOP, errno.ENOTDIR)


class FileUnsafe(Invalid):
    """Something else than a plain file has that name: it is never read."""

    title = "A file that the run's code could write is not what it must be."


@contextmanager
def _folder(trusted: Path, parts: tuple[str, ...], whole: Path) -> Iterator[int]:
    """Raises: FileNotFoundError; FileUnsafe where a component is no directory."""
    at = os.open(trusted, _FOLDER & ~os.O_NOFOLLOW)
    try:
        for part in parts:
            inner = _opened(part, _FOLDER, at, whole)
            os.close(at)
            at = inner
        yield at
    finally:
        os.close(at)


def _opened(name: str, flags: int, folder: int, whole: Path) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _LINKED:
            why = "it, or a directory above it, is a link or no directory"
        else:
            why = error.strerror or "it cannot be opened"
        raise FileUnsafe(f"{whole} is not read: {why}. Code that runs here may not replace it.") from None


def _check(found: os.stat_result, most: int, path: Path) -> None:
    """Raises: FileUnsafe."""
    if not stat.S_ISREG(found.st_mode):
        raise FileUnsafe(f"{path} is not read: it is no regular file. Code that runs here may not replace it.")
    if found.st_nlink > 1:
        raise FileUnsafe(
            f"{path} is not read: it is a second name of another file. Code that runs here may not link it."
        )
    if found.st_size > most:
        raise FileUnsafe(f"{path} is not read: it has {found.st_size} bytes, and {most} are the most.")


@contextmanager
def open_regular(trusted: Path, path: Path, *, most: int) -> Iterator[int]:
    """A descriptor of the file `path`, which lies below `trusted`, a directory that only the agent writes.

    Units: `most` in bytes. Raises: FileNotFoundError; FileUnsafe for a link, a FIFO, a device, a directory, a second
    name of another file, and what is larger.
    """
    *folders, name = path.relative_to(trusted).parts
    if ".." in (*folders, name):
        raise FileUnsafe(f"{path} is not read: it leads out of {trusted}.")
    with _folder(trusted, tuple(folders), path) as folder:
        file = _opened(name, _FILE, folder, path)
    try:
        _check(os.fstat(file), most, path)
        yield file
    finally:
        os.close(file)


def read_regular(trusted: Path, path: Path, *, most: int) -> bytes:
    """The content, as `open_regular` finds it. Raises: FileNotFoundError; FileUnsafe, also for what grows meanwhile."""
    with open_regular(trusted, path, most=most) as file, os.fdopen(os.dup(file), "rb") as source:
        content = source.read(most + 1)
    if len(content) > most:
        raise FileUnsafe(f"{path} is not read: it grew past {most} bytes.")
    return content


def stands(trusted: Path, path: Path) -> bool:
    """Whether anything has that name; a link counts, and is not followed."""
    *folders, name = path.relative_to(trusted).parts
    try:
        with _folder(trusted, tuple(folders), path) as folder:
            os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except FileUnsafe:
        return True
    return True
