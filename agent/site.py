"""What a site agent does, one method per step: Terraform, machines, inventory."""

import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from agent import workdir
from agent.context import StepContext
from agent.sandbox.isolation import Isolation, find
from agent.targets.registry import Targets
from agent.targets.target import TargetSite
from agent.terraform import leftovers, mirroring, outputs, state
from agent.terraform.plan import summary
from agent.terraform.process import TerraformSettings
from agent.terraform.providers import forget_earlier
from agent.terraform.session import Session, open_session, sha256
from agent.terraform.variables import cloud_config, enrolment_entry
from stackly import clock, log
from stackly.engine.contracts.site import (
    ApplyInput,
    ApplyOutcome,
    BootInput,
    BootOutcome,
    DestroyOutcome,
    ImageInput,
    ImageOutcome,
    InventoryInput,
    InventoryOutcome,
    ModuleInput,
    PlanOutcome,
    ProbeInput,
    ProbeOutcome,
    PullInput,
    PullOutcome,
    RemoveInput,
    RemoveOutcome,
)
from stackly.errors import StacklyError, Unavailable, reason_of
from stackly.temporal.steps import STEP_GRACE, StepKey

_log = log.get("agent.site")


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """Shape: `edge_command` gets `--enrolment FILE --home DIR`; `isolation` is found where none is given.

    Units: `grace_s` seconds from SIGTERM to SIGKILL.
    """

    terraform: str = "terraform"
    plugin_mirror: Path | None = None
    docker_socket: str = "/var/run/docker.sock"
    edge_command: tuple[str, ...] = (sys.executable, "-m", "agent.main", "edge")
    edge_home: str = "/var/lib/stackly"  # of an edge agent that cloud-init starts
    grace_s: float = STEP_GRACE.total_seconds()
    isolation: Isolation | None = None
    readable: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A state file that an earlier life of this agent left behind."""

    run: str
    test: str
    epoch: int
    state: bytes


class SiteWork:
    """One per site agent. Steps of one (run, test) never overlap: the step rows see to that."""

    def __init__(self, home: Path, agent_id: str, settings: SiteSettings | None = None) -> None:
        self._home = home.absolute()
        self._settings = settings or SiteSettings()
        s = self._settings
        isolation = s.isolation or find(self._home)
        self._terraform = TerraformSettings(isolation, s.terraform, s.plugin_mirror, (), s.readable, s.grace_s)
        forget_earlier(self._home)
        self._targets = Targets(TargetSite(self._home, agent_id, s.edge_command, s.docker_socket))

    async def probe(self, given: ProbeInput, context: StepContext) -> ProbeOutcome:  # noqa: ARG002 - steps are alike
        return await self._targets.get(given.target).probe(given.network_cidr)

    async def plan(self, given: ModuleInput, context: StepContext) -> PlanOutcome:
        """The plan stays in the run directory until an apply takes it, or the run is over."""
        session = self._open(given, context)
        try:
            await session.prepare(await self._user_data(given, context))
            found = await session.plan()
        except BaseException:
            await session.close()
            raise
        finally:
            session.work.variables.unlink(missing_ok=True)
        return PlanOutcome(
            create=found.create,
            update=found.update,
            delete=found.delete,
            changed=found.changed,
            plan_sha256=sha256(session.work, session.work.plan),
            lock_sha256=sha256(session.work, session.module / ".terraform.lock.hcl"),
            serial=session.base.serial if session.base else 0,
            lineage=session.base.lineage if session.base else "",
            summary=summary(found.lines, session.mask),
            changes=len(found.lines),
            terraform_version=session.version,
            move=found.move,
            adopt=found.adopt,
            forget=found.forget,
        )

    async def apply(self, given: ApplyInput, context: StepContext) -> ApplyOutcome:
        """Apply the plan that was approved, or plan and apply in one step. The state is stored before it returns."""
        started = clock.monotonic()
        session = self._open(given.module, context)
        if given.plan_sha256:
            await session.reopen(given.plan_sha256)
        else:
            await session.prepare(await self._user_data(given.module, context))
            await session.plan(given.what_was_approved)
        reader = await session.change("apply", "-json", "-input=false", str(session.work.plan))
        outcome = self._applied(session, reader.changes, started)
        await session.close()
        return outcome

    def _applied(self, session: Session, changes: dict[str, int], started: float) -> ApplyOutcome:
        """Raises: Invalid when the module's outputs miss the contract; what was made is in the state then."""
        given = session.given
        after = leftovers.read(session.work, session.work.state)
        found = after.outputs if after else {}
        makes = self._targets.get(given.target).makes_machines
        shown = outputs.public(found)
        if shown.dropped:
            session.context.log(f"Outputs too large to keep: {', '.join(shown.dropped)}", "warning")
        return ApplyOutcome(
            machines=outputs.machines(found, given.machines, fixed_addresses=makes),
            outputs=shown.values,
            fault=shown.fault,
            created=changes.get("add", 0),
            updated=changes.get("change", 0),
            deleted=changes.get("remove", 0),
            serial=after.serial if after else 0,
            seconds=clock.monotonic() - started,
            lock_sha256=sha256(session.work, session.module / ".terraform.lock.hcl"),
            terraform_version=session.version,
        )

    async def destroy(self, given: ModuleInput, context: StepContext) -> DestroyOutcome:
        """Destroy what the newest valid state holds; without one there is nothing of Terraform's."""
        started = clock.monotonic()
        session = self._open(given, context)
        await session.prepare({})
        if session.base is None:
            await session.close()
            return DestroyOutcome(0, clock.monotonic() - started)
        reader = await session.change(
            "destroy", "-json", "-input=false", "-auto-approve", f"-var-file={session.work.variables}"
        )
        await session.close()
        return DestroyOutcome(reader.changes.get("remove", 0), clock.monotonic() - started)

    async def find_image(self, given: ImageInput, context: StepContext) -> ImageOutcome:
        return await self._targets.get(given.target).find_image(given.image, context)

    async def pull_image(self, given: PullInput, context: StepContext) -> PullOutcome:
        started = clock.monotonic()
        pulled = await self._targets.get(given.target).pull_image(given.image, context, given.timeout_s)
        return PullOutcome(pulled, clock.monotonic() - started)

    async def boot(self, given: BootInput, context: StepContext) -> BootOutcome:
        started = clock.monotonic()
        agents = await self._targets.get(given.target).boot(given, context)
        return BootOutcome(agents, clock.monotonic() - started)

    async def remove(self, given: RemoveInput, context: StepContext) -> RemoveOutcome:
        started = clock.monotonic()
        removed = await self._targets.get(given.target).remove(given.owner_run, given.owner_test)
        context.log(f"Removed: {', '.join(removed) or 'nothing was there'}")
        return RemoveOutcome(removed, clock.monotonic() - started)

    async def inventory(self, given: InventoryInput, context: StepContext) -> InventoryOutcome:  # noqa: ARG002 - steps are alike
        items = await self._targets.get(given.target).inventory(given.owner_run, given.owner_test)
        return InventoryOutcome(given.target, items)

    async def unfinished(self) -> list[Unfinished]:
        """At start, before anything is reaped: states that may be here only. Their Terraform ends first."""
        for each in workdir.run_directories(self._home):
            await mirroring.settle(each, self._settings.grace_s)
        leftovers.adopt_earlier(self._home)
        return [
            Unfinished(each.owner.run, each.owner.test, int(each.owner.last), best.content)
            for each in workdir.run_directories(self._home)
            if (best := state.newest(None, leftovers.read_all(each)[0]))
        ]

    async def look_around(self, targets: Collection[str]) -> dict[str, list[dict[str, str]]]:
        """Everything on these targets that our marks claim. A target that is away is left out."""
        found: dict[str, list[dict[str, str]]] = {}
        for name in targets:
            try:
                target = self._targets.get(name)
                found[name] = [asdict(item) for item in [*await target.inventory("", ""), *await target.ended()]]
            except Unavailable as e:
                _log.warning("target.away", target=name, reason=e.detail)
        return found

    async def reap(self, current: Collection[tuple[str, str]], targets: Collection[str] = ("local",)) -> list[str]:
        """End what belongs to no (run, test) of `current`. Call it when `unfinished` was sent."""
        gone = []
        for each in workdir.run_directories(self._home):
            if (each.owner.run, each.owner.test) not in current:
                await workdir.discard(each)
                gone.append(str(each.owner))
        for name in targets:
            target = self._targets.get(name)
            owners = {(i.run, i.test) for i in await target.inventory("", "")}
            for run, test in sorted(owners - set(current)):
                gone += await target.remove(run, test)
        if gone:
            _log.info("leftovers.reaped", things=gone)
        return gone

    async def tidy(
        self,
        owners: Callable[[], Awaitable[Mapping[tuple[str, str], bool]]],
        running: Callable[[], Collection[StepKey]] = tuple,
    ) -> list[str]:
        """Delete the directories of runs that are over: of those that planned and never applied. What lives stays.

        So does one whose step runs here, also between two of its processes, and when its run has ended meanwhile; and,
        until its state is gone, one in which a change began: nothing else may know what it made.
        Shape: `owners` as `Gateway.list_owners`.
        """
        # Listed before asking: what begins while the answer is on its way is not among them.
        quiet = [each for each in workdir.run_directories(self._home) if not workdir.occupants(each.root)]
        current = await owners() if quiet else {}
        gone = [each for each in quiet if _is_over(each, current.get((each.owner.run, each.owner.test)))]
        deleted = []
        for each in gone:
            if (each.owner.run, each.owner.test) in {(key.run, key.test) for key in running()}:
                continue
            try:
                await workdir.discard(each)
            except (OSError, StacklyError) as e:  # one that cannot be deleted keeps no other
                _log.warning("directory.not_deleted", owner=str(each.owner), reason=reason_of(e))
                continue
            deleted.append(str(each.owner))
            _log.info("directory.deleted", owner=str(each.owner))
        return deleted

    def _open(self, given: ModuleInput, context: StepContext) -> Session:
        self._targets.get(given.target)
        return open_session(self._home, self._terraform, given, context)

    async def _user_data(self, given: ModuleInput, context: StepContext) -> dict[str, str]:
        """Where the module makes the machines it starts their edge agents too; elsewhere boot does."""
        if self._targets.get(given.target).makes_machines:
            return {}
        found = {}
        for machine in given.machines:
            enrolment = await context.issue_enrolment(machine.name)
            entry = enrolment_entry(context.key, machine.name, machine.internal_ip, enrolment, self._settings.edge_home)
            found[machine.name] = cloud_config(entry)
        return found


def _is_over(work: workdir.RunDirectory, ended: bool | None) -> bool:
    """Whether nothing there is needed. Shape: `ended` as `Gateway.list_owners` has it, None where it has nothing."""
    return ended is None or (ended and not work.change.exists())
