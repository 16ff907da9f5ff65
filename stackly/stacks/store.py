"""SQL of repositories, refs, stack codes and states: rows in, frozen models out."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import RowMapping

from stackly.db import Session
from stackly.errors import Conflict, NotFound
from stackly.ids import AccountId, RepoId, StackId, new_id
from stackly.stacks.model import Repo, StackCode, StackState, state_key


class RepoNotFound(NotFound):
    title = "There is no such repository."


class StackNotFound(NotFound):
    title = "There is no such stack."


class StateNotFound(NotFound):
    title = "There is no such stack state."


class RefMoved(Conflict):
    title = "Another sync has processed this ref already."


def _repo(row: RowMapping) -> Repo:
    return Repo(
        RepoId(row["id"]),
        AccountId(row["account"]),
        row["github_id"],
        row["full_name"],
        row["clone_url"],
        row["default_branch"],
        row["status"],
        row["hook"],
        owner_id=row["owner_id"],
        former_default=row["former_default"],
    )


def _code(row: RowMapping) -> StackCode:
    return StackCode(
        id=StackId(row["id"]),
        account=AccountId(row["account"]),
        repo=RepoId(row["repo"]),
        ref=row["ref"],
        path=row["path"],
        name=row["name"],
        tree=row["tree"],
        commit=row["commit"],
        bundle=row["bundle"],
        kind=row["kind"],
        config=row["config"],
        errors=tuple(row["errors"]),
        warnings=tuple(row["warnings"]),
        status=row["status"],
        reason=row["reason"],
        moved_from=row["moved_from"],
        registered_at=row["registered_at"],
        requires=None if row["requires"] is None else tuple(row["requires"]),
    )


_STATE_FIELDS = (
    "id",
    "account",
    "code",
    "name",
    "key",
    "commit",
    "status",
    "epoch",
    "holder",
    "serial",
    "lineage",
    "agent",
    "target",
    "parent_operation",
    "test",
    "variables",
    "since",
    "reason",
    "successor",
    "destroy_at",
)


def _state(row: RowMapping) -> StackState:
    return StackState(**{name: row[name] for name in _STATE_FIELDS})


async def get_repo(session: Session, repo: str, *, lock: bool = False) -> Repo:
    rows = await session.execute(
        text(f"SELECT * FROM repos WHERE id = :id {'FOR UPDATE' if lock else ''}"),
        {"id": repo},
    )
    row = rows.mappings().one_or_none()
    if row is None:
        raise RepoNotFound(repo=repo)
    return _repo(row)


async def insert_repo(
    session: Session,
    account: str,
    *,
    github_id: int,
    full_name: str,
    clone_url: str,
    default_branch: str,
    hook: str,
    owner_id: int | None = None,
) -> Repo:
    """Add a repository, or bring its names up to date: the numeric id is what it is."""
    rows = await session.execute(
        text(
            "INSERT INTO repos (id, account, github_id, full_name, clone_url, default_branch, hook,"
            " owner_id) VALUES (:id, :account, :github_id, :full_name, :clone_url, :default_branch, :hook, :owner_id)"
            " ON CONFLICT (account, github_id) DO UPDATE SET full_name = excluded.full_name,"
            " clone_url = excluded.clone_url, default_branch = excluded.default_branch, status = 'active',"
            " owner_id = coalesce(excluded.owner_id, repos.owner_id),"
            " former_default = CASE WHEN repos.default_branch = excluded.default_branch THEN repos.former_default"
            "   ELSE nullif(coalesce(repos.former_default, repos.default_branch), excluded.default_branch) END"
            " RETURNING *"
        ),
        {
            "id": new_id(),
            "account": account,
            "github_id": github_id,
            "full_name": full_name,
            "clone_url": clone_url,
            "default_branch": default_branch,
            "hook": hook,
            "owner_id": owner_id,
        },
    )
    return _repo(rows.mappings().one())


async def set_repo_reason(session: Session, repo: str, reason: str | None) -> None:
    await session.execute(
        text("UPDATE repos SET reason = :reason WHERE id = :id AND reason IS DISTINCT FROM :reason"),
        {"id": repo, "reason": reason},
    )


async def processed_refs(session: Session, repo: str) -> dict[str, tuple[str | None, int]]:
    """Shape: ref -> (commit processed last, generation)."""
    rows = await session.execute(
        text("SELECT ref, last_processed, generation FROM repo_refs WHERE repo = :repo"), {"repo": repo}
    )
    return {r.ref: (r.last_processed, r.generation) for r in rows}


async def advance_ref(
    session: Session, repo: str, ref: str, *, seen: tuple[str | None, int], commit: str | None
) -> int:
    """Compare and set: the first statement of a sync's transaction (engine rule 5). Returns the new generation.

    Raises: RefMoved when another attempt was first.
    """
    await session.execute(
        text("INSERT INTO repo_refs (repo, ref, generation) VALUES (:repo, :ref, 0) ON CONFLICT DO NOTHING"),
        {"repo": repo, "ref": ref},
    )
    rows = await session.execute(
        text(
            "UPDATE repo_refs SET last_processed = :commit, generation = generation + 1, gone_since = NULL,"
            " reason = NULL, updated_at = clock_timestamp()"
            " WHERE repo = :repo AND ref = :ref AND generation = :generation"
            " AND last_processed IS NOT DISTINCT FROM :last RETURNING generation"
        ),
        {"repo": repo, "ref": ref, "commit": commit, "last": seen[0], "generation": seen[1]},
    )
    generation: int | None = rows.scalar_one_or_none()
    if generation is None:
        raise RefMoved(repo=repo, ref=ref)
    return generation


async def get_code(session: Session, code: str, *, account: str | None = None, lock: bool = False) -> StackCode:
    rows = await session.execute(
        text(
            "SELECT * FROM stack_codes WHERE id = :id AND (CAST(:account AS text) IS NULL OR account = :account)"
            + (" FOR UPDATE" if lock else "")
        ),
        {"id": code, "account": account},
    )
    row = rows.mappings().one_or_none()
    if row is None:
        raise StackNotFound(stack=code)
    return _code(row)


async def set_code_status(session: Session, code: str, status: str, reason: str | None) -> None:
    await session.execute(
        text(
            "UPDATE stack_codes SET status = :status, reason = :reason, updated_at = clock_timestamp() WHERE id = :id"
        ),
        {"id": code, "status": status, "reason": reason},
    )


async def ensure_state(session: Session, code: StackCode, name: str = "default") -> StackState:
    """The long-lived state of that name, locked; made when it is not there."""
    state = new_id()
    await session.execute(
        text(
            "INSERT INTO stack_states (id, account, code, name, key) VALUES (:id, :account, :code, :name, :key)"
            " ON CONFLICT (code, name) WHERE test IS NULL DO NOTHING"
        ),
        {
            "id": state,
            "account": code.account,
            "code": code.id,
            "name": name,
            "key": state_key(code.account, state),
        },
    )
    rows = await session.execute(
        text("SELECT * FROM stack_states WHERE code = :code AND name = :name AND test IS NULL FOR UPDATE"),
        {"code": code.id, "name": name},
    )
    return _state(rows.mappings().one())


async def insert_test_state(
    session: Session, *, account: str, code: str, run: str, test: str, commit: str, agent: str, target: str
) -> StackState:
    """A test's own short-lived state, at epoch 1 and held by its run. Asking again returns the same one."""
    state = new_id()
    await session.execute(
        text(
            "INSERT INTO stack_states (id, account, code, name, key, commit, status, epoch, holder, agent, target,"
            " parent_operation, test) VALUES (:id, :account, :code, :name, :key, :commit, 'active', 1, :run, :agent,"
            " :target, :run, :test) ON CONFLICT (parent_operation, test) DO NOTHING"
        ),
        {
            "id": state,
            "account": account,
            "code": code,
            "name": f"{run}/{test}",
            "key": state_key(account, state),
            "commit": commit,
            "agent": agent,
            "target": target,
            "run": run,
            "test": test,
        },
    )
    rows = await session.execute(
        text("SELECT * FROM stack_states WHERE parent_operation = :run AND test = :test FOR UPDATE"),
        {"run": run, "test": test},
    )
    return _state(rows.mappings().one())


async def get_state(session: Session, state: str, *, lock: bool = False) -> StackState:
    rows = await session.execute(
        text(f"SELECT * FROM stack_states WHERE id = :id {'FOR UPDATE' if lock else ''}"),
        {"id": state},
    )
    row = rows.mappings().one_or_none()
    if row is None:
        raise StateNotFound(state=state)
    return _state(row)


async def lock_states(session: Session, states: Sequence[str]) -> dict[str, StackState]:
    """Locks in ascending order of ids (engine rule 10)."""
    rows = await session.execute(
        text("SELECT * FROM stack_states WHERE id = ANY(:ids) ORDER BY id FOR UPDATE"), {"ids": list(states)}
    )
    return {r["id"]: _state(r) for r in rows.mappings()}


async def states_of(session: Session, code: str) -> list[StackState]:
    rows = await session.execute(
        text("SELECT * FROM stack_states WHERE code = :code AND test IS NULL ORDER BY id FOR UPDATE"),
        {"code": code},
    )
    return [_state(r) for r in rows.mappings()]


async def take_state(session: Session, state: str, run: str) -> int:
    """Give the state to a run: epoch + 1, and that run as its holder. Returns the new epoch."""
    rows = await session.execute(
        text("UPDATE stack_states SET epoch = epoch + 1, holder = :run WHERE id = :id RETURNING epoch"),
        {"id": state, "run": run},
    )
    epoch: int = rows.scalar_one()
    return epoch


async def update_state(session: Session, state: str, **values: Any) -> None:
    """Shape: values of commit, agent, target, variables. A status is written by `lifecycle.move_state` only."""
    allowed = {"commit", "agent", "target", "variables"}
    if not values or set(values) - allowed:
        raise ValueError(f"cannot set {sorted(set(values) - allowed)}")
    sets = ", ".join(
        f"{name} = CAST(:{name} AS jsonb)" if name == "variables" else f"{name} = :{name}" for name in values
    )
    given: Mapping[str, Any] = {k: json.dumps(v) if k == "variables" else v for k, v in values.items()}
    await session.execute(
        text(f"UPDATE stack_states SET {sets} WHERE id = :id"),
        {"id": state, **given},
    )
