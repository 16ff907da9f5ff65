"""What a commit says of itself, read by git: only git knows every encoding that a commit may name. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from stackly import texts

_SUBJECT: Final = 500
# What people write comes last: whatever it holds, it moves nothing else.
_FIELDS: Final = ("%P", "%at", "%ct", "%an", "%ae", "%cn", "%ce", "%s")
# What git is asked: names as they stand in the commit, texts in UTF-8 whatever they were written in.
ARGS: Final = (
    *("log", "-1", "--no-walk", "--no-patch", "--no-show-signature", "--no-mailmap", "--no-color", "--no-notes"),
    *("--encoding=UTF-8", f"--format=tformat:{'%x00'.join(_FIELDS)}"),
)


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """What cannot be read of a commit is empty, and costs nothing else.

    Units: `authored_at` and `committed_at` in UTC.
    """

    sha: str
    author: Person
    committer: Person
    authored_at: datetime
    committed_at: datetime
    subject: str
    parents: tuple[str, ...]


def read(oid: str, told: bytes) -> CommitInfo:
    """Shape: `told` is what git printed for ARGS. A byte that is no UTF-8 is U+FFFD: nobody can correct it any more."""
    parts = [texts.kept(part.decode("utf-8", "replace")) for part in told.removesuffix(b"\n").split(b"\0", 7)]
    parents, at, by_at, name, email, by, by_email, subject = (*parts, *[""] * (len(_FIELDS) - len(parts)))
    return CommitInfo(
        sha=oid,
        author=Person(name, email),
        committer=Person(by, by_email),
        authored_at=_time(at),
        committed_at=_time(by_at),
        subject=subject.partition("\n")[0][:_SUBJECT],
        parents=tuple(parents.split()),
    )


def _time(seconds: str) -> datetime:
    """A time of no calendar is the beginning of all."""
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)
