"""SQL of a sync: many stacks of one ref at once. However many there are, a step is one statement."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from stackly.db import Session
from stackly.ids import new_id
from stackly.stacks.model import FoundStack, Repo, StackCode, StackState, state_key
from stackly.stacks.store import _code, _state

_LIVE = "status IN ('active','rejected')"
_CODE = (
    "id text, path text, name text, tree text, commit text, bundle text, kind text, config jsonb, errors jsonb,"
    " warnings jsonb,"
    " requires jsonb, status text, reason text, moved_from text"
)


@dataclass(frozen=True, slots=True)
class Registered:
    """What the registry says of a place, in short."""

    key: str
    name: str
    rejected: bool


async def keys(session: Session, repo: str, ref: str) -> dict[str, str]:
    """The content of every stack that stands in a ref, by path: one value, since a row each would cost more to read."""
    rows = await session.execute(
        text(
            f"SELECT json_object_agg(path, tree)::text FROM stack_codes WHERE repo = :repo AND ref = :ref AND {_LIVE}"
        ),
        {"repo": repo, "ref": ref},
    )
    found: dict[str, str] = json.loads(rows.scalar_one() or "{}")
    return found


async def places(session: Session, repo: str, ref: str, paths: Iterable[str]) -> dict[str, Registered]:
    """The stacks that stand at these paths."""
    rows = await session.execute(
        text(
            "SELECT path, tree, name, status = 'rejected' AS rejected FROM stack_codes"
            f" WHERE repo = :repo AND ref = :ref AND path = ANY(:paths) AND {_LIVE}"
        ),
        {"repo": repo, "ref": ref, "paths": sorted(paths)},
    )
    return {r.path: Registered(r.tree, r.name, r.rejected) for r in rows}


async def paths_on(session: Session, repo: str, ref: str, commits: Iterable[str]) -> set[str]:
    """Where the stacks stand that were brought in by one of these commits."""
    rows = await session.execute(
        text(f"SELECT path FROM stack_codes WHERE repo = :repo AND ref = :ref AND commit = ANY(:commits) AND {_LIVE}"),
        {"repo": repo, "ref": ref, "commits": sorted(commits)},
    )
    return set(rows.scalars())


async def codes_at(session: Session, repo: str, ref: str, paths: Iterable[str]) -> dict[str, StackCode]:
    """The stacks that stand at these paths, locked in the order of their ids."""
    rows = await session.execute(
        text(
            f"SELECT * FROM stack_codes WHERE repo = :repo AND ref = :ref AND path = ANY(:paths) AND {_LIVE}"
            " ORDER BY id FOR UPDATE"
        ),
        {"repo": repo, "ref": ref, "paths": sorted(paths)},
    )
    return {r["path"]: _code(r) for r in rows.mappings()}


async def plain_codes(session: Session, repo: str, ref: str, *, lock: bool = False) -> list[StackCode]:
    """The plain stacks of a ref: of each path the one that stands there, else a loose one that went nowhere so far."""
    rows = await session.execute(
        text(
            "SELECT * FROM stack_codes c WHERE repo = :repo AND ref = :ref AND kind = 'plain'"
            " AND (status IN ('active','rejected') OR status = 'loose' AND NOT EXISTS ("
            "   SELECT 1 FROM stack_codes n WHERE n.moved_from = c.id AND n.status IN ('active','rejected')))"
            f" ORDER BY id {'FOR UPDATE' if lock else ''}"
        ),
        {"repo": repo, "ref": ref},
    )
    found = [_code(r) for r in rows.mappings()]
    standing = {c.path for c in found if c.status != "loose"}
    return [c for c in found if c.status != "loose" or c.path not in standing]


async def loose_at(
    session: Session, repo: str, ref: str, paths: Iterable[str], *, leaving: Iterable[str]
) -> dict[str, StackCode]:
    """Loose stacks that stood at these paths, locked; without those that went to a place which nobody is `leaving`.

    Who comes back to such a path is that stack again.
    """
    rows = await session.execute(
        text(
            "SELECT * FROM stack_codes c WHERE repo = :repo AND ref = :ref AND path = ANY(:paths) AND status = 'loose'"
            " AND NOT EXISTS (SELECT 1 FROM stack_codes n WHERE n.moved_from = c.id"
            "   AND n.status IN ('active','rejected') AND n.id <> ALL(:leaving)) ORDER BY id FOR UPDATE"
        ),
        {"repo": repo, "ref": ref, "paths": sorted(paths), "leaving": sorted(leaving)},
    )
    return {r["path"]: _code(r) for r in rows.mappings()}


async def twin(session: Session, gone: StackCode) -> StackCode | None:
    """A stack that came later, has the same content and is not known to come from anywhere: the copy that stayed."""
    rows = await session.execute(
        text(
            "SELECT * FROM stack_codes WHERE repo = :repo AND ref = :ref AND tree = :tree AND status = 'active'"
            " AND moved_from IS NULL AND id <> :id AND registered_at >= :at ORDER BY path LIMIT 1 FOR UPDATE"
        ),
        {"repo": gone.repo, "ref": gone.ref, "tree": gone.tree, "id": gone.id, "at": gone.registered_at},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else _code(row)


async def set_moved_from(session: Session, code: str, origin: str) -> None:
    await session.execute(
        text("UPDATE stack_codes SET moved_from = :origin WHERE id = :id"), {"id": code, "origin": origin}
    )


async def leave_places(session: Session, codes: Iterable[str]) -> None:
    """Others may come to where these stood; what becomes of them is decided next."""
    await session.execute(
        text("UPDATE stack_codes SET status = 'loose', updated_at = clock_timestamp() WHERE id = ANY(:ids)"),
        {"ids": sorted(codes)},
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """A stack as a commit has it. Shape: `code` is the row it is from now on, None for a new one."""

    found: FoundStack
    code: str | None
    moved_from: str | None


async def write_codes(
    session: Session, repo: Repo, ref: str, commit: str, standing: Sequence[Standing]
) -> dict[str, StackCode]:
    """Register, update, move or reject. Shape: by path."""
    told = [_told(s, commit) for s in standing]
    rows = await session.execute(
        text(
            "INSERT INTO stack_codes (id, account, repo, ref, path, name, tree, commit, bundle, kind, config, errors,"
            " warnings, requires, status, reason, moved_from)"
            " SELECT id, :account, :repo, :ref, path, name, tree, commit, bundle, kind, config, errors, warnings,"
            " requires, status, reason, moved_from"
            f" FROM jsonb_to_recordset(CAST(:told AS jsonb)) AS x({_CODE}) ORDER BY id"
            " ON CONFLICT (id) DO UPDATE SET name = excluded.name, tree = excluded.tree, commit = excluded.commit,"
            " bundle = coalesce(excluded.bundle, stack_codes.bundle), kind = excluded.kind, config = excluded.config,"
            " errors = excluded.errors, warnings = excluded.warnings, requires = excluded.requires,"
            " status = excluded.status, reason = excluded.reason,"
            " moved_from = coalesce(excluded.moved_from, stack_codes.moved_from),"
            " updated_at = clock_timestamp() RETURNING *"
        ),
        {"account": repo.account, "repo": repo.id, "ref": ref, "told": json.dumps(told)},
    )
    return {r["path"]: _code(r) for r in rows.mappings()}


def _told(standing: Standing, commit: str) -> dict[str, Any]:
    found = standing.found
    return {
        "id": standing.code or new_id(),
        "path": found.path,
        "name": found.name,
        "tree": found.tree_key,
        "commit": commit,
        "bundle": found.bundle,
        "kind": found.kind,
        "config": dict(found.config),
        "errors": [dict(e) for e in found.errors],
        "warnings": [dict(w) for w in found.warnings],
        "requires": None if found.requires is None else list(found.requires),
        "status": "rejected" if found.errors else "active",
        "reason": str(found.errors[0].get("message")) if found.errors else None,
        "moved_from": standing.moved_from,
    }


@dataclass(frozen=True, slots=True)
class Declared:
    """A long-lived state as a stack's configuration has it."""

    code: StackCode
    name: str
    variables: Mapping[str, Any]
    metadata: Mapping[str, Any]


async def ensure_states(session: Session, declared: Iterable[Declared]) -> dict[tuple[str, str], StackState]:
    """Make the states that are not there, and note what is declared of each.

    Shape: (stack, name) -> state, locked in the order of their ids.
    """
    told, wanted = [], set[tuple[str, str]]()
    for each in declared:
        state = new_id()
        wanted.add((each.code.id, each.name))
        told.append(
            {
                "id": state,
                "account": each.code.account,
                "code": each.code.id,
                "name": each.name,
                "key": state_key(each.code.account, state),
                "variables": dict(each.variables),
                "metadata": dict(each.metadata),
            }
        )
    given = {"told": json.dumps(told)}
    columns = "id text, account text, code text, name text, key text, variables jsonb, metadata jsonb"
    source = f"jsonb_to_recordset(CAST(:told AS jsonb)) AS x({columns})"
    await session.execute(
        text(
            "INSERT INTO stack_states AS s (id, account, code, name, key, variables, metadata)"
            f" SELECT id, account, code, name, key, variables, metadata FROM {source}"
            " ON CONFLICT (code, name) WHERE test IS NULL DO UPDATE"
            " SET variables = excluded.variables, metadata = excluded.metadata"
            " WHERE (s.variables, s.metadata) IS DISTINCT FROM (excluded.variables, excluded.metadata)"
        ),
        given,
    )
    rows = await session.execute(
        # By two lists, which the index serves however many states there are; a list of pairs is compared with them all.
        text(
            "SELECT * FROM stack_states WHERE test IS NULL AND code = ANY(:codes) AND name = ANY(:names)"
            " ORDER BY id FOR UPDATE"
        ),
        {"codes": sorted({code for code, _ in wanted}), "names": sorted({name for _, name in wanted})},
    )
    return {(r["code"], r["name"]): _state(r) for r in rows.mappings() if (r["code"], r["name"]) in wanted}


async def named_states(session: Session, codes: Iterable[str]) -> list[StackState]:
    """The long-lived states of these stacks but for the default ones, locked in the order of their ids."""
    rows = await session.execute(
        text(
            "SELECT * FROM stack_states WHERE code = ANY(:codes) AND test IS NULL AND name <> 'default'"
            " ORDER BY id FOR UPDATE"
        ),
        {"codes": sorted(codes)},
    )
    return [_state(r) for r in rows.mappings()]


async def next_seqs(session: Session, states: Iterable[str]) -> Mapping[str, int]:
    """The order of runs of a state comes from here, under its row lock (engine rule 4)."""
    rows = await session.execute(
        text("UPDATE stack_states SET next_seq = next_seq + 1 WHERE id = ANY(:ids) RETURNING id, next_seq - 1 AS seq"),
        {"ids": sorted(states)},
    )
    return {r.id: r.seq for r in rows}


async def watching(session: Session, repo: str, ref: str) -> str:
    """The valid stacks of a ref with `trigger.paths`: one look at an index that holds only those.

    Shape: a JSON array of [path, patterns], by path; equal texts are equal answers.
    """
    rows = await session.execute(
        text(
            "SELECT json_agg(json_build_array(path, config #> '{trigger,paths}') ORDER BY path)::text FROM stack_codes"
            " WHERE repo = :repo AND ref = :ref AND status = 'active' AND config #> '{trigger,paths,0}' IS NOT NULL"
        ),
        {"repo": repo, "ref": ref},
    )
    return str(rows.scalar_one() or "[]")
