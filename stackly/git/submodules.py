"""Tricks in `.gitmodules`, for mirrors whose fetch could not look into it. Pure: fed with git's listing of the file."""

import re

_NEWLINE = re.compile(rb"[\r\n]|%0[ad]", re.IGNORECASE)
_UP = re.compile(rb"(^|[/\\])\.\.($|[/\\])")


def trick(listing: bytes) -> str | None:
    """What is wrong with the file, as `git config --list -z` shows it; None when nothing is.

    The rules are those of git's own check on arrival. Submodules are never followed; this is the second wall.
    """
    for item in listing.split(b"\0"):
        key, _, value = item.partition(b"\n")
        section, _, rest = key.partition(b".")
        name, _, variable = rest.rpartition(b".")
        if section != b"submodule":
            continue
        if _UP.search(name):
            return "A submodule's name leaves its directory."
        if variable in (b"url", b"path") and value.startswith(b"-"):
            return f"A submodule's {variable.decode()} would be taken for an option."
        if variable == b"url" and _NEWLINE.search(value):
            return "A submodule's url holds a line break."
        if variable == b"update" and value.startswith(b"!"):
            return "A submodule brings a command of its own."
    return None
