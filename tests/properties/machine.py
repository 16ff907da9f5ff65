"""A state machine of people, a network and workers: whatever they do in whatever order, the registry follows git."""

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from stackly.engine.contracts.control import RefChange
from stackly.local.hub.faults import Faults
from tests.properties import content
from tests.properties.content import Files
from tests.properties.model import MAIN, Model
from tests.properties.platform_parts import Connected, Platform

T = TypeVar("T")

HEADS = "refs/heads/"
BRANCHES = ("dev", "old", "rel")

_pick = st.integers(0, 11)
_on = st.sampled_from(["main", "main", *BRANCHES])
_sending = st.sampled_from(["", "", "", "drop", "duplicate"])
_arriving = st.sampled_from(["", "", "", "", "corrupt_signature", "wrong_event", "status", "oversize"])


def faults(name: str) -> Faults:
    if name == "status":
        return Faults(status=500)
    return Faults(**{name: 1}) if name else Faults()


class SyncMachine(RuleBasedStateMachine):
    """Shape: subclasses set `platform` and `loop`; `steps` counts every rule that was carried out, of all examples."""

    platform: ClassVar[Platform]
    loop: ClassVar[asyncio.AbstractEventLoop]
    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.is_broken = False
        self.has_begun = False
        self.repo: Connected = self.do(self.platform.connect())
        self.name = self.repo.repo.full_name.partition("/")[2]
        self.model = Model(self.repo.path)
        self.repo.on_processed = self.model.processed
        self.files: dict[str, Files] = {}
        self.parents: dict[str, list[str]] = {}
        self.lost_configs: dict[str, Files] = {}
        self.stale: list[RefChange] = []
        self.planned: list[str] = []
        self.loading: list[str] = []
        self.delivered: list[int] = []
        self.names = 0
        self.tags = 0

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self.loop.run_until_complete(work)
        except BaseException:
            self.is_broken = True
            raise

    def check_invariants(self, *args: Any, **kwargs: Any) -> None:
        type(self).steps += self.has_begun  # hypothesis asks for the invariants once before the first rule as well
        self.has_begun = True
        super().check_invariants(*args, **kwargs)

    # people

    @initialize()
    def first_push(self) -> None:
        self.do(self.repo.push({MAIN: self.write(content.first())}))
        self.do(self.deliver_all())

    @rule(on=_on, to=_pick, kind=st.sampled_from(content.KINDS), name=st.sampled_from("uvw"), sending=_sending)
    def add_stack(self, on: str, to: int, kind: str, name: str, sending: str) -> None:
        place = self.free_place(on, to)
        if place:
            self.commit(on, self.tip(on) | content.stack(place, name, kind), sending)

    @rule(on=_on, pick=_pick, file=st.sampled_from(["main.tf", "stackly.hcl", "notes.txt"]), sending=_sending)
    def edit_stack(self, on: str, pick: int, file: str, sending: str) -> None:
        place = self.stack_of(on, pick)
        if place:
            self.commit(on, content.edited(self.tip(on), f"{place}/{file}", f"{len(self.files)}"), sending)

    @rule(on=_on, pick=_pick, how=st.sampled_from(content.BREAKS), sending=_sending)
    def break_stack(self, on: str, pick: int, how: str, sending: str) -> None:
        place = self.stack_of(on, pick)
        if place:
            self.commit(on, content.broken(content.mended(self.tip(on), place), place, how), sending)

    @rule(on=_on, pick=_pick, sending=_sending)
    def mend_stack(self, on: str, pick: int, sending: str) -> None:
        place = self.stack_of(on, pick)
        if place:
            self.commit(on, content.mended(self.tip(on), place), sending)

    @rule(on=_on, file=st.sampled_from(["README.md", "src/program.c", content.NET]), sending=_sending)
    def edit_other(self, on: str, file: str, sending: str) -> None:
        """The README, the program, or the module that stacks call."""
        self.commit(on, content.edited(self.tip(on), file, f"{len(self.files)}"), sending)

    @rule(on=_on, pick=_pick, to=_pick, sending=_sending)
    def move_stack(self, on: str, pick: int, to: int, sending: str) -> None:
        source, place = self.stack_of(on, pick), self.free_place(on, to)
        if source and place:
            files = self.tip(on)
            here = content.placed(content.inside(files, source), place)
            self.commit(on, content.without(files, source) | here, sending)

    @rule(on=_on, pick=_pick, to=_pick, sending=_sending)
    def copy_stack(self, on: str, pick: int, to: int, sending: str) -> None:
        source, place = self.stack_of(on, pick), self.free_place(on, to)
        if source and place:
            files = self.tip(on)
            self.commit(on, files | content.placed(content.inside(files, source), place), sending)

    @rule(on=_on, one=_pick, other=_pick, sending=_sending)
    def swap_stacks(self, on: str, one: int, other: int, sending: str) -> None:
        a, b = self.stack_of(on, one), self.stack_of(on, other)
        if a and b and a != b:
            files = self.tip(on)
            rest = content.without(content.without(files, a), b)
            in_a, in_b = content.inside(files, a), content.inside(files, b)
            self.commit(on, rest | content.placed(in_b, a) | content.placed(in_a, b), sending)

    @rule(on=_on, pick=_pick, sending=_sending)
    def remove_stack(self, on: str, pick: int, sending: str) -> None:
        place = self.stack_of(on, pick)
        if place:
            self.lost_configs[place] = content.inside(self.tip(on), place)
            self.commit(on, content.without(self.tip(on), place), sending)

    @rule(on=_on, pick=_pick, sending=_sending)
    def remove_config(self, on: str, pick: int, sending: str) -> None:
        """The module stays, and is no stack any more."""
        place = self.stack_of(on, pick)
        if place:
            files = dict(self.tip(on))
            self.lost_configs[place] = content.inside(files, place)
            del files[f"{place}/stackly.hcl"]
            self.commit(on, files, sending)

    @precondition(lambda self: self.lost_configs)
    @rule(on=_on, pick=_pick, sending=_sending)
    def restore(self, on: str, pick: int, sending: str) -> None:
        place = sorted(self.lost_configs)[pick % len(self.lost_configs)]
        files = content.without(self.tip(on), place)
        self.commit(on, files | content.placed(self.lost_configs[place], place), sending)

    @rule(on=_on, sending=_sending)
    def revert(self, on: str, sending: str) -> None:
        oid = self.repo.refs.get(HEADS + on)
        if oid and self.parents[oid]:
            self.commit(on, self.files[self.parents[oid][0]], sending)

    @rule(on=_on, pick=st.integers(0, 200), sending=_sending)
    def point_anywhere(self, on: str, pick: int, sending: str) -> None:
        """A new branch at an old commit, a force-push back, or one forward again."""
        known = list(self.files)
        self.do(self.repo.push({HEADS + on: known[-1 - pick % len(known)]}, faults(sending)))

    @rule(on=_on, sending=_sending)
    def rewrite(self, on: str, sending: str) -> None:
        """The last commit is amended and pushed by force."""
        oid = self.repo.refs.get(HEADS + on)
        if oid:
            fresh = self.write(content.edited(self.files[oid], "README.md", "amended"), self.parents[oid])
            self.do(self.repo.push({HEADS + on: fresh}, faults(sending)))

    @rule(on=st.sampled_from(BRANCHES), sending=_sending)
    def delete_branch(self, on: str, sending: str) -> None:
        if HEADS + on in self.repo.refs:
            self.do(self.repo.push({HEADS + on: None}, faults(sending)))

    @rule(count=st.integers(1, 5), sending=_sending)
    def push_tags(self, count: int, sending: str) -> None:
        """More than three at once are announced by nobody."""
        fresh = {f"refs/tags/v{self.tags + n}": self.repo.refs[MAIN] for n in range(count)}
        self.tags += count
        self.do(self.repo.push(fresh, faults(sending)))

    @rule(sending=_sending, back=st.booleans())
    def rename(self, sending: str, back: bool) -> None:
        self.names += 0 if back else 1
        self.do(
            self.repo.rename(f"{self.name}-{self.names}" if self.names and not back else self.name, faults(sending))
        )

    # the network

    @precondition(lambda self: self.repo.pending)
    @rule(picks=st.lists(st.tuples(_pick, _arriving), min_size=1, max_size=4))
    def deliver(self, picks: list[tuple[int, str]]) -> None:
        """Some of what is on its way arrives, in any order, well or badly; the rest is late."""
        for pick, arriving in picks:
            if self.repo.pending:
                self.do(self.deliver_one(self.repo.pending[pick % len(self.repo.pending)], arriving))

    @precondition(lambda self: self.repo.pending)
    @rule(pick=_pick)
    def deliver_and_crash(self, pick: int) -> None:
        """The API dies as soon as it has answered."""
        self.do(self.deliver_one(self.repo.pending[pick % len(self.repo.pending)]))
        self.do(self.platform.crash_api())

    @precondition(lambda self: self.delivered)
    @rule(pick=_pick)
    def redeliver(self, pick: int) -> None:
        self.repo.redeliver(self.delivered[-1 - pick % len(self.delivered)])

    @rule()
    def crash_api(self) -> None:
        self.do(self.platform.crash_api())

    # workers

    @rule()
    def pass_time(self) -> None:
        self.do(self.repo.pass_time())

    @rule()
    def dispatch(self) -> None:
        self.do(self.repo.dispatch())
        self.compare()

    @rule()
    def deliver_all_and_dispatch(self) -> None:
        self.do(self.deliver_all())
        self.do(self.repo.dispatch())
        self.compare()

    @rule()
    def crash_before_process(self) -> None:
        """A worker has fetched, and dies; what it was about to do is done later, by somebody who never looks again."""
        self.stale = self.do(self.repo.fetched())

    @precondition(lambda self: self.stale)
    @rule()
    def process_stale(self) -> None:
        for change in self.stale:
            self.do(self.repo.process(change))
        self.stale = []
        self.compare()

    @rule()
    def sync_twice(self) -> None:
        """Two workers carry the same change out at once: one of them does."""
        for change in self.do(self.repo.fetched()):
            assert self.do(self.repo.process(change, at_once=2))
        self.compare()

    @rule(pick=_pick)
    def begin_run(self, pick: int) -> None:
        queued = self.do(self.repo.looked()).queued()
        if queued:
            run = queued[pick % len(queued)]
            if self.do(self.repo.begin(run["id"])):
                (self.planned if run["kind"] == "deploy" else self.loading).append(run["id"])

    @precondition(lambda self: self.planned)
    @rule(pick=_pick)
    def apply_run(self, pick: int) -> None:
        """From here on the state holds resources, unless the gate has something against it."""
        run = self.planned.pop(pick % len(self.planned))
        if self.do(self.repo.apply(run)):
            self.model.deployed(next(r["code"] for r in self.do(self.repo.looked()).runs if r["id"] == run))
            self.loading.append(run)

    @precondition(lambda self: self.loading)
    @rule(pick=_pick)
    def finish_run(self, pick: int) -> None:
        self.do(self.repo.finish(self.loading.pop(pick % len(self.loading))))

    @rule()
    def reconcile(self) -> None:
        self.settle()

    def teardown(self) -> None:
        if not self.is_broken:  # what broke first is what is told
            self.settle()

    def settle(self) -> None:
        """One sweep, and whatever was lost, late or wrong before: the registry is what git says."""
        self.do(self.repo.sweep())
        self.do(self.repo.pass_time())  # a branch that is gone is given a while
        self.do(self.repo.sweep())
        here, there = self.do(self.repo.known_as())
        assert here == there, f"{there} is known as {here}"
        heads = {ref: oid for ref, oid in self.repo.refs.items() if ref.startswith(HEADS)}
        assert {ref: oid for ref, oid in self.model.at.items() if oid} == heads
        self.compare()
        self.do(self.repo.admit())
        self.model.check_idle(self.do(self.repo.looked()))
        assert not self.do(self.repo.lost()), "the hub was told that deliveries are kept, and they are not"

    # parts

    def tip(self, on: str) -> Files:
        """The files of a branch; of main, when there is no such branch yet."""
        return self.files[self.repo.refs.get(HEADS + on, self.repo.refs[MAIN])]

    def stack_of(self, on: str, pick: int) -> str:
        found = content.stacks_of(self.tip(on))
        return found[pick % len(found)] if found else ""

    def free_place(self, on: str, pick: int) -> str:
        free = [p for p in content.PLACES if not content.inside(self.tip(on), p)]
        return free[pick % len(free)] if free else ""

    def write(self, files: Files, parents: list[str] | None = None) -> str:
        oid = self.repo.objects.commit(files, parents or [], f"commit {len(self.files)}")
        self.files[oid], self.parents[oid] = files, parents or []
        return oid

    def commit(self, on: str, files: Files, sending: str) -> None:
        parent = self.repo.refs.get(HEADS + on, self.repo.refs[MAIN])
        self.do(self.repo.push({HEADS + on: self.write(files, [parent])}, faults(sending)))

    async def deliver_one(self, number: int, arriving: str = "") -> None:
        rings = await self.repo.rings()
        ended = await self.repo.deliver(number, faults(arriving))
        self.delivered.append(number)
        assert (ended.status_code == 202) == (arriving in {"", "wrong_event"}), ended.status_code
        if ended.event == "push" and not arriving and not ended.redelivery:
            # A GUID that arrived before may be of a delivery whose header was wrong: that one rang nothing.
            heard = await self.repo.rings() - rings
            assert heard in {0, 1}

    async def deliver_all(self) -> None:
        while self.repo.pending:
            await self.deliver_one(self.repo.pending[0])

    def compare(self) -> None:
        self.do(self.compared())

    async def compared(self) -> None:
        self.model.check(await self.repo.looked())
