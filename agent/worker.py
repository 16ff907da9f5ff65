"""The activities of both roles, each through its step row, and the Temporal workers that poll for them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from agent.context import StepContext
from agent.gateway import Identity
from agent.settings import AgentSettings
from agent.steps import Steps
from stackly import log
from stackly.engine.codec import AccountKeys, EncryptedPayloads, OneWorkflow, PayloadKey, held_keys
from stackly.engine.contracts.edge import (
    CollectInput,
    CollectOutcome,
    DatabaseInput,
    DatabaseOutcome,
    EdgeActivities,
    InstallInput,
    InstallOutcome,
    MeasureInput,
    MeasureOutcome,
    PrepareInput,
    PrepareOutcome,
    WarmupInput,
    WarmupOutcome,
)
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
    SiteActivities,
)
from stackly.engine.contracts.steps import edge_queue, site_queue, teardown_queue
from stackly.engine.sealed import data_converter
from stackly.errors import Unavailable

_log = log.get("agent.worker")
_CONNECT_S = 10.0


class SiteHands(Protocol):
    """The part of agent.site.SiteWork that its activities call."""

    async def probe(self, given: ProbeInput, context: StepContext) -> ProbeOutcome: ...
    async def plan(self, given: ModuleInput, context: StepContext) -> PlanOutcome: ...
    async def apply(self, given: ApplyInput, context: StepContext) -> ApplyOutcome: ...
    async def destroy(self, given: ModuleInput, context: StepContext) -> DestroyOutcome: ...
    async def find_image(self, given: ImageInput, context: StepContext) -> ImageOutcome: ...
    async def pull_image(self, given: PullInput, context: StepContext) -> PullOutcome: ...
    async def boot(self, given: BootInput, context: StepContext) -> BootOutcome: ...
    async def remove(self, given: RemoveInput, context: StepContext) -> RemoveOutcome: ...
    async def inventory(self, given: InventoryInput, context: StepContext) -> InventoryOutcome: ...


class EdgeHands(Protocol):
    """The part of agent.edge.EdgeWork that its activities call."""

    async def start_database(self, given: DatabaseInput, context: StepContext) -> DatabaseOutcome: ...
    async def install(self, given: InstallInput, context: StepContext) -> InstallOutcome: ...
    async def prepare(self, given: PrepareInput, context: StepContext) -> PrepareOutcome: ...
    async def warmup(self, given: WarmupInput, context: StepContext) -> WarmupOutcome: ...
    async def measure(self, given: MeasureInput, context: StepContext) -> MeasureOutcome: ...
    async def collect(self, given: CollectInput, context: StepContext) -> CollectOutcome: ...


class SiteWorker(SiteActivities):
    def __init__(self, hands: SiteHands, steps: Steps) -> None:
        self._hands = hands
        self._steps = steps

    @activity.defn(name="site.probe")
    async def probe(self, given: ProbeInput) -> ProbeOutcome:
        return await self._steps.execute(given.key, lambda c: self._hands.probe(given, c), ProbeOutcome)

    @activity.defn(name="site.plan")
    async def plan(self, given: ModuleInput) -> PlanOutcome:
        return await self._steps.execute(given.key, lambda c: self._hands.plan(given, c), PlanOutcome)

    @activity.defn(name="site.apply")
    async def apply(self, given: ApplyInput) -> ApplyOutcome:
        return await self._steps.execute(given.module.key, lambda c: self._hands.apply(given, c), ApplyOutcome)

    @activity.defn(name="site.destroy")
    async def destroy(self, given: ModuleInput) -> DestroyOutcome:
        return await self._steps.execute(given.key, lambda c: self._hands.destroy(given, c), DestroyOutcome)

    @activity.defn(name="site.find_image")
    async def find_image(self, given: ImageInput) -> ImageOutcome:
        return await self._steps.execute(given.key, lambda c: self._hands.find_image(given, c), ImageOutcome)

    @activity.defn(name="site.pull_image")
    async def pull_image(self, given: PullInput) -> PullOutcome:
        return await self._steps.execute(given.key, lambda c: self._hands.pull_image(given, c), PullOutcome)

    @activity.defn(name="site.boot")
    async def boot(self, given: BootInput) -> BootOutcome:
        return await self._steps.execute(given.key, lambda c: self._hands.boot(given, c), BootOutcome)

    @activity.defn(name="site.remove")
    async def remove(self, given: RemoveInput) -> RemoveOutcome:
        return await self._steps.execute(given.key, lambda c: self._hands.remove(given, c), RemoveOutcome)

    @activity.defn(name="site.inventory")
    async def inventory(self, given: InventoryInput) -> InventoryOutcome:
        return await self._steps.execute(given.key, lambda c: self._hands.inventory(given, c), InventoryOutcome)


class EdgeWorker(EdgeActivities):
    def __init__(self, hands: EdgeHands, steps: Steps) -> None:
        self._hands = hands
        self._steps = steps

    @activity.defn(name="edge.start_database")
    async def start_database(self, given: DatabaseInput) -> DatabaseOutcome:
        return await self._steps.execute(given.key, lambda c: self._hands.start_database(given, c), DatabaseOutcome)

    @activity.defn(name="edge.install")
    async def install(self, given: InstallInput) -> InstallOutcome:
        return await self._steps.execute(given.key, lambda c: self._hands.install(given, c), InstallOutcome)

    @activity.defn(name="edge.prepare")
    async def prepare(self, given: PrepareInput) -> PrepareOutcome:
        return await self._steps.execute(given.key, lambda c: self._hands.prepare(given, c), PrepareOutcome)

    @activity.defn(name="edge.warmup")
    async def warmup(self, given: WarmupInput) -> WarmupOutcome:
        return await self._steps.execute(given.key, lambda c: self._hands.warmup(given, c), WarmupOutcome)

    @activity.defn(name="edge.measure")
    async def measure(self, given: MeasureInput) -> MeasureOutcome:
        return await self._steps.execute(given.key, lambda c: self._hands.measure(given, c), MeasureOutcome)

    @activity.defn(name="edge.collect")
    async def collect(self, given: CollectInput) -> CollectOutcome:
        return await self._steps.execute(given.key, lambda c: self._hands.collect(given, c), CollectOutcome)


def codec_of(identity: Identity) -> EncryptedPayloads:
    """A site agent reads its account's payloads; an edge agent those of its own test's workflow."""
    if identity.role == "site":
        return EncryptedPayloads(AccountKeys(held_keys(identity.account, identity.keys["account"]), identity.account))
    told = identity.keys["workflow"]
    held = held_keys(identity.account, {str(told["version"]): str(told["key"])})
    key = PayloadKey(identity.account, int(told["version"]), str(told["workflow_id"]), held.keys[int(told["version"])])
    return EncryptedPayloads(OneWorkflow(key))


async def connect(identity: Identity) -> Client:
    """Raises: Unavailable when Temporal does not answer."""
    try:
        async with asyncio.timeout(_CONNECT_S):
            return await Client.connect(
                identity.temporal,
                namespace=identity.namespace,
                data_converter=data_converter(codec_of(identity)),
                identity=f"{identity.role}/{identity.agent_id}",
            )
    except (RuntimeError, TimeoutError) as e:
        raise Unavailable(f"Temporal at {identity.temporal} is not reachable; it is retried.") from e


def _worker(
    client: Client, queue: str, activities: Sequence[Callable[..., Any]], slots: int, settings: AgentSettings
) -> Worker:
    throttle = settings.timings.throttle
    return Worker(
        client,
        task_queue=queue,
        activities=activities,
        max_concurrent_activities=slots,
        max_concurrent_activity_task_polls=1 if slots == 1 else 2,
        max_heartbeat_throttle_interval=throttle,
        default_heartbeat_throttle_interval=throttle,
    )


def site_workers(
    client: Client, agent_id: str, hands: SiteHands, steps: Steps, settings: AgentSettings
) -> list[Worker]:
    """Two queues with slots of their own: taking down never waits behind work (ENGINE rule 14)."""
    own = SiteWorker(hands, steps)
    undo: list[Callable[..., Any]] = [own.remove, own.destroy, own.inventory]
    everything: list[Callable[..., Any]] = [
        *(own.probe, own.plan, own.apply, own.boot, own.find_image, own.pull_image),
        *undo,
    ]
    return [
        _worker(client, site_queue(agent_id), everything, settings.site_slots, settings),
        _worker(client, teardown_queue(agent_id), undo, settings.teardown_slots, settings),
    ]


def edge_workers(
    client: Client, agent_id: str, hands: EdgeHands, steps: Steps, settings: AgentSettings
) -> list[Worker]:
    """One queue, one step at a time."""
    own = EdgeWorker(hands, steps)
    activities: list[Callable[..., Any]] = [
        own.start_database,
        own.install,
        own.prepare,
        own.warmup,
        own.measure,
        own.collect,
    ]
    return [_worker(client, edge_queue(agent_id), activities, 1, settings)]


class Polling:
    """Whether the workers really poll: they run, and Temporal answers."""

    def __init__(self, client: Client, workers: Sequence[Worker]) -> None:
        self._client = client
        self._workers = workers
        self._answers = False

    @property
    def is_polling(self) -> bool:
        return self._answers and all(w.is_running for w in self._workers)

    async def look(self) -> None:
        try:
            async with asyncio.timeout(2):
                self._answers = await self._client.service_client.check_health()
        except Exception:  # noqa: BLE001 - whatever it is, it does not answer
            self._answers = False


@asynccontextmanager
async def polling(client: Client, workers: Sequence[Worker]) -> AsyncIterator[Polling]:
    """Run the workers until the end of the block. Raises: what ended one of them before."""
    tasks = [asyncio.create_task(w.run(), name=f"poll {w.task_queue}") for w in workers]
    await asyncio.sleep(0)
    try:
        yield Polling(client, workers)
    finally:
        await asyncio.gather(*(w.shutdown() for w in workers if w.is_running), return_exceptions=True)
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, Exception):
                    _log.warning("worker.ended", reason=str(ended))
