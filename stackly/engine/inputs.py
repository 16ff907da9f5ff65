"""What a step is given, from rows alone: nothing that a message or an agent said becomes an input."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stackly import clock
from stackly.db import Session
from stackly.engine import images
from stackly.engine.contracts.control import Reserved
from stackly.engine.contracts.edge import (
    CollectInput,
    DatabaseInput,
    InstallInput,
    MeasureInput,
    PrepareInput,
    WarmupInput,
    WorkloadSpec,
)
from stackly.engine.contracts.site import (
    ApplyInput,
    BootInput,
    ImageInput,
    InventoryInput,
    MachineSpec,
    ModuleInput,
    ProbeInput,
    PullInput,
    RemoveInput,
    bundle_sha256,
)
from stackly.engine.reserving import held_by
from stackly.runs import store
from stackly.runs import tests as tests_store
from stackly.runs.expected import verb_of
from stackly.runs.model import Run, TestRecord
from stackly.spec.runs import RunKind
from stackly.stacks import versions
from stackly.suites import jsonform
from stackly.suites.model import ResolvedTest
from stackly.teardown import store as obligations
from stackly.temporal.steps import StepKey
from stackly.temporal.timings import IMAGE_PULL, VERIFY_TRIES

_CONNECTIONS = 200  # what a server of ours takes where nothing else is said
_WATCHERS = 20  # the agent's own connections, the server's reserve, and a load tool's besides its clients


class NotDue(Exception):  # noqa: N818 - an answer, not an error of ours
    """The rows do not hold what this step would be about."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a step is made from. Shape: `module` is the run's spec, or the kit that a destroy goes by."""

    session: Session
    key: StepKey
    run: Run
    module: Mapping[str, Any]
    test: TestRecord | None = None
    held: Reserved | None = None
    resolved: ResolvedTest | None = None

    @property
    def number(self) -> int:
        """`measure 2` -> 2. Raises: NotDue."""
        text = self.key.step.split(" ")[1:2]
        if not (text and text[0].isdecimal() and text[0].isascii()):
            raise NotDue(f"{self.key.step} has no number")
        return int(text[0])

    @property
    def place(self) -> Reserved:
        if self.held is None:
            raise NotDue("the test holds nothing yet")
        return self.held

    @property
    def load(self) -> ResolvedTest:
        if self.resolved is None:
            raise NotDue("only a test has a load")
        return self.resolved

    @property
    def target(self) -> str:
        return str(self.module["target"])


async def build(session: Session, key: StepKey) -> dict[str, Any]:
    """The step's input as its row keeps it. Raises: NotDue."""
    subject = await _subject(session, key)
    return dict(jsonform.to_json(await BUILDERS[verb_of(key.step)](subject)))


async def _subject(session: Session, key: StepKey) -> Subject:
    run = await store.get_run(session, key.run)
    module: Mapping[str, Any] = run.spec
    if run.kind is RunKind.DESTROY and (owed := await obligations.find_open(session, run.state)) is not None:
        module = owed.kit
    if not key.test:
        return Subject(session, key, run, module)
    test = await tests_store.get_test(session, key.run, key.test)
    held = await held_by(session, run, test)
    return Subject(session, key, run, module, test, held, jsonform.from_json(ResolvedTest, test.spec))


# -- Terraform -------------------------------------------------------------------------------------------------------


def _module(subject: Subject) -> ModuleInput:
    module = subject.module
    if subject.test is not None:
        return _test_module(subject)
    return ModuleInput(
        key=subject.key,
        target=subject.target,
        path=str(module["path"]),
        variables=dict(module.get("variables") or {}),
        network_cidr=str(module.get("network_cidr") or ""),
        machines=[MachineSpec(**m) for m in module.get("machines") or ()],
        labels=dict(module.get("labels") or {}),
        environment=str(module.get("environment") or ""),
        bundle_sha256=bundle_sha256(str(module.get("bundle") or "")),
    )


def _test_module(subject: Subject) -> ModuleInput:
    spec, held = subject.run.spec, subject.place
    return ModuleInput(
        key=subject.key,
        target=subject.target,
        path=str(spec["path"]),
        variables=dict(spec.get("variables") or {}),
        network_cidr=held.network_cidr,
        machines=held.machines,
        labels=held.labels,
        environment=str(spec.get("environment") or ""),
        creates_only=True,
        bundle_sha256=bundle_sha256(str(spec.get("bundle") or "")),
    )


async def _plan(subject: Subject) -> ModuleInput:
    if subject.number != int(subject.run.spec.get("plans", 1)):
        raise NotDue(f"{subject.key.step} is not the plan that counts")
    return _module(subject)


async def _apply(subject: Subject) -> ApplyInput:
    """The approved plan is what is applied.

    After its agent was lost in it, the rest is planned anew from the recovered state: what was created is not created
    twice, and what was not approved is refused.
    """
    module, digest = _module(subject), subject.run.digest or ""
    if subject.test is not None:
        await _must_be_empty(subject)
        return ApplyInput(module, digest=digest)
    plan = subject.run.spec.get("plan") or {}
    if not plan.get("plan_sha256"):
        raise NotDue("no plan was recorded")
    if subject.key.attempt == 1:
        return ApplyInput(module, plan_sha256=str(plan["plan_sha256"]), digest=digest)
    return ApplyInput(
        module,
        approved=list(plan["summary"]),
        digest=digest,
        approved_plan_sha256=str(plan["plan_sha256"]),
        approved_changes=int(plan.get("changes") or 0),
    )


async def _must_be_empty(subject: Subject) -> None:
    """A test begins with nothing; only what an attempt of its own made may be there."""
    assert subject.test is not None
    is_first = subject.key.attempt == 1
    if is_first and await versions.newest_version(subject.session, str(subject.test.state)) is not None:
        raise NotDue("the test's state is not empty")


async def _destroy(subject: Subject) -> ModuleInput:
    return _module(subject)


# -- machines --------------------------------------------------------------------------------------------------------


async def _probe(subject: Subject) -> ProbeInput:
    cidr = subject.place.network_cidr
    if subject.key.step != f"probe {cidr}":
        raise NotDue(f"the test holds {cidr}")
    return ProbeInput(subject.key, subject.target, cidr)


async def _boot(subject: Subject) -> BootInput:
    held, test = subject.place, subject.test
    ends_at = clock.iso(test.deadline) if test is not None and test.deadline is not None else ""
    return BootInput(subject.key, subject.target, held.network_cidr, held.machines, ends_at)


async def _remove(subject: Subject) -> RemoveInput:
    module = subject.module
    if not module.get("owner_run"):
        raise NotDue("nothing was booted for this state")
    return RemoveInput(subject.key, subject.target, str(module["owner_run"]), str(module.get("owner_test") or ""))


async def _inventory(subject: Subject) -> InventoryInput:
    if not 1 <= subject.number <= VERIFY_TRIES:
        raise NotDue(f"there are {VERIFY_TRIES} looks")
    module = subject.module
    owner_run, owner_test = str(module.get("owner_run") or ""), str(module.get("owner_test") or "")
    return InventoryInput(subject.key, subject.target, owner_run, owner_test)


def _named(subject: Subject) -> tuple[str, str]:
    """The image that a step counts to, and what it meant. Shape: '' where that is not known yet. Raises: NotDue."""
    known = sorted(images.of_spec(subject.run.spec).items())
    if not 1 <= subject.number <= len(known):
        raise NotDue(f"the run names {len(known)} images")
    return known[subject.number - 1]


async def _image(subject: Subject) -> ImageInput:
    return ImageInput(subject.key, subject.target, _named(subject)[0])


async def _pull(subject: Subject) -> PullInput:
    image, pinned = _named(subject)
    if not pinned:
        raise NotDue(f"what {image} means is not known yet")
    return PullInput(subject.key, subject.target, pinned, IMAGE_PULL.total_seconds())


# -- database and load -----------------------------------------------------------------------------------------------


async def _database(subject: Subject) -> DatabaseInput:
    held, database = subject.place, subject.load.database
    spec = next(m for m in held.machines if m.name == held.database_machine)
    return DatabaseInput(
        key=subject.key,
        engine=database.engine,
        version=database.version,
        listen=spec.internal_ip,
        port=held.port,
        admit=held.admit,
        settings=server_settings(subject.load),
        image=images.pinned(subject.run.spec, database.image),
    )


def server_settings(load: ResolvedTest) -> dict[str, str]:
    """As the suite says them. Where it says nothing else, the server takes all clients and who watches them."""
    given = dict(load.database.settings)
    wanted = load.workload.clients + _WATCHERS
    if wanted <= _CONNECTIONS or any(name.lower() == "max_connections" for name in given):
        return given
    return {"max_connections": str(wanted), **given}


def _workload(subject: Subject) -> WorkloadSpec:
    load = subject.load.workload
    return WorkloadSpec(**{**load._asdict(), "params": dict(load.params)})


async def _install(subject: Subject) -> InstallInput:
    assert subject.place.endpoint is not None, "what is reserved has an endpoint"
    return InstallInput(subject.key, _workload(subject), subject.place.endpoint)


async def _prepare(subject: Subject) -> PrepareInput:
    assert subject.place.endpoint is not None, "what is reserved has an endpoint"
    return PrepareInput(subject.key, _workload(subject), subject.place.endpoint)


def _sample(subject: Subject) -> int:
    if not 1 <= subject.number <= subject.load.measure.repeats_min:
        raise NotDue(f"{subject.load.measure.repeats_min} samples are measured")
    return subject.number


async def _warmup(subject: Subject) -> WarmupInput:
    assert subject.place.endpoint is not None, "what is reserved has an endpoint"
    seconds = float(subject.load.measure.warmup_s)
    return WarmupInput(subject.key, _workload(subject), subject.place.endpoint, seconds, _sample(subject))


async def _measure(subject: Subject) -> MeasureInput:
    assert subject.place.endpoint is not None, "what is reserved has an endpoint"
    seconds = float(subject.load.measure.duration_s)
    return MeasureInput(subject.key, _workload(subject), subject.place.endpoint, seconds, _sample(subject))


async def _collect(subject: Subject) -> CollectInput:
    return CollectInput(subject.key)


BUILDERS: Mapping[str, Callable[[Subject], Awaitable[Any]]] = {
    "plan": _plan,
    "apply": _apply,
    "destroy": _destroy,
    "probe": _probe,
    "boot": _boot,
    "remove": _remove,
    "inventory": _inventory,
    "image": _image,
    "pull": _pull,
    "database": _database,
    "install": _install,
    "prepare": _prepare,
    "warmup": _warmup,
    "measure": _measure,
    "collect": _collect,
}
