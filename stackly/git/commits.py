"""What a commit says of itself: GitPython reads its shape, git its texts, in whatever encoding they are."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import git

from stackly import log, texts

_log = log.get("git")

_SUBJECT: Final = 500
# What people write comes last: whatever it holds, it moves nothing else.
_FIELDS: Final = ("%an", "%ae", "%cn", "%ce", "%s")
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


@dataclass(frozen=True, slots=True)
class _Shape:
    authored_at: datetime
    committed_at: datetime
    parents: tuple[str, ...]


def read(mirror: Path, oid: str, said: bytes) -> CommitInfo:
    """Blocks. Shape: `said` is what git printed for ARGS. A byte that is no UTF-8 is U+FFFD: nobody can correct it."""
    parts = [texts.kept(p.decode("utf-8", "replace")) for p in said.removesuffix(b"\n").split(b"\0", len(_FIELDS) - 1)]
    name, email, by, by_email, subject = (*parts, *[""] * (len(_FIELDS) - len(parts)))
    shape = _shape(mirror, oid)
    return CommitInfo(
        sha=oid,
        author=Person(name, email),
        committer=Person(by, by_email),
        authored_at=shape.authored_at,
        committed_at=shape.committed_at,
        subject=subject.partition("\n")[0][:_SUBJECT],
        parents=shape.parents,
    )


def _shape(mirror: Path, oid: str) -> _Shape:
    """By the full id, from the local mirror, never from upstream. A time of no calendar is the beginning of all."""
    try:
        with git.Repo(mirror) as repo:
            repo.git.update_environment(
                GIT_DIR=str(mirror), GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL="/dev/null", GIT_NO_LAZY_FETCH="1"
            )
            commit = git.Commit(repo, bytes.fromhex(oid))
            parents = tuple(parent.hexsha for parent in commit.parents)
            return _Shape(_time(commit.authored_date), _time(commit.committed_date), parents)
    except (git.GitError, ValueError, OverflowError, LookupError) as error:
        _log.warning("commit.unreadable", commit=oid, error=type(error).__name__)
        return _Shape(_time(0), _time(0), ())


def _time(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)
