"""Lists come in pages: a cursor is the sort key of the last item, opaque to the caller."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel

from stackly import clock
from stackly.errors import Invalid

T = TypeVar("T")
R = TypeVar("R")

DEFAULT_LIMIT = 50
MAX_LIMIT = 200


class CursorInvalid(Invalid):
    title = "This cursor is not one of ours."


class Page(BaseModel, Generic[T]):
    items: list[T]
    next: str | None = None


class Slice:
    """Which part of a list is asked for. Shape: `after` is the key that the last page ended with, or None."""

    def __init__(self, limit: int, after: list[str] | None) -> None:
        self.limit = limit
        self.after = after

    def page(self, found: Sequence[R], view: Callable[[R], T], key: Callable[[R], Sequence[str]]) -> "Page[T]":
        """`found` holds up to one more than `limit`, which tells whether there is more."""
        shown = found[: self.limit]
        more = len(found) > self.limit
        return Page[Any](items=[view(r) for r in shown], next=encode(key(shown[-1])) if more else None)

    def key(self, parts: int = 1) -> list[str] | None:
        """Raises: CursorInvalid when it was made for another list."""
        if self.after is not None and len(self.after) != parts:
            raise CursorInvalid("The cursor belongs to another list.")
        return self.after

    def time_key(self) -> list[str] | None:
        """A time and an id. Raises: CursorInvalid."""
        key = self.key(2)
        try:
            return None if key is None else [clock.parse(key[0]).isoformat(), key[1]]
        except (ValueError, OverflowError):
            raise CursorInvalid("The cursor belongs to another list.") from None

    def number_key(self) -> int | None:
        """Raises: CursorInvalid."""
        key = self.key()
        if key is None:
            return None
        if not key[0].isascii() or not key[0].isdigit() or len(key[0]) > 18:
            raise CursorInvalid("The cursor belongs to another list.")
        return int(key[0])


def encode(key: Sequence[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(key), separators=(",", ":")).encode()).decode().rstrip("=")


def decode(cursor: str) -> list[str]:
    """Raises: CursorInvalid."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        found = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        raise CursorInvalid("Use the `next` of the page before, as it is.") from None
    if not isinstance(found, list) or not all(isinstance(p, str) and "\x00" not in p for p in found):
        raise CursorInvalid("Use the `next` of the page before, as it is.")
    return found


def asked(
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> Slice:
    return Slice(limit, decode(cursor) if cursor else None)


Asked = Annotated[Slice, Depends(asked)]
