"""One history of pushes, told in every way a network can garble it: one look later every world is the same."""

import asyncio
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from tests.properties.conftest import Begin
from tests.properties.machine import SyncMachine
from tests.properties.model import alike, dump
from tests.properties.platform_parts import Making, Platform

NIGHTLY = os.environ.get("STACKLY_NIGHTLY") == "1"

# A push by what happened to what announced it on its way out.
Push = Callable[[SyncMachine, str], None]

# Deployed stays `one` of apps/a; `two` of apps/b is measured. Both are there before the history begins.
HISTORY: Sequence[Push] = (
    lambda w, how: w.edit_stack("main", 0, "main.tf", how),
    lambda w, how: w.add_stack("main", 3, "plain", "u", how),
    lambda w, how: w.add_stack("main", 3, "calling", "v", how),
    lambda w, how: w.edit_other("main", "modules/net/main.tf", how),
    lambda w, how: w.edit_other("main", "README.md", how),
    lambda w, how: w.point_anywhere("dev", 3, how),
    lambda w, how: w.push_tags(5, how),
    lambda w, how: w.break_stack("main", 1, "attribute", how),
    lambda w, how: w.mend_stack("main", 1, how),
    lambda w, how: w.add_stack("dev", 2, "here_only", "w", how),
    lambda w, how: w.break_stack("dev", 0, "module", how),
    lambda w, how: w.remove_config("main", 0, how),
    lambda w, how: w.restore("main", 0, how),
    lambda w, how: w.point_anywhere("main", 5, how),
    lambda w, how: w.revert("main", how),
    lambda w, how: w.point_anywhere("main", 1, how),
    lambda w, how: w.rename(how, False),
    lambda w, how: w.swap_stacks("main", 2, 3, how),
    lambda w, how: w.point_anywhere("old", 4, how),
    lambda w, how: w.point_anywhere("rel", 2, how),
    lambda w, how: w.delete_branch("rel", how),
    lambda w, how: w.rewrite("dev", how),
    lambda w, how: w.point_anywhere("rel", 7, how),
    lambda w, how: w.delete_branch("old", how),
    lambda w, how: w.copy_stack("main", 1, 0, how),
    lambda w, how: w.remove_stack("main", 1, how),
    lambda w, how: w.move_stack("main", 0, 0, how),
    lambda w, how: w.edit_other("main", "src/program.c", how),
)


@dataclass(frozen=True)
class Way:
    """What happens to every delivery. Shape: `late` ones arrive after the whole history, in order or reversed."""

    name: str
    sending: str = ""
    arriving: str = ""
    late: bool = False
    reversed: bool = False

    def travel(self, world: SyncMachine) -> None:
        for push in HISTORY:
            push(world, self.sending)
            if not self.late:
                self._arrive(world)
        if self.reversed:
            world.repo.pending.reverse()
        self._arrive(world)

    def _arrive(self, world: SyncMachine) -> None:
        while world.repo.pending:
            world.do(world.deliver_one(world.repo.pending[0], self.arriving))
            world.dispatch()


@dataclass(frozen=True)
class Chance(Way):
    """Every delivery has a fate of its own, and syncs begin whenever."""

    seed: int = 0

    def travel(self, world: SyncMachine) -> None:
        fate = random.Random(self.seed)
        for push in HISTORY:
            push(world, fate.choice(["", "", "drop", "duplicate"]))
            for number in fate.sample(world.repo.pending, fate.randint(0, len(world.repo.pending))):
                arriving = fate.choice(["", "", "", "corrupt_signature", "wrong_event", "status", "oversize"])
                world.do(world.deliver_one(number, arriving))
            fate.choice([world.dispatch, world.crash_api, world.pass_time, lambda: None])()


WAYS: tuple[Way, ...] = (
    Way("dropped", sending="drop"),
    Way("doubled", sending="duplicate"),
    Way("late", late=True),
    Way("reversed", late=True, reversed=True),
    Way("forged", arriving="corrupt_signature"),
    Way("too large", arriving="oversize"),
    Way("of another event", arriving="wrong_event"),
    Way("refused", arriving="status"),
    *(Chance(f"by chance {seed}", seed=seed) for seed in range(2)),
)
# Every day: all at the wrong time, and everything at once. (tests/engine/test_outages.py has the five outages.)
DAILY = frozenset({"reversed", "by chance 0"})


@pytest.mark.timeout(900)
def test_the_same_pushes_end_in_the_same_registry(begin: Begin, loop: asyncio.AbstractEventLoop) -> None:
    platform = begin(Making())
    right = _told(platform, loop, Way("as it should be"))
    assert len(right) > 8
    for way in [w for w in WAYS if NIGHTLY or w.name in DAILY]:
        told = _told(platform, loop, way)
        assert alike(told, right) == alike(right, told), way.name


def _told(platform: Platform, loop: asyncio.AbstractEventLoop, way: Way) -> dict[str, object]:
    """The registry and the last runs after the history and one look at the repository."""

    class World(SyncMachine):
        pass

    World.platform, World.loop = platform, loop
    world = World()
    world.first_push()
    world.deliver_all_and_dispatch()
    world.begin_run(0)
    world.apply_run(0)
    world.finish_run(0)
    try:
        way.travel(world)
        world.settle()
    except AssertionError as e:
        pytest.fail(f"{way.name}: {e}")
    return dump(world.do(world.repo.looked()))
