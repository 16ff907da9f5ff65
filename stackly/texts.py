"""Text that others wrote: what may be kept, and how it is shown. Pure.

U+0000 and lone surrogates are kept nowhere: databases and JSON readers refuse them. Everything else is a character like
any other, U+2028 and U+0085 too; what would break or steer a line is escaped where a line is shown, and only there.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_UNKEPT: Final = "[\x00\ud800-\udfff]"
# Line breaks of every kind, other controls, what turns the direction of writing, and what is not kept anyway.
_UNSHOWN: Final = "[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
_BYTES: Final = range(0xDC80, 0xDD00)
_DEEPEST: Final = 200


def flaw(text: str) -> str | None:
    """Why a text cannot be kept, as the end of a sentence; None when it can."""
    if text.isprintable():  # most are, and a command that meets no other compiles no expression
        return None
    found = re.search(_UNKEPT, text)
    if found is None:
        return None
    return "holds the character U+0000" if found[0] == "\0" else "is not valid Unicode: it holds half a surrogate pair"


def decoded(raw: bytes) -> str | None:
    """UTF-8 that can be kept; None for other bytes."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def legible(raw: bytes) -> str:
    r"""Any bytes as text that can be kept: those that are no UTF-8 as `\xNN`."""
    return raw.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def kept(text: str) -> str:
    """What nobody can be asked to correct any more, as a commit's message: what cannot be kept is U+FFFD in it."""
    return text if text.isprintable() else re.sub(_UNKEPT, "\N{REPLACEMENT CHARACTER}", text)


def kept_all(value: Any) -> Any:
    """The same for every text in a value of JSON's kinds."""
    if isinstance(value, str):
        return kept(value)
    if isinstance(value, Mapping):
        return {kept(str(name)): kept_all(inside) for name, inside in value.items()}
    return [kept_all(inside) for inside in value] if isinstance(value, list | tuple) else value


def shown(text: str) -> str:
    r"""On one line, of what steers nothing. Shape: bytes that came as surrogates are `\xNN`."""
    return text if text.isprintable() else re.sub(_UNSHOWN, _escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code in _BYTES:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def flaws(value: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every text in a value of JSON's kinds that cannot be kept, names of members too. Shape: (JSON Pointer, why)."""
    if isinstance(value, str):
        if why := flaw(value):
            yield place, why
    elif depth > _DEEPEST:
        yield place, "is nested too deeply"
    elif isinstance(value, Mapping):
        for name, inside in value.items():
            told = kept(str(name)).replace("~", "~0").replace("/", "~1")
            if why := flaw(str(name)):
                yield f"{place}/{told}", f"is a name that {why}"
            yield from flaws(inside, f"{place}/{told}", depth + 1)
    elif isinstance(value, list | tuple):
        for n, inside in enumerate(value):
            yield from flaws(inside, f"{place}/{n}", depth + 1)
