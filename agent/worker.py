"""The activities of both roles, each through its step row, and the Temporal workers that poll for them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from temporalio import activity
from temporalio.client import Client
from temporalio.converter import value_to_type
from temporalio.service import GrpcCompression, RPCError, TLSConfig
from temporalio.worker import Worker

from agent.context import StepContext
from agent.gateway import Identity
from agent.settings import AgentSettings
from agent.steps import Steps
from stackly import log
from stackly.engine.contracts.edge import (
    CollectInput,
    CollectOutcome,
    DatabaseInput,
    DatabaseOutcome,
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
)
from stackly.errors import Unavailable
from stackly.temporal.codec import AccountKeys, EncryptedPayloads, OneWorkflow, PayloadKey, held_keys
from stackly.temporal.sealed import data_converter
from stackly.temporal.steps import StepActivities, StepKey, edge_queue, site_queue, teardown_queue

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


@dataclass(frozen=True, slots=True)
class Hand:
    """What carries out one kind of step, and the input it takes."""

    given: type[Any]
    method: Callable[[Any, StepContext], Awaitable[Any]]

    async def __call__(self, given: Mapping[str, Any], context: StepContext) -> Any:
        return await self.method(value_to_type(self.given, given), context)


def site_hands(hands: SiteHands) -> dict[str, Hand]:
    """By the first word of the step's name."""
    return {
        "probe": Hand(ProbeInput, hands.probe),
        "plan": Hand(ModuleInput, hands.plan),
        "apply": Hand(ApplyInput, hands.apply),
        "destroy": Hand(ModuleInput, hands.destroy),
        "image": Hand(ImageInput, hands.find_image),
        "pull": Hand(PullInput, hands.pull_image),
        "boot": Hand(BootInput, hands.boot),
        "remove": Hand(RemoveInput, hands.remove),
        "inventory": Hand(InventoryInput, hands.inventory),
    }


def edge_hands(hands: EdgeHands) -> dict[str, Hand]:
    return {
        "database": Hand(DatabaseInput, hands.start_database),
        "install": Hand(InstallInput, hands.install),
        "prepare": Hand(PrepareInput, hands.prepare),
        "warmup": Hand(WarmupInput, hands.warmup),
        "measure": Hand(MeasureInput, hands.measure),
        "collect": Hand(CollectInput, hands.collect),
    }


class StepWorker(StepActivities):
    """The one activity of an agent. Which hand it is follows from the row that expects the step, never a message."""

    def __init__(self, hands: Mapping[str, Hand], steps: Steps) -> None:
        self._hands = hands
        self._steps = steps

    @activity.defn(name="step")
    async def carry_out(self, key: StepKey) -> None:
        hand = self._hands.get(key.step.partition(" ")[0])
        if hand is None:
            _log.warning("step.unknown", run=key.run, test=key.test, step=key.step)
            return
        await self._steps.execute(key, hand)


def codec_of(identity: Identity) -> EncryptedPayloads:
    """A site agent reads its account's payloads; an edge agent those of its own test's workflow."""
    if identity.role == "site":
        return EncryptedPayloads(AccountKeys(held_keys(identity.account, identity.keys["account"]), identity.account))
    told = identity.keys["workflow"]
    held = held_keys(identity.account, {str(told["version"]): str(told["key"])})
    key = PayloadKey(identity.account, int(told["version"]), str(told["workflow_id"]), held.keys[int(told["version"])])
    return EncryptedPayloads(OneWorkflow(key))


async def connect(identity: Identity) -> Client:
    """Temporal through the gateway, which passes on what an activity worker needs. Raises: Unavailable."""
    tls = TLSConfig(
        server_root_ca_cert=identity.ca_pem, client_cert=identity.certificate_pem, client_private_key=identity.key_pem
    )
    try:
        async with asyncio.timeout(_CONNECT_S):
            return await Client.connect(
                identity.gateway,
                namespace=identity.namespace,
                data_converter=data_converter(codec_of(identity)),
                identity=f"{identity.role}/{identity.agent_id}",
                tls=tls,
                grpc_compression=GrpcCompression.NONE,  # payloads are ciphertext
            )
    except (RuntimeError, TimeoutError, RPCError) as e:
        raise Unavailable(f"Temporal cannot be reached through {identity.gateway}; it is retried.") from e


def _worker(client: Client, queue: str, own: StepWorker, slots: int, settings: AgentSettings) -> Worker:
    throttle = settings.timings.throttle
    return Worker(
        client,
        task_queue=queue,
        activities=[own.carry_out],
        max_concurrent_activities=slots,
        max_concurrent_activity_task_polls=1 if slots == 1 else 2,
        max_heartbeat_throttle_interval=throttle,
        default_heartbeat_throttle_interval=throttle,
    )


def site_workers(
    client: Client, agent_id: str, hands: SiteHands, steps: Steps, settings: AgentSettings
) -> list[Worker]:
    """Two queues with slots of their own: taking down never waits behind work (engine rule 14)."""
    own = StepWorker(site_hands(hands), steps)
    return [
        _worker(client, site_queue(agent_id), own, settings.site_slots, settings),
        _worker(client, teardown_queue(agent_id), own, settings.teardown_slots, settings),
    ]


def edge_workers(
    client: Client, agent_id: str, hands: EdgeHands, steps: Steps, settings: AgentSettings
) -> list[Worker]:
    """One queue, one step at a time."""
    return [_worker(client, edge_queue(agent_id), StepWorker(edge_hands(hands), steps), 1, settings)]


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
