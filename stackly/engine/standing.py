"""Whether a run may go on as things stand now: its code is there, its state is its code's, its repository in reach."""

from dataclasses import dataclass

from stackly.db import Session
from stackly.runs.model import Run
from stackly.spec.runs import RunKind
from stackly.stacks import association, loose_store
from stackly.stacks.model import CodeStatus

GONE = frozenset({CodeStatus.LOOSE, CodeStatus.DEREGISTERED})


@dataclass(frozen=True, slots=True)
class Objection:
    """Shape: `is_final` ends the run; otherwise it waits until the repository is back."""

    reason: str
    is_final: bool


async def objection(session: Session, run: Run) -> Objection | None:
    """Asked before a run starts, and again at the gate of a deploy, under the state's lock. A destroy needs no code."""
    if run.kind is RunKind.DESTROY:
        return None
    now = await loose_store.standing(session, run.code, run.state)
    if now.code_status in GONE:
        return Objection(f"{now.path} is not there any more: {now.code_reason or 'its code went away'}", is_final=True)
    if run.kind is RunKind.DEPLOY and now.state_code != run.code:
        return Objection("the state belongs to another stack now", is_final=True)
    if association.is_put_aside(now.state_name):
        return Objection("another state took the place of this one, which was never used", is_final=True)
    if now.repo_status != "active":
        why = f"repository {now.repo} is {now.repo_status}; nothing of it starts until it is back"
        return Objection(why, is_final=False)
    return None
