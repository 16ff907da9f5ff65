"""Three platforms that are wrong on purpose: the machine must find each of them out."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass

import pytest
from sqlalchemy import text

from stackly.api.webhooks import Webhooks
from stackly.engine.activities import sync as activities
from stackly.engine.activities.sync import Sync
from stackly.engine.contracts.control import RefChange, SyncOutcome
from stackly.engine.moves import Passage, Place, passage
from stackly.errors import Unavailable
from stackly.events.inbox import Arrival, Receipt
from stackly.git.closures import Closure
from stackly.git.mirrors import Mirror
from stackly.git.trees import Tree
from stackly.stacks import registry_store
from stackly.stacks.model import StackCode
from tests.properties.carrying import FIND, carry_out
from tests.properties.conftest import Begin
from tests.properties.platform_parts import Making

SEED = 0
STEPS = 900


def found_out(begin: Begin, loop: asyncio.AbstractEventLoop, making: Making, match: str) -> None:
    with pytest.raises(AssertionError, match=match):
        carry_out(begin(making), loop, chance=SEED, steps=STEPS, phases=FIND)


@dataclass(frozen=True)
class _Told:
    """Shape: `files` that payloads name; `before` path -> key of what is registered."""

    files: frozenset[str]
    before: Mapping[str, str]


_TOLD: ContextVar[_Told | None] = ContextVar("told", default=None)


class _ToldMirror(Mirror):
    """A directory that no payload names is as it was before."""

    async def closures(self, tree: Tree, paths: Iterable[str] | None = None) -> dict[str, Closure]:
        real, told = await super().closures(tree, paths), _TOLD.get()
        if told is None:
            return real
        named = {p for p in {*real, *told.before} if any(f.startswith(f"{p}/") for f in told.files)}
        kept = {p: Closure(p, key, (), ()) for p, key in told.before.items() if p not in named}
        return {p: c for p, c in real.items() if p in named} | kept


class _Trusting(Sync):
    """Reads what the webhook says was added, removed and modified, and believes it."""

    async def process(self, change: RefChange) -> SyncOutcome:
        async with self._transactions() as session:
            rows = await session.execute(text("SELECT body FROM deliveries WHERE event = 'push'"))
            bodies = [json.loads(r.body) for r in rows]
            before = await registry_store.keys(session, change.repo, change.ref)
        of_this = [b for b in bodies if (b["ref"], b["after"]) == (change.ref, change.commit)]
        commits = [c for b in of_this for c in b["commits"]]
        files = frozenset(f for c in commits for kind in ("added", "removed", "modified") for f in c[kind])
        _TOLD.set(_Told(files, before))
        return await super().process(change)


def test_a_sync_that_trusts_the_list_of_files(
    begin: Begin, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities, "Mirror", _ToldMirror)
    found_out(begin, loop, Making(sync=_Trusting), "are registered, and|is not what git has there")


class _Hasty(Webhooks):
    """Answers first, and writes the row when there is time."""

    async def keep(self, arrival: Arrival) -> Receipt:
        self._later = asyncio.create_task(self._write(arrival))
        return Receipt(arrival.guid, arrival.status, attempts=1, fresh=True)

    async def _write(self, arrival: Arrival) -> None:
        try:
            await super().keep(arrival)
        except Unavailable:
            return  # the process died meanwhile: nobody is there to hear of it


def test_a_row_that_is_written_after_the_answer(begin: Begin, loop: asyncio.AbstractEventLoop) -> None:
    found_out(begin, loop, Making(webhooks=_Hasty), "told that deliveries are kept")


def test_a_move_that_is_taken_for_a_deletion(
    begin: Begin, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deletions(before: Mapping[str, Place], after: Mapping[str, Place]) -> Passage:
        real = passage(before, after)
        gone, new = {*real.gone, *real.moved.values()}, {*real.new, *real.moved}
        return Passage(real.stays, {}, tuple(sorted(new)), tuple(sorted(gone)))

    async def no_twin(session: object, gone: StackCode) -> None:
        return None

    monkeypatch.setattr(activities, "passage", deletions)
    monkeypatch.setattr(registry_store, "twin", no_twin)
    found_out(begin, loop, Making(), "is taken for new")
