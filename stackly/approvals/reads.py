"""Read-only queries on approval requests."""

from stackly.approvals import store
from stackly.approvals.outstanding import outstanding
from stackly.db import Json, Session
from stackly.errors import NotFound
from stackly.events.reads import rows
from stackly.spec.runs import ENDED_SQL


class ApprovalNotFound(NotFound):
    title = "This run has asked for no approval."


# A run that ended some other way (superseded, cancelled) leaves its request behind: nobody can answer it any more.
_STATUS = f"""CASE WHEN a.status = 'open' AND o.status IN {ENDED_SQL}
  THEN 'void' ELSE a.status END"""

_APPROVAL = f"""
SELECT a.id, a.operation AS run_id, a.digest, a.needed, a.groups, a.policy, {_STATUS} AS status, a.reason, a.created_at,
       a.expires AS expires_at, o.spec, o.kind AS run_kind, o.commit, o.branch, c.name AS stack, c.id AS stack_id,
       r.full_name AS repo, d.inputs AS stood_on,
       coalesce((SELECT jsonb_agg(jsonb_build_object('login', i.login, 'value', v.value, 'reason', v.reason,
                                                     'at', v.at) ORDER BY v.at, v.id)
                 FROM votes v JOIN identities i ON i.id = v.person WHERE v.approval = a.id), '[]') AS votes
FROM approvals a JOIN operations o ON o.id = a.operation JOIN stack_codes c ON c.id = o.code
JOIN repos r ON r.id = c.repo LEFT JOIN decisions d ON d.id = o.decision
"""


async def list_approvals(
    session: Session, account: str, *, limit: int, after: str | None, status: str | None = None
) -> list[Json]:
    """Shape: newest first; of any status unless told otherwise."""
    found = await rows(
        session,
        f"""{_APPROVAL} WHERE a.account = :account AND (CAST(:status AS text) IS NULL OR {_STATUS} = :status)
        AND (CAST(:after AS text) IS NULL OR a.id < :after) ORDER BY a.id DESC LIMIT :limit
        """,
        account=account,
        status=status,
        after=after,
        limit=limit + 1,
    )
    return [await _counted(session, row) for row in found]


async def approval_of(session: Session, account: str, run: str) -> Json:
    """The run's newest request. Raises: ApprovalNotFound."""
    found = await rows(
        session,
        f"{_APPROVAL} WHERE a.account = :account AND a.operation = :run"
        " ORDER BY (a.status = 'open') DESC, a.created_at DESC LIMIT 1",
        account=account,
        run=run,
    )
    if not found:
        raise ApprovalNotFound(f"Run {run} has asked for no approval.", run=run)
    return await _counted(session, found[0])


async def _counted(session: Session, row: Json) -> Json:
    """With `approved`; of an open one with `still_needed` and `why`, by votes as the next decision will count them."""
    approved = sum(v["value"] == "approve" for v in row["votes"])
    lacking = None
    if row["status"] == "open" and row["stood_on"]:
        votes = await store.votes_for_digest(session, row["run_id"], row["digest"])
        lacking = outstanding(row["stood_on"], votes, row["digest"])
    if lacking is None:
        return row | {"approved": approved}
    approved = max(0, row["needed"] - lacking.people)
    return row | {"approved": approved, "still_needed": lacking.people, "why": list(lacking.why)}
