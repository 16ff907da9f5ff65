"""SQL of how repositories are reached on GitHub: by which installation, and when each is looked at next."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from stackly.db import Session
from stackly.ids import RepoId


@dataclass(frozen=True, slots=True)
class Connection:
    """Shape: `installation` is GitHub's number of it, None where no App reaches the repository."""

    repo: RepoId
    account: str
    installation: int | None


async def find_repo(session: Session, account: str, github_id: int) -> RepoId | None:
    """The repository of that number: what it is called may change, and may become another's name."""
    found = await session.execute(
        text("SELECT id FROM repos WHERE account = :account AND github_id = :github_id"),
        {"account": account, "github_id": github_id},
    )
    repo: str | None = found.scalar_one_or_none()
    return RepoId(repo) if repo else None


async def number_of(session: Session, repo: str) -> int | None:
    """GitHub's number of a repository of ours."""
    found = await session.execute(text("SELECT github_id FROM repos WHERE id = :repo"), {"repo": repo})
    number: int | None = found.scalar_one_or_none()
    return number


async def another_of(session: Session, account: str, full_name: str, github_id: int) -> str | None:
    """The repository that is connected under this name and has another number."""
    found = await session.execute(
        text(
            "SELECT id FROM repos WHERE account = :account AND lower(full_name) = lower(:name) AND github_id <> :n"
            " LIMIT 1"
        ),
        {"account": account, "name": full_name, "n": github_id},
    )
    repo: str | None = found.scalar_one_or_none()
    return repo


async def connect(session: Session, account: str, repo: str, installation: int | None) -> None:
    """Note by which installation a repository is reached; without one that is known, what is known stays.

    The repository's own row is locked first, as by everybody: a new row here refers to it.
    """
    await session.execute(text("SELECT 1 FROM repos WHERE id = :repo FOR UPDATE"), {"repo": repo})
    await session.execute(
        text(
            "INSERT INTO connections (repo, account, installation) VALUES (:repo, :account, :installation)"
            " ON CONFLICT (repo) DO UPDATE SET installation = coalesce(excluded.installation, connections.installation)"
        ),
        {"repo": repo, "account": account, "installation": installation},
    )


async def connection(session: Session, account: str, repo: str) -> Connection:
    """As it is noted; one that nobody noted is made."""
    asked = text("SELECT repo, account, installation FROM connections WHERE repo = :r")
    row = (await session.execute(asked, {"r": repo})).one_or_none()
    if row is None:
        await connect(session, account, repo, None)
        row = (await session.execute(asked, {"r": repo})).one()
    return Connection(RepoId(row.repo), row.account, row.installation)


async def confirm(session: Session, repo: str) -> None:
    """GitHub has said by its number what a repository is called. Who changes the repository's row locked it before."""
    await session.execute(
        text("UPDATE connections SET confirmed_at = clock_timestamp() WHERE repo = :repo"), {"repo": repo}
    )


async def confirmed_at(session: Session, repo: str) -> datetime | None:
    """When GitHub said that last."""
    found = await session.execute(text("SELECT confirmed_at FROM connections WHERE repo = :repo"), {"repo": repo})
    at: datetime | None = found.scalar_one_or_none()
    return at


async def connected_by(session: Session, account: str, installation: int) -> list[RepoId]:
    """The repositories that an installation reached when they were looked at last."""
    found = await session.execute(
        text("SELECT repo FROM connections WHERE account = :account AND installation = :n ORDER BY repo"),
        {"account": account, "n": installation},
    )
    return [RepoId(r) for r in found.scalars()]


async def take_due(session: Session, account: str, *, limit: int, hold: timedelta) -> list[RepoId]:
    """The repositories whose turn it is, the longest waiting first; each is this caller's for `hold`."""
    await session.execute(
        text(
            "INSERT INTO connections (repo, account) SELECT r.id, r.account FROM repos r"
            " WHERE r.account = :account AND NOT EXISTS (SELECT 1 FROM connections c WHERE c.repo = r.id)"
            " ON CONFLICT DO NOTHING"
        ),
        {"account": account},
    )
    found = await session.execute(
        text(
            "UPDATE connections SET look_at = clock_timestamp() + :hold WHERE repo IN ("
            " SELECT repo FROM connections WHERE account = :account AND look_at <= clock_timestamp()"
            " ORDER BY look_at, repo LIMIT :limit FOR UPDATE SKIP LOCKED) RETURNING repo"
        ),
        {"account": account, "limit": limit, "hold": hold},
    )
    return sorted(RepoId(r) for r in found.scalars())


async def looked(session: Session, repo: str, *, again_in: timedelta, reason: str | None) -> None:
    """A look is over; `reason` says why it failed."""
    await session.execute(
        text(
            "UPDATE connections SET looked_at = clock_timestamp(), look_at = clock_timestamp() + :again,"
            " reason = :reason WHERE repo = :repo"
        ),
        {"repo": repo, "again": again_in, "reason": reason},
    )
