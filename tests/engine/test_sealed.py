"""A client of Temporal's port that holds no key: what it sends is refused, and no workflow is wedged by it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.enums.v1 import CommandType, EventType
from temporalio.api.failure.v1 import Failure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWorkflowExecutionRequest,
)
from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowHistory,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError
from temporalio.exceptions import TimeoutError as TemporalTimeoutError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from stackly.engine.workflows.results import local_result, remote_result
from stackly.ids import new_id
from stackly.secrets import Keyring
from stackly.temporal.codec import AccountKeys, EncryptedPayloads
from stackly.temporal.sealed import UNSEALED, Unsealed, data_converter
from stackly.temporal.steps import STEP_CANCELLED

ONCE = RetryPolicy(maximum_attempts=1)
SOON = timedelta(seconds=30)


class Work:
    @activity.defn(name="sealed.asked")
    async def asked(self, given: str) -> str:
        return f"{given}, asked"

    @activity.defn(name="sealed.noted")
    async def noted(self, given: str) -> str:
        return f"{given}, noted"


@workflow.defn(name="sealed.saga")
class Saga:
    """Waits to be let go, does two things, and undoes them when one of them is not what it should be."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.signal
    def go(self, word: str) -> None:
        self.heard.append(word)

    @workflow.query
    def words(self, also: str) -> list[str]:
        return [*self.heard, also]

    @workflow.update
    async def told(self, word: str) -> None:
        self.heard.append(word)

    @workflow.run
    async def run(self, given: str) -> str:
        try:
            noted = await local_result(Work.noted, given, timeout=SOON, retry=ONCE)
            await workflow.wait_condition(lambda: bool(self.heard))
            return await remote_result(Work.asked, f"{noted}, {self.heard[0]}", timeout=SOON, retry=ONCE)
        except (ActivityError, ApplicationError) as e:
            cause = e.cause if isinstance(e, ActivityError) else e
            return f"undone: {cause.type if isinstance(cause, ApplicationError) else type(cause).__name__}"


@workflow.defn(name="sealed.evil")
class Evil:
    """The stranger's own workflow."""

    @workflow.run
    async def run(self, queue: str) -> None:
        await workflow.execute_activity(
            "sealed.asked", "evil", task_queue=queue, start_to_close_timeout=SOON, retry_policy=ONCE
        )


@dataclass
class House:
    """`ours` holds the key, `stranger` has found the port."""

    ours: Client
    stranger: Client
    queue: str = field(default_factory=lambda: f"sealed-{new_id()}")

    def worker(self, *, activities: bool = True) -> Worker:
        work = Work()
        return Worker(
            self.ours,
            task_queue=self.queue,
            workflows=[Saga],
            activities=[work.asked, work.noted],
            workflow_runner=UnsandboxedWorkflowRunner(),
            # Local activities run all the same.
            no_remote_activities=not activities,
        )

    async def sealed_for(self, workflow_id: str, value: Any) -> Payload:
        """What our key sealed, for another workflow: a stranger has read it there."""
        history = await self._saga_of(workflow_id, value)
        return history.events[0].workflow_execution_started_event_attributes.input.payloads[0]

    async def _saga_of(self, workflow_id: str, value: Any) -> WorkflowHistory:
        handle = await self.ours.start_workflow("sealed.saga", value, id=workflow_id, task_queue="nobody")
        history = await handle.fetch_history()
        await handle.terminate()
        return history

    async def signal(self, workflow_id: str, payload: Payload) -> None:
        await self.stranger.workflow_service.signal_workflow_execution(
            SignalWorkflowExecutionRequest(
                namespace=self.ours.namespace,
                workflow_execution=WorkflowExecution(workflow_id=workflow_id),
                signal_name="go",
                input=Payloads(payloads=[payload]),
            )
        )


@pytest.fixture
async def house(temporal: WorkflowEnvironment, tmp_path: Path) -> House:
    codec = EncryptedPayloads(AccountKeys(Keyring(tmp_path / "keyring.json"), "acme"))
    plain = temporal.client
    target = plain.service_client.config.target_host
    ours = await Client.connect(target, namespace=plain.namespace, data_converter=data_converter(codec))
    stranger = await Client.connect(target, namespace=plain.namespace)
    return House(ours, stranger)


async def ended(handle: WorkflowHandle[Any, Any]) -> Any:
    """Its result; a workflow that was wedged has none, ever."""
    async with asyncio.timeout(20):
        return await handle.result()


def plain(value: bytes = b'"evil"', **metadata: bytes) -> Payload:
    return Payload(metadata={"encoding": b"json/plain", **metadata}, data=value)


# What the SDK itself gives a meaning to before a codec sees it, what looks like ours, and what is nothing at all.
PAYLOADS = {
    "plain": plain(),
    "nothing": Payload(),
    "null": Payload(metadata={"encoding": b"binary/null"}),
    "our refusal": Payload(metadata={"encoding": b"stackly/unsealed"}, data=b"\xff"),
    "elsewhere": Payload(metadata={"encoding": b"json/external-storage-reference"}, data=b"{}"),
    "elsewhere, of a message": plain(
        b"{}", encoding=b"json/protobuf", messageType=b"temporal.api.sdk.v1.ExternalStorageReference"
    ),
    "elsewhere, marked": plain(**{"temporal.io/external-storage-reference": b"true", "reference": b"true"}),
    "half sealed": Payload(metadata={"encoding": b"binary/encrypted"}, data=b"x"),
    "sealed by nobody": Payload(
        metadata={
            "encoding": b"binary/encrypted",
            "key-account": b"acme",
            "key-version": b"1",
            "key-workflow": b"\xff",
        },
        data=b"x" * 40,
    ),
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
async def test_a_strangers_signal_is_dropped_and_the_run_goes_on(house: House, payload: Payload) -> None:
    flow = f"saga/{new_id()}"
    async with house.worker():
        handle = await house.ours.start_workflow(Saga.run, "a", id=flow, task_queue=house.queue)
        await house.signal(flow, payload)
        await house.signal(flow, await house.sealed_for(f"other/{new_id()}", "evil"))
        await handle.signal(Saga.go, "b")
        assert await ended(handle) == "a, noted, b, asked"


async def test_a_marked_seal_of_its_own_is_refused(house: House) -> None:
    """A payload of ours, with a name beside it that makes the SDK look for it elsewhere, and raise."""
    flow = f"saga/{new_id()}"
    async with house.worker():
        handle = await house.ours.start_workflow(Saga.run, "a", id=flow, task_queue=house.queue)
        events = (await handle.fetch_history()).events
        marked = Payload()
        marked.CopyFrom(events[0].workflow_execution_started_event_attributes.input.payloads[0])
        for name in _marks():
            marked.metadata[name] = b"true"
        await house.signal(flow, marked)
        await handle.signal(Saga.go, "b")
        assert await ended(handle) == "a, noted, b, asked"


def _marks() -> set[str]:
    from temporalio.converter import _extstore  # the SDK's own name of it, wherever it moves

    found = {value for name, value in vars(_extstore).items() if name.endswith("MARKER_KEY")}
    assert found
    return found


async def test_a_strangers_start_update_and_query_are_refused(house: House) -> None:
    async with house.worker():
        flow = f"saga/{new_id()}"
        started = await house.stranger.start_workflow("sealed.saga", "a", id=flow, task_queue=house.queue)
        with pytest.raises(WorkflowFailureError):
            await ended(house.ours.get_workflow_handle(started.id))
        handle = await house.ours.start_workflow(Saga.run, "a", id=f"{flow}/ours", task_queue=house.queue)
        theirs = house.stranger.get_workflow_handle(handle.id)
        with pytest.raises(WorkflowQueryFailedError):
            await theirs.query("words", "evil")
        with pytest.raises(WorkflowUpdateFailedError):
            await theirs.execute_update("told", "evil")
        assert await handle.query(Saga.words, "x") == ["x"]
        await handle.execute_update(Saga.told, "b")
        assert await ended(handle) == "a, noted, b, asked"


async def test_a_workflow_with_plain_arguments_makes_our_activities_do_nothing(house: House) -> None:
    """An activity of the stranger's own workflow, on our queue."""
    done: list[str] = []

    @activity.defn(name="sealed.asked")
    async def asked(given: str) -> str:
        done.append(given)
        return given

    theirs = f"evil-{new_id()}"
    async with (
        Worker(house.ours, task_queue=house.queue, activities=[asked]),
        Worker(house.stranger, task_queue=theirs, workflows=[Evil], workflow_runner=UnsandboxedWorkflowRunner()),
    ):
        with pytest.raises(WorkflowFailureError):
            await house.stranger.execute_workflow("sealed.evil", house.queue, id=f"evil/{new_id()}", task_queue=theirs)
    assert done == []


Answer = Callable[[House, bytes], Any]


def completes(payload: Payload | None) -> Answer:
    def answer(house: House, token: bytes) -> Any:
        return house.stranger.workflow_service.respond_activity_task_completed(
            RespondActivityTaskCompletedRequest(
                namespace=house.ours.namespace,
                task_token=token,
                result=None if payload is None else Payloads(payloads=[payload]),
            )
        )

    return answer


def failure_of(**info: Any) -> Failure:
    """What a stranger writes."""
    return Failure(message="evil", **info)


def fails(**info: Any) -> Answer:
    def answer(house: House, token: bytes) -> Any:
        return house.stranger.workflow_service.respond_activity_task_failed(
            RespondActivityTaskFailedRequest(
                namespace=house.ours.namespace, task_token=token, failure=failure_of(**info)
            )
        )

    return answer


EVIL = Payloads(payloads=[plain()])
ANSWERS: dict[str, tuple[Answer, str]] = {
    **{f"completed: {name}": (completes(payload), UNSEALED) for name, payload in PAYLOADS.items()},
    "completed without a result": (completes(None), UNSEALED),
    "failed as we would": (
        fails(application_failure_info={"type": STEP_CANCELLED, "non_retryable": True, "details": EVIL}),
        UNSEALED,
    ),
    "failed, category unknown": (fails(application_failure_info={"category": 77}), UNSEALED),
    "failed, seal forged": (fails(application_failure_info={}, encoded_attributes=plain(b'{"type":"x"}')), UNSEALED),
}


@pytest.mark.parametrize("case", ANSWERS)
async def test_a_strangers_answer_to_an_activity_is_undone(house: House, case: str) -> None:
    """It polls the queue before our worker does, and answers; the workflow goes on to its own end."""
    answer, expected = ANSWERS[case]
    flow = f"saga/{new_id()}"
    async with house.worker(activities=False):
        handle = await house.ours.start_workflow(Saga.run, "a", id=flow, task_queue=house.queue)
        await handle.signal(Saga.go, "b")
        task = await house.stranger.workflow_service.poll_activity_task_queue(
            PollActivityTaskQueueRequest(namespace=house.ours.namespace, task_queue=TaskQueue(name=house.queue)),
            timeout=SOON,
        )
        assert task.task_token
        await answer(house, task.task_token)
        assert await ended(handle) == f"undone: {expected}"


async def test_an_answer_that_a_stranger_wrote_into_the_history_is_undone(house: House) -> None:
    """It polls the workflow's own queue, and answers a local activity in our place: a marker, as the SDK writes it."""
    async with house.worker():
        model = await house.ours.start_workflow(Saga.run, "a", id=f"saga/{new_id()}", task_queue=house.queue)
        await model.signal(Saga.go, "b")
        await ended(model)
    marker = next(
        event.marker_recorded_event_attributes
        for event in (await model.fetch_history()).events
        if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED
    )
    flow = await house.ours.start_workflow(Saga.run, "a", id=f"saga/{new_id()}", task_queue=house.queue)
    service, namespace = house.stranger.workflow_service, house.ours.namespace
    task = await service.poll_workflow_task_queue(
        PollWorkflowTaskQueueRequest(namespace=namespace, task_queue=TaskQueue(name=house.queue)), timeout=SOON
    )
    forged = Command(command_type=CommandType.COMMAND_TYPE_RECORD_MARKER)
    forged.record_marker_command_attributes.marker_name = marker.marker_name
    for name, payloads in marker.details.items():
        forged.record_marker_command_attributes.details[name].CopyFrom(payloads)
    assert "result" in marker.details
    forged.record_marker_command_attributes.details["result"].CopyFrom(EVIL)
    await service.respond_workflow_task_completed(
        RespondWorkflowTaskCompletedRequest(namespace=namespace, task_token=task.task_token, commands=[forged])
    )
    async with house.worker():
        await flow.signal(Saga.go, "b")
        assert await ended(flow) == f"undone: {UNSEALED}"


async def test_the_type_of_a_failure_is_sealed_with_it(house: House) -> None:
    """Our own failure, passed on by a stranger under another type, keeps the type that we gave it."""
    converter = house.ours.data_converter
    failure = Failure()
    await converter.encode_failure(ApplicationError("no", type="Own", non_retryable=True), failure)
    failure.application_failure_info.type = STEP_CANCELLED
    told = await converter.decode_failure(failure)
    assert isinstance(told, ApplicationError)
    assert (told.type, told.message) == ("Own", "no")


STRANGE: dict[str, dict[str, Any]] = {
    "without a kind": {},
    "of nexus": {"nexus_handler_failure_info": {"type": "NOT_FOUND"}},
    "timed out in an unknown way": {"timeout_failure_info": {"timeout_type": 77}},
    "an application's": {"application_failure_info": {"type": STEP_CANCELLED}},
}


@pytest.mark.parametrize("info", STRANGE.values(), ids=STRANGE)
async def test_a_failure_of_any_shape_is_read_without_raising(house: House, info: dict[str, Any]) -> None:
    """As a cause it comes past the server's own checks."""
    converter = house.ours.data_converter
    inner = failure_of(**info)
    for _ in range(60):
        inner = failure_of(activity_failure_info={}, cause=inner)
    told: BaseException | None = await converter.decode_failure(inner)
    for _ in range(60):
        assert isinstance(told, ActivityError)
        told = told.__cause__
    assert isinstance(told, Unsealed)


async def test_temporals_own_failures_pass_without_their_plain_details(house: House) -> None:
    converter = house.ours.data_converter
    late = failure_of(timeout_failure_info={"timeout_type": 1, "last_heartbeat_details": EVIL})
    stopped = failure_of(canceled_failure_info={"details": EVIL})
    assert isinstance(await converter.decode_failure(late), TemporalTimeoutError)
    told = await converter.decode_failure(stopped)
    assert isinstance(told, CancelledError)
    assert not told.details


async def test_our_own_memo_and_summary_are_read(house: House) -> None:
    flow = f"saga/{new_id()}"
    async with house.worker():
        handle = await house.ours.start_workflow(
            Saga.run, "a", id=flow, task_queue=house.queue, memo={"m": "x"}, static_summary="s"
        )
        await handle.signal(Saga.go, "b")
        assert await ended(handle) == "a, noted, b, asked"
        assert await (await handle.describe()).memo() == {"m": "x"}
