"""SQL of making runs, for many states at once."""

import json
from collections.abc import Iterable, Sequence

from sqlalchemy import text

from stackly.db import Session
from stackly.ids import new_id
from stackly.runs.model import PRIORITY, NewRun, Run, Waiting
from stackly.runs.store import OPEN, as_run

_COLUMNS = (
    "id text, account text, parent text, code text, state text, kind text, slot text, cause text, generation int8,"
    " seq int8, priority int, digest text, branch text, commit text, trigger jsonb, spec jsonb, agent text,"
    " reason text, blocker text, waiting text, deadline timestamptz, next_check timestamptz"
)


async def replaceable(session: Session, slots: Iterable[tuple[str, str]]) -> list[Run]:
    """Push-caused runs of these (state, slot) which a newer push replaces: not admitted, or a deploy before its gate.

    Locked in the order of their ids.
    """
    told = json.dumps([{"state": state, "slot": slot} for state, slot in slots])
    rows = await session.execute(
        text(
            f"SELECT * FROM operations WHERE {OPEN} AND (state, slot) IN"
            " (SELECT state, slot FROM jsonb_to_recordset(CAST(:told AS jsonb)) AS x(state text, slot text))"
            " AND (epoch IS NULL OR (kind IN ('deploy','preview') AND status IN ('planning','awaiting_approval')))"
            " ORDER BY id FOR UPDATE"
        ),
        {"told": told},
    )
    return [as_run(r) for r in rows.mappings()]


async def insert_runs(session: Session, new: Sequence[tuple[NewRun, int]], waiting: Waiting) -> list[Run]:
    """Queued runs, each with its seq; none where (state, generation, cause) has one. The slots were freed before."""
    rows = await session.execute(
        text(
            "INSERT INTO operations (id, account, parent, code, state, kind, slot, cause, generation, seq, priority,"
            " status, digest, branch, commit, trigger, spec, agent, reason, blocker, waiting_reason, deadline,"
            " next_check) SELECT id, account, parent, code, state, kind, slot, cause, generation, seq, priority,"
            " 'queued', digest, branch, commit, trigger, spec, agent, reason, blocker, waiting, deadline, next_check"
            f" FROM jsonb_to_recordset(CAST(:told AS jsonb)) AS x({_COLUMNS}) ORDER BY id"
            " ON CONFLICT (state, generation, cause) DO NOTHING RETURNING *"
        ),
        {"told": json.dumps([_told(n, seq, waiting) for n, seq in new])},
    )
    return [as_run(r) for r in rows.mappings()]


def _told(new: NewRun, seq: int, waiting: Waiting) -> dict[str, object]:
    return {
        "id": new_id(),
        "account": new.account,
        "parent": new.parent,
        "code": new.code,
        "state": new.state,
        "kind": new.kind.value,
        "slot": new.slot,
        "cause": new.cause,
        "generation": new.generation,
        "seq": seq,
        "priority": PRIORITY[new.kind],
        "digest": new.digest,
        "branch": new.branch,
        "commit": new.commit,
        "trigger": dict(new.trigger),
        "spec": dict(new.spec),
        "agent": new.agent,
        "reason": new.reason,
        "blocker": waiting.blocker.value,
        "waiting": waiting.reason,
        "deadline": waiting.deadline.isoformat(),
        "next_check": waiting.next_check and waiting.next_check.isoformat(),
    }


async def waiting_of_codes(session: Session, codes: Iterable[str]) -> list[Run]:
    """Open runs of these stacks that have not begun to change anything: queued, starting, planning, waiting for a vote.

    Locked in the order of their ids. Destroys and drift checks are not among them.
    """
    rows = await session.execute(
        text(
            "SELECT * FROM operations WHERE code = ANY(:codes) AND kind IN ('deploy','preview','benchmark')"
            f" AND {OPEN} AND (status IN ('queued','awaiting_approval')"
            " OR (kind <> 'benchmark' AND status IN ('starting','planning'))) ORDER BY id FOR UPDATE"
        ),
        {"codes": sorted(codes)},
    )
    return [as_run(r) for r in rows.mappings()]
