"""Read-only queries on obligations and inventory."""

from collections.abc import Sequence

from stackly import references
from stackly.db import Json, Session
from stackly.events.reads import rows
from stackly.spec.runs import ENDED_SQL
from stackly.teardown.model import ObligationNotFound, Owed

# What a thing is depends on its owner at this moment, so its class is told when it is read:
#   managed   a live run works with it, or a long-lived state holds it
#   leaving   its destroy is under way, or its obligation is not due yet
#   overdue   its obligation is due and no destroy works on it
#   waived    a named person answers for it, and nobody destroys it
#   orphan    nobody that Stackly knows owns it
_OWNED = f"""
CASE
  WHEN o.status NOT IN {ENDED_SQL} OR held.status IN ('active', 'loose') THEN 'managed'
  WHEN EXISTS (SELECT 1 FROM operations d WHERE d.state = coalesce(own.id, held.id) AND d.kind = 'destroy'
               AND d.status NOT IN {ENDED_SQL}) THEN 'leaving'
  WHEN EXISTS (SELECT 1 FROM obligations b WHERE b.state = coalesce(own.id, held.id) AND b.status = 'open'
               AND b.due_at > clock_timestamp()) THEN 'leaving'
  WHEN EXISTS (SELECT 1 FROM obligations b WHERE b.state = coalesce(own.id, held.id) AND b.status = 'open')
    THEN 'overdue'
  WHEN coalesce(own.status, held.status) = 'waived' THEN 'waived'
  ELSE 'orphan'
END
"""

_THINGS = f"""
WITH things AS (
  SELECT i.target, i.resource AS id, i.kind, i.run, coalesce(i.test, '') AS test, i.state, i.first_seen AS since,
         a.account
  FROM inventory i LEFT JOIN agents a ON a.id = i.agent
  UNION ALL
  SELECT coalesce(s.target, 'local'), l.cidr::text, 'lease', s.parent_operation, coalesce(s.test, ''), l.state,
         l.created_at, s.account
  FROM leases l JOIN stack_states s ON s.id = l.state
  WHERE l.released_at IS NULL AND l.foreign_until IS NULL
)
SELECT {_OWNED} AS class, t.kind, t.id, t.target, t.run AS run_id, nullif(t.test, '') AS test, t.since
FROM things t
LEFT JOIN operations o ON o.id = t.run
LEFT JOIN stack_states own ON (own.parent_operation = t.run AND own.test = t.test) OR own.id = t.state
LEFT JOIN stack_states held ON held.id = coalesce(t.state, o.state) AND held.test IS NULL
"""
_OLDEST_FIRST = "ORDER BY t.since, t.target, t.id"

LEFTOVER = frozenset({"overdue", "orphan"})


async def inventory(session: Session, account: str) -> list[Json]:
    """Everything the targets hold, every lease, and every destroy that failed, each with its class.

    Shape: oldest first; destroys that failed come last, whatever of theirs a target still shows.
    """
    things = await rows(
        session, f"{_THINGS} WHERE coalesce(t.account, o.account) = :account {_OLDEST_FIRST}", account=account
    )
    return things + [_as_thing(each) for each in await owed(session, account=account)]


def _as_thing(owed: Owed) -> Json:
    return {
        "class": "overdue",
        "kind": "obligation",
        "id": owed.id,
        "target": owed.target,
        "run_id": owed.run,
        "test": owed.test or None,
        "since": owed.since,
        "reason": owed.reason,
        "next_try": owed.next_try,
        "command": owed.command,
    }


async def owed(session: Session, *, runs: Sequence[str] = (), account: str | None = None) -> list[Owed]:
    """Destroys that failed: of these runs, which owe them or carry them out, or of an account. Shape: oldest first."""
    found = await rows(
        session,
        """
        SELECT b.id, b.run, b.state, coalesce(s.test, '') AS test, coalesce(s.target, 'local') AS target,
               coalesce(b.reason, 'no reason was given') AS reason, b.ladder AS tries, b.due_at AS next_try,
               b.created_at AS since
        FROM obligations b JOIN stack_states s ON s.id = b.state
        WHERE b.status = 'open' AND b.ladder > 0 AND (b.account = :account OR b.run = ANY(CAST(:runs AS text[]))
          OR b.state IN (SELECT o.state FROM operations o WHERE o.kind = 'destroy'
                         AND o.id = ANY(CAST(:runs AS text[]))))
        ORDER BY b.created_at, b.id
        """,
        runs=list(runs),
        account=account,
    )
    return [Owed(**row) for row in found]


_OBLIGATION = """
SELECT b.id, b.run AS run_id, b.state AS state_id, r.full_name AS repository, c.id AS stack_id, c.name AS stack,
       c.path, c.ref, s.test, b.status, b.due_at, b.ladder, b.reason, i.login AS waived_by, b.created_at, b.closed_at
FROM obligations b JOIN stack_states s ON s.id = b.state JOIN stack_codes c ON c.id = s.code
JOIN repos r ON r.id = c.repo LEFT JOIN identities i ON i.id = b.waived_by
"""


async def list_obligations(
    session: Session, account: str, *, limit: int, after: str | None, status: str | None = None
) -> list[Json]:
    """Shape: newest first. The kit stays here: it holds variables."""
    return await rows(
        session,
        f"""{_OBLIGATION}
        WHERE b.account = :account AND (CAST(:status AS text) IS NULL OR b.status = :status)
          AND (CAST(:after AS text) IS NULL OR b.id < :after)
        ORDER BY b.id DESC LIMIT :limit
        """,
        account=account,
        status=status,
        after=after,
        limit=limit + 1,
    )


async def find_obligation(session: Session, account: str, reference: str) -> Json:
    """By id, or a unique beginning of it. Shape: id name repository path ref test status.

    Raises: ObligationNotFound, ReferenceAmbiguous.
    """
    found = await rows(
        session,
        f"""SELECT f.id, f.stack AS name, f.repository, f.path, f.ref, f.test, f.status FROM ({_OBLIGATION}
          WHERE b.account = :account AND :reference <> '' AND starts_with(b.id, :reference)) f
        ORDER BY (f.id = :reference) DESC, f.id DESC LIMIT :limit
        """,
        account=account,
        reference=reference,
        limit=references.SHOWN + 1,
    )
    meant = references.one("obligation", reference, found)
    if meant is None:
        raise ObligationNotFound.of(reference)
    return dict(meant)


async def get_obligation(session: Session, account: str, obligation: str) -> Json:
    """By its id. Shape: `left` is what the targets show of it, `resources` what its newest Terraform state names.

    Raises: ObligationNotFound, also for another account's.
    """
    found = await rows(
        session, f"{_OBLIGATION} WHERE b.account = :account AND b.id = :id", account=account, id=obligation
    )
    if not found:
        raise ObligationNotFound.of(obligation)
    state = found[0]["state_id"]
    left = await rows(
        session,
        f"{_THINGS} WHERE coalesce(own.id, held.id) = :state AND t.kind <> 'lease' {_OLDEST_FIRST}",
        state=state,
    )
    newest = await rows(
        session,
        """SELECT v.resources FROM state_versions v JOIN stack_states s ON s.id = v.state
        WHERE v.state = :state AND (s.lineage IS NULL OR v.lineage = s.lineage)
        ORDER BY v.serial DESC, v.rescued, v.id DESC LIMIT 1
        """,
        state=state,
    )
    return {**found[0], "left": left, "resources": newest[0]["resources"] if newest else None}
