"""SQL of the event log, the outbox and decisions."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from stackly.db import Session, notify
from stackly.errors import Invalid
from stackly.events.model import Bell, DecisionRecord, Doorbell
from stackly.git import payloads
from stackly.ids import DecisionId, new_id


async def record(
    session: Session, account: str, subject: str, name: str, n: str, payload: Mapping[str, Any] | None = None
) -> bool:
    """Append a fact once. False when (subject, name, n) is there already."""
    done = await session.execute(
        text(
            "INSERT INTO events (account, subject, name, n, payload)"
            " VALUES (:account, :subject, :name, :n, CAST(:payload AS jsonb))"
            " ON CONFLICT (subject, name, n) DO NOTHING"
        ),
        {"account": account, "subject": subject, "name": name, "n": n, "payload": json.dumps(payload or {})},
    )
    return done.rowcount == 1


@dataclass(frozen=True, slots=True)
class Fact:
    """One event to append."""

    account: str
    subject: str
    name: str
    n: str
    payload: Mapping[str, Any]


async def record_all(session: Session, facts: Sequence[Fact]) -> None:
    """Append many facts, each once, in their order: one statement."""
    if not facts:
        return
    told = [
        {"account": f.account, "subject": f.subject, "name": f.name, "n": f.n, "payload": dict(f.payload), "nth": i}
        for i, f in enumerate(facts)
    ]
    await session.execute(
        text(
            "INSERT INTO events (account, subject, name, n, payload) SELECT account, subject, name, n, payload"
            " FROM jsonb_to_recordset(CAST(:told AS jsonb))"
            " AS x(account text, subject text, name text, n text, payload jsonb, nth int) ORDER BY nth"
            " ON CONFLICT (subject, name, n) DO NOTHING"
        ),
        {"told": json.dumps(told)},
    )


async def ring(session: Session, kind: Bell, key: str) -> None:
    """Write a doorbell in this transaction: a plain insert, so that ringing never waits for a claim (engine rule 7)."""
    await session.execute(text("INSERT INTO outbox (kind, key) VALUES (:kind, :key)"), {"kind": kind.value, "key": key})
    await notify(session, "outbox")


async def ring_later(session: Session, kind: Bell, key: str, *, after: timedelta) -> None:
    """A doorbell that is due only then. None is written where one that nobody holds waits already."""
    await session.execute(
        text(
            "INSERT INTO outbox (kind, key, available_at) SELECT :kind, :key, clock_timestamp() + :after"
            " WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE kind = :kind AND key = :key AND claim IS NULL)"
        ),
        {"kind": kind.value, "key": key, "after": after},
    )


async def claim(session: Session, claimant: str, *, limit: int, hold: timedelta) -> list[Doorbell]:
    """Take due doorbells for `hold`; another dispatcher may take them after it. Grouped by kind and key."""
    rows = await session.execute(
        text(
            "UPDATE outbox SET claim = :claimant, attempts = attempts + 1, available_at = clock_timestamp() + :hold"
            " WHERE id IN (SELECT id FROM outbox WHERE available_at <= clock_timestamp()"
            "              ORDER BY available_at, id LIMIT :limit FOR UPDATE SKIP LOCKED)"
            " RETURNING id, kind, key, attempts"
        ),
        {"claimant": claimant, "hold": hold, "limit": limit},
    )
    found: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for row in sorted(rows.all(), key=lambda r: r.id):
        found.setdefault((row.kind, row.key), []).append((row.id, row.attempts))
    return [
        Doorbell(kind, key, tuple(i for i, _ in pairs), max(a for _, a in pairs))
        for (kind, key), pairs in found.items()
    ]


async def settle(session: Session, ids: Sequence[int]) -> None:
    """Delete exactly the doorbells that were acted upon."""
    await session.execute(text("DELETE FROM outbox WHERE id = ANY(:ids)"), {"ids": list(ids)})


async def postpone(session: Session, ids: Sequence[int], *, by: timedelta, reason: str) -> None:
    """Try again later; the reason is for people who look."""
    await session.execute(
        text(
            "UPDATE outbox SET available_at = clock_timestamp() + :by, claim = NULL, reason = :reason"
            " WHERE id = ANY(:ids)"
        ),
        {"ids": list(ids), "by": by, "reason": reason[:500]},
    )


def decision_digest(decision: DecisionRecord) -> str:
    """What the decision says and stood on, without when it was asked: asking again is no new decision."""
    said = {"decision": decision.decision, "tree": decision.tree, "inputs": dict(decision.inputs)}
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


async def record_decision(session: Session, decision: DecisionRecord) -> DecisionId:
    """Store a decision once per (subject, generation, question, digest); the id of the stored one comes back."""
    digest = decision_digest(decision)
    values = {
        "id": new_id(),
        "account": decision.account,
        "subject": decision.subject,
        "generation": decision.generation,
        "question": decision.question,
        "digest": digest,
        "operation": decision.operation,
        "inputs": json.dumps(dict(decision.inputs), default=str),
        "tzdata": decision.tzdata,
        "at": decision.at,
        "decision": decision.decision,
        "tree": json.dumps(decision.tree, default=str),
        "next_check": decision.next_check,
    }
    found = await session.execute(
        text(
            "INSERT INTO decisions (id, account, subject, generation, question, digest, operation, inputs, tzdata, at,"
            " decision, tree, next_check) VALUES (:id, :account, :subject, :generation, :question, :digest, :operation,"
            " CAST(:inputs AS jsonb), :tzdata, :at, :decision, CAST(:tree AS jsonb), :next_check)"
            " ON CONFLICT (subject, generation, question, digest) DO NOTHING RETURNING id"
        ),
        values,
    )
    stored = found.scalar_one_or_none()
    if stored is None:
        stored = (
            await session.execute(
                text(
                    "SELECT id FROM decisions WHERE subject = :subject AND generation = :generation"
                    " AND question = :question AND digest = :digest"
                ),
                values,
            )
        ).scalar_one()
    return DecisionId(str(stored))


async def record_decisions(session: Session, decisions: Sequence[DecisionRecord]) -> None:
    """Store many decisions, each once: one statement, for those whose ids nobody needs."""
    if not decisions:
        return
    columns = (
        "id text, account text, subject text, generation int, question text, digest text, operation text, inputs jsonb,"
        " tzdata text, at timestamptz, decision text, tree jsonb, next_check timestamptz"
    )
    names = ", ".join(column.split()[0] for column in columns.split(", "))
    told = [
        {name: getattr(d, name) for name in names.split(", ") if name not in {"id", "digest"}}
        | {"id": new_id(), "digest": decision_digest(d), "inputs": dict(d.inputs)}
        for d in decisions
    ]
    await session.execute(
        text(
            f"INSERT INTO decisions ({names}) SELECT {names}"
            f" FROM jsonb_to_recordset(CAST(:told AS jsonb)) AS x({columns})"
            " ON CONFLICT (subject, generation, question, digest) DO NOTHING"
        ),
        {"told": json.dumps(told, default=str)},
    )


async def said_deleted(session: Session, repo: str) -> bool:
    """Whether a signed delivery ever told the end of this repository. It counts only while GitHub does not show it."""
    rows = await session.execute(
        text(
            "SELECT body FROM deliveries WHERE repo = :repo AND event = 'repository' AND status = 'received'"
            " AND length(body) < 262144"
        ),
        {"repo": repo},
    )
    return any(_action(bytes(row.body)) == "deleted" for row in rows)


def _action(body: bytes) -> str | None:
    try:
        return payloads.read("repository", body).action
    except Invalid:
        return None


async def pusher_of(session: Session, repo: str, ref: str, commit: str) -> str | None:
    """Who GitHub says pushed this commit to this ref, if a recent delivery told; git itself does not know."""
    rows = await session.execute(
        text(
            "SELECT body FROM deliveries WHERE repo = :repo AND event = 'push' AND status = 'received'"
            " AND length(body) < 262144 ORDER BY received_at DESC LIMIT 20"
        ),
        {"repo": repo},
    )
    for row in rows:
        try:
            said = payloads.read("push", bytes(row.body))
        except Invalid:
            continue
        if (said.ref, said.after) == (ref, commit):
            return said.pusher
    return None
