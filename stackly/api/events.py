"""The event log, and decisions with their reasons: why, why not, when, and what would change that."""

from fastapi import APIRouter

from stackly.api.auth import Reader
from stackly.api.pages import Asked, Page
from stackly.api.parts import House
from stackly.api.references import RunPath, StackPath
from stackly.api.views import DecisionView, EventView, ExplanationView
from stackly.db import Json, Session
from stackly.errors import NotFound
from stackly.events import reads
from stackly.runs import planned
from stackly.runs import reads as runs
from stackly.stacks import reads as stacks

router = APIRouter(tags=["event"])


class EventNotFound(NotFound):
    title = "There is no such event."


class DecisionNotFound(NotFound):
    title = "There is no such decision."


def _event(row: Json) -> EventView:
    return EventView(**{**row, "id": str(row["id"])})


def _decision(row: Json) -> DecisionView:
    return DecisionView(run_id=row["operation"], **row)


@router.get("/events")
async def list_events(
    house: House, actor: Reader, asked: Asked, subject: str | None = None, name: str | None = None
) -> Page[EventView]:
    """Newest first. Shape: `subject` is run/{id}, stack/{id} or push/{repo}/{ref}."""
    before = asked.number_key()
    async with house.transactions() as session:
        found = await reads.list_events(
            session, actor.account, limit=asked.limit, before=before, subject=subject, name=name
        )
    return asked.page(found, _event, lambda r: [str(r["id"])])


@router.get("/events/{event}")
async def show_event(event: str, house: House, actor: Reader) -> EventView:
    async with house.transactions() as session:
        return _event(await _get_event(session, actor.account, event))


async def _get_event(session: Session, account: str, event: str) -> Json:
    known = event.isascii() and event.isdigit() and len(event) <= 18
    row = await reads.find_event(session, account, int(event)) if known else None
    if row is None:
        raise EventNotFound(f"There is no event {event}; `stackly event list` shows what there is.", event=event)
    return row


@router.get("/decisions/{decision}", tags=["explain"])
async def show_decision(decision: str, house: House, actor: Reader) -> DecisionView:
    async with house.transactions() as session:
        row = await reads.find_decision(session, actor.account, decision)
    if row is None:
        raise DecisionNotFound(f"There is no decision {decision}.", decision=decision)
    return _decision(row)


@router.get("/explain/run/{run}", tags=["explain"])
async def explain_run(run: RunPath, house: House, actor: Reader) -> ExplanationView:
    async with house.transactions() as session:
        row = await runs.get_run(session, actor.account, run)
        subject = f"run/{row['id']}"
        decisions = await reads.decisions_about(session, actor.account, operation=row["id"], subjects=[subject])
        happened = await reads.list_events(session, actor.account, limit=50, before=None, subject=subject)
    return _explanation(subject, _said_of_run(row), decisions, happened)


@router.get("/explain/stack/{stack}", tags=["explain"])
async def explain_stack(stack: StackPath, house: House, actor: Reader) -> ExplanationView:
    async with house.transactions() as session:
        row = await stacks.get_stack(session, actor.account, stack)
        subject = f"stack/{row['id']}"
        decisions = await runs.decisions_of_stack(session, actor.account, row["id"])
        happened = await reads.list_events(session, actor.account, limit=50, before=None, subject=subject)
    said = f"Stack {row['name']} of {row['repo']} is {row['status']}" + (f": {row['reason']}" if row["reason"] else ".")
    return _explanation(subject, said, decisions, happened)


@router.get("/explain/event/{event}", tags=["explain"])
async def explain_event(event: str, house: House, actor: Reader) -> ExplanationView:
    async with house.transactions() as session:
        row = await _get_event(session, actor.account, event)
        subject = str(row["subject"])
        run = row["payload"].get("run") or row["payload"].get("run_id")
        operation = run if isinstance(run, str) else subject.removeprefix("run/")
        decisions = await reads.decisions_about(session, actor.account, operation=operation, subjects=[subject])
    said = str(row["payload"].get("reason") or row["name"].replace("_", " "))
    return _explanation(subject, said, decisions, [row])


def _said_of_run(row: Json) -> str:
    said = f"Run {row['id']} of {row['repo_name']}: {row['status']}"
    why = row["reason"] or row["waiting_reason"]
    would = planned.sentence(row["spec"].get("plan") or {})
    said = f"{said}, {why}" if why else f"{said}."
    more = [f"{would[:1].upper()}{would[1:]}."] if would else []
    more += filter(None, [_said_of_gate(row["gate"] or {})])
    return " ".join([f"{said.rstrip('.')}.", *more]) if more else said


def _said_of_gate(gate: Json) -> str:
    """Why its verdict lets nothing through; nothing is said of a gate that does."""
    decision = gate.get("decision")
    if decision not in {"deny", "hold"}:
        return ""
    why = "; ".join(map(str, gate.get("reasons") or ())) or "no reason was given"
    by = f" {gate['policy']}" if gate.get("policy") else ""
    return f"Its gate{by} {'blocks' if decision == 'deny' else 'holds'}: {why}."


def _explanation(subject: str, summary: str, decisions: list[Json], happened: list[Json]) -> ExplanationView:
    return ExplanationView(
        subject=subject,
        summary=summary,
        decisions=[_decision(d) for d in decisions],
        events=[_event(e) for e in happened],
    )
