"""What callers call things by, in paths, queries and bodies: every route takes an id from here, and none chooses."""

import re
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from stackly.accounts.model import Actor
from stackly.api.auth import Reader
from stackly.api.parts import House
from stackly.api.views import ReferenceView
from stackly.db import Json, Session
from stackly.errors import NotFound
from stackly.runs import reads as runs
from stackly.runs.store import RunNotFound
from stackly.stacks import reads as stacks
from stackly.teardown import reads as obligations

router = APIRouter(prefix="/resolve", tags=["explain"])

# A whole id means one thing, or nothing: the query that wants it finds out.
_WHOLE = re.compile(r"[0-9a-hjkmnp-tv-z]{18}")


class Noun(StrEnum):
    STACK = "stack"
    RUN = "run"
    REPO = "repo"
    OBLIGATION = "obligation"


async def run_of(session: Session, actor: Actor, reference: str) -> str:
    """The id of the run that is meant; by its stack's name too, where that has one run.

    Raises: RunNotFound, ReferenceAmbiguous.
    """
    if _WHOLE.fullmatch(reference):
        return reference
    return str((await _run(session, actor, reference))["id"])


async def _run(session: Session, actor: Actor, reference: str) -> Json:
    try:
        return await runs.find_run(session, actor.account, reference)
    except RunNotFound as missing:
        try:
            stack = await stacks.get_stack(session, actor.account, reference)
        except NotFound:
            raise missing from None
        return await runs.find_run(session, actor.account, reference, stack=stack["id"])


async def of_stack(session: Session, actor: Actor, reference: str | None) -> str | None:
    """For a list: what nothing bears matches nothing. Raises: ReferenceAmbiguous."""
    try:
        return reference and str((await stacks.get_stack(session, actor.account, reference))["id"])
    except NotFound:
        return reference


async def of_repo(session: Session, actor: Actor, reference: str | None) -> str | None:
    """As `of_stack`. Raises: ReferenceAmbiguous."""
    try:
        return reference and str((await stacks.get_repo(session, actor.account, reference))["id"])
    except NotFound:
        return reference


async def _path_run(
    run: Annotated[str, Path(max_length=250, description="An id, a unique beginning of it, or latest.")],
    house: House,
    actor: Reader,
) -> str:
    if _WHOLE.fullmatch(run):
        return run
    async with house.transactions() as session:
        return await run_of(session, actor, run)


async def _path_obligation(
    obligation: Annotated[str, Path(max_length=250, description="An id, or a unique beginning of it.")],
    house: House,
    actor: Reader,
) -> str:
    if _WHOLE.fullmatch(obligation):
        return obligation
    async with house.transactions() as session:
        return str((await obligations.find_obligation(session, actor.account, obligation))["id"])


RunPath = Annotated[str, Depends(_path_run)]
ObligationPath = Annotated[str, Depends(_path_obligation)]
StackPath = Annotated[str, Path(max_length=250, description="An id, a unique beginning of it, or a name.")]
RepoPath = Annotated[str, Path(max_length=250, description="An id, a unique beginning of it, owner/name, or name.")]


@router.get("/{noun}")
async def resolve(
    noun: Noun,
    reference: Annotated[
        str,
        Query(
            min_length=1,
            max_length=1000,
            description="An id, a unique beginning of it, a name, OWNER/REPO:PATH@REF, or latest (a run).",
        ),
    ],
    house: House,
    actor: Reader,
    ref: Annotated[str | None, Query(max_length=250, description="Of a stack: which branch's.")] = None,
) -> ReferenceView:
    """The one thing that a reference means. What means more than one is refused with its `candidates`."""
    async with house.transactions() as session:
        if noun is Noun.RUN:
            return ReferenceView(kind=noun, **await _run(session, actor, reference))
        if noun is Noun.OBLIGATION:
            return ReferenceView(kind=noun, **await obligations.find_obligation(session, actor.account, reference))
        if noun is Noun.STACK:
            stack = await stacks.get_stack(session, actor.account, reference, ref=ref)
            return ReferenceView(**{**stack, "kind": noun, "repository": stack["repo"]})
        repo = await stacks.get_repo(session, actor.account, reference)
    return ReferenceView(
        kind=noun, name=repo["full_name"], repository=repo["full_name"], id=repo["id"], status=repo["status"]
    )
