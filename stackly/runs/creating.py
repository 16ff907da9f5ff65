"""SQL of making runs, for many states at once."""

import json
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import text

from stackly.db import Session
from stackly.ids import new_id
from stackly.runs.model import NewRun, Run, Waiting
from stackly.runs.store import OPEN, as_run
from stackly.spec.runs import PRIORITY, SUPERSEDING_SQL, RunKind, RunStatus

_COLUMNS = (
    "id text, account text, parent text, code text, state text, kind text, slot text, cause text, generation int8,"
    " seq int8, priority int, digest text, branch text, commit text, trigger jsonb, spec jsonb, agent text,"
    " reason text, blocker text, waiting text, deadline timestamptz, next_check timestamptz"
)


async def replaceable(session: Session, slots: Iterable[tuple[str, str]]) -> list[Run]:
    """Push-caused runs of these (state, slot) which a newer push replaces: not begun, or a deploy before its gate.

    One that is `starting` has not begun: its workflow's first act is to leave that status, under the same lock
    (engine rule 3). Locked in the order of their ids.
    """
    wanted = set(slots)
    rows = await session.execute(
        text(
            f"SELECT * FROM operations WHERE {OPEN} AND state = ANY(:states) AND slot = ANY(:slots)"
            " AND (epoch IS NULL OR status = 'starting'"
            " OR (kind IN ('deploy','preview') AND status IN ('planning','awaiting_approval')))"
            " ORDER BY id FOR UPDATE"
        ),
        {"states": sorted({state for state, _ in wanted}), "slots": sorted({slot for _, slot in wanted})},
    )
    return [as_run(r) for r in rows.mappings() if (r["state"], r["slot"]) in wanted]


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


_BEFORE_GATE = frozenset({RunStatus.QUEUED, RunStatus.STARTING, RunStatus.PLANNING, RunStatus.AWAITING_APPROVAL})
# Statuses in which a run has changed nothing yet, so that it can end at once. A benchmark waits before it begins.
BEFORE_ANY_CHANGE: Mapping[RunKind, frozenset[RunStatus]] = {
    RunKind.DEPLOY: _BEFORE_GATE,
    RunKind.PREVIEW: _BEFORE_GATE,
    RunKind.BENCHMARK: frozenset({RunStatus.QUEUED, RunStatus.AWAITING_APPROVAL, RunStatus.STARTING}),
    RunKind.DESTROY: frozenset(),
    RunKind.DRIFT_CHECK: frozenset(),
}


async def waiting_of_codes(session: Session, codes: Iterable[str]) -> list[str]:
    """Ids of open deploys, previews and benchmarks of these stacks."""
    rows = await session.execute(
        text(
            f"SELECT id FROM operations WHERE code = ANY(:codes) AND kind IN {SUPERSEDING_SQL} AND {OPEN} ORDER BY id"
        ),
        {"codes": sorted(codes)},
    )
    return list(rows.scalars())


async def waiting_of_ref(session: Session, repo: str, ref: str, commits: Iterable[str]) -> list[str]:
    """Ids of open deploys, previews and benchmarks of a ref's stacks at one of these commits."""
    rows = await session.execute(
        text(
            "SELECT o.id FROM operations o JOIN stack_codes c ON c.id = o.code WHERE c.repo = :repo AND c.ref = :ref"
            f" AND o.commit = ANY(:commits) AND o.kind IN {SUPERSEDING_SQL} AND o.{OPEN} ORDER BY o.id"
        ),
        {"repo": repo, "ref": ref, "commits": sorted(commits)},
    )
    return list(rows.scalars())


async def waiting_before(session: Session, codes: Iterable[str], slot: str, generation: int) -> list[str]:
    """Ids of open runs of these stacks that an earlier push of that ref asked for."""
    rows = await session.execute(
        text(
            # By their states, of which there are few and which runs are found by, not among all that are open.
            "SELECT id FROM operations WHERE code = ANY(:codes) AND slot = :slot AND generation < :generation"
            " AND state = ANY(ARRAY(SELECT s.id FROM stack_states s WHERE s.code = ANY(:codes) AND s.test IS NULL))"
            f" AND {OPEN} ORDER BY id"
        ),
        {"codes": sorted(codes), "slot": slot, "generation": generation},
    )
    return list(rows.scalars())


async def open_runs(session: Session, runs: Iterable[str], *, lock: bool = False) -> list[Run]:
    """Those of these runs that have not ended, by id. A caller that locks them has locked their states before."""
    rows = await session.execute(
        text(f"SELECT * FROM operations WHERE id = ANY(:ids) AND {OPEN} ORDER BY id {'FOR UPDATE' if lock else ''}"),
        {"ids": sorted(runs)},
    )
    return [as_run(r) for r in rows.mappings()]


async def newest_deploys(session: Session, states: Iterable[str]) -> dict[str, Run]:
    """The newest deploy of each of these states, by state."""
    rows = await session.execute(
        text(
            "SELECT DISTINCT ON (state) * FROM operations WHERE state = ANY(:states) AND kind = 'deploy'"
            " ORDER BY state, seq DESC"
        ),
        {"states": sorted(states)},
    )
    return {r["state"]: as_run(r) for r in rows.mappings()}
