"""A run waits for its images before anything is made, takes what it first saw, and says what it waits for."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import text
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer

from stackly.control.worker import WORKFLOWS, runner
from stackly.db import Transactions
from stackly.engine import images, loose
from stackly.engine.contracts.site import ImageOutcome
from stackly.engine.workflows.images import ImageWait
from stackly.engine.workflows.stepping import StepFailed
from stackly.errors import Faulty
from stackly.runs import service
from stackly.runs.model import Run
from stackly.spec.runs import RunStatus
from stackly.temporal.steps import run_workflow_id
from stackly.temporal.timings import IMAGE_PATIENCE
from tests.engine import imaging
from tests.engine.imaging import ABSENT, AWAY, IMAGE, MOVED, PINNED, THERE, ask
from tests.engine.world import World, agents, build, dispatching

# Of whole runs: a look costs as much however short the wait is.
PATIENCE = timedelta(minutes=1)
START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


def after(**time: float) -> datetime:
    return START + timedelta(**time)


# -- the wait itself, on a clock that is told --------------------------------------------------------------------------


def looks(wait: ImageWait, seen: ImageOutcome) -> list[datetime]:
    """When it looks, until it gives up."""
    now, found = START, []
    while True:
        found.append(now)
        try:
            wait.check(seen, now)
        except StepFailed:
            return found
        now += wait.pause(len(found), now)


def test_looks_come_soon_at_first_then_twice_a_minute_and_once_when_the_time_is_over() -> None:
    wait = ImageWait(IMAGE, START, IMAGE_PATIENCE)
    found = looks(wait, ABSENT)
    pauses = [(b - a).total_seconds() for a, b in pairwise(found)]
    assert pauses[:6] == [2, 4, 8, 15, 30, 30]
    assert max(pauses) == 30
    assert found[-1] == after(minutes=30)
    assert len(found) < 70


def test_what_people_read_while_it_waits() -> None:
    wait = ImageWait(IMAGE, START, IMAGE_PATIENCE)
    assert wait.said(None, START) == f"looking for {IMAGE}"
    assert wait.said(ABSENT, after(minutes=3, seconds=59)) == f"{IMAGE} is not there yet, 3 of 30 min"
    assert wait.said(AWAY, after(seconds=-1)) == (
        f"the registry of {IMAGE} is not reached, 0 of 30 min: connection refused"
    )
    assert ImageWait("a:1", START, timedelta(seconds=5)).said(ABSENT, after(seconds=2)).endswith("2 of 5 s")


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (ABSENT, ("did not appear within 30 min", "manifest unknown", "build for this commit", "run it again")),
        (AWAY, ("was not reached within 30 min", "connection refused", "agent's network", "run it again")),
    ],
)
def test_what_people_read_when_the_time_is_over(seen: ImageOutcome, says: tuple[str, ...]) -> None:
    wait = ImageWait(IMAGE, START, IMAGE_PATIENCE)
    wait.check(seen, after(minutes=29, seconds=59))
    with pytest.raises(StepFailed) as caught:
        wait.check(seen, after(minutes=30))
    assert all(part in caught.value.detail for part in (IMAGE, *says))


# -- what a run's row keeps ------------------------------------------------------------------------------------------


def test_a_test_never_starts_a_name_that_was_not_found() -> None:
    spec = {"suite": {"tests": [{"database": {"image": IMAGE}}, {"database": {"image": ""}}, {}]}}
    assert images.of_spec(spec) == {IMAGE: ""}
    assert images.pinned(spec, "") == ""
    with pytest.raises(Faulty, match=IMAGE):
        images.pinned(spec, IMAGE)
    known = spec | {"images": {IMAGE: PINNED}}
    assert images.of_spec(known) == {IMAGE: PINNED}
    assert images.pinned(known, IMAGE) == PINNED
    assert images.of_spec({"suite": None}) == {}


def test_a_new_start_asks_again_what_names_mean() -> None:
    assert loose.unlearnt({"path": ".", "images": {IMAGE: PINNED}}) == {"path": "."}


# -- the whole run ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def platform(transactions: Transactions, temporal: WorkflowEnvironment, client: Client) -> AsyncIterator[World]:
    """Time is skipped in the run's own workflow: minutes of waiting are over at once."""
    world = await build(transactions, imaging.skipping(client, temporal.client))
    await imaging.can_docker(world)
    async with imaging.control(world, PATIENCE), agents(world), dispatching(world):
        yield world


async def waited(world: World, run: Run) -> timedelta:
    """How long it waited for its images, in its workflow's time."""
    found = await world.scalar(
        "SELECT ended_at - started_at FROM phases WHERE operation = :r AND name = 'image'", r=run.id
    )
    assert isinstance(found, timedelta)
    return found


async def made(world: World) -> int:
    """States of tests, leases, obligations: what would have to be torn down."""
    return int(
        await world.scalar(
            "SELECT (SELECT count(*) FROM stack_states WHERE parent_operation IS NOT NULL)"
            " + (SELECT count(*) FROM leases) + (SELECT count(*) FROM obligations)"
        )
    )


async def test_an_image_that_comes_late_is_waited_for_and_then_the_run_goes_on(platform: World) -> None:
    run = await ask(platform, [ABSENT, ABSENT, AWAY, THERE])
    ended = await platform.ended(run.id)
    assert (ended.status, ended.reason) == (RunStatus.SUCCEEDED, None)
    assert await waited(platform, run) >= timedelta(seconds=2 + 4 + 8)
    assert len(platform.agent.looked) == 4
    assert platform.agent.pulled == [PINNED]


async def test_two_tests_start_what_was_found_once_though_the_tag_moves(platform: World) -> None:
    platform.agent.faults.gone["pull 1"] = 1  # a step that is tried again asks for no new meaning
    run = await ask(platform, [THERE, ImageOutcome("there", MOVED)])
    ended = await platform.ended(run.id)
    assert ended.status is RunStatus.SUCCEEDED
    assert platform.agent.looked == [IMAGE]
    assert [d.image for d in platform.agent.databases] == [PINNED, PINNED]
    assert ended.spec["images"] == {IMAGE: PINNED}
    told = await platform.scalar(
        "SELECT array_agg(DISTINCT result->'fingerprint'->>'image') FROM results WHERE operation = :r", r=run.id
    )
    assert told == [PINNED]
    detail = await platform.scalar("SELECT detail FROM phases WHERE operation = :r AND name = 'image'", r=run.id)
    assert detail == f"{IMAGE} is {PINNED}"
    assert ended.blocker is None


async def test_a_rerun_starts_the_same_content_and_looks_at_no_tag(platform: World) -> None:
    run = await ask(platform, [THERE])
    spec = (await platform.ended(run.id)).spec
    again = await ask(platform, ["looked at the tag"], generation=2, spec=dict(spec), cause="person:ada:1", slot=None)
    assert (await platform.ended(again.id)).status is RunStatus.SUCCEEDED
    assert platform.agent.looked == [IMAGE]
    assert platform.agent.pulled == [PINNED, PINNED]
    assert {d.image for d in platform.agent.databases} == {PINNED}


async def test_an_image_that_never_comes_fails_the_run_with_what_to_do_and_makes_nothing(platform: World) -> None:
    run = await ask(platform, [ABSENT])
    ended = await platform.ended(run.id)
    assert ended.status is RunStatus.FAILED
    assert ended.reason is not None
    assert ended.reason.startswith(f"Image {IMAGE} did not appear within 1 min: manifest unknown.")
    assert PATIENCE <= await waited(platform, run) < PATIENCE + timedelta(minutes=1)
    tests = await platform.scalar("SELECT array_agg(status || ': ' || (reasons->>0)) FROM tests")
    assert tests == ["failed: not started", "failed: not started"]
    assert await platform.scalar("SELECT gate->>'decision' FROM operations WHERE id = :r", r=run.id) == "deny"
    assert await made(platform) == 0


async def test_a_registry_that_refuses_fails_the_run_at_once(platform: World) -> None:
    run = await ask(platform, ["The registry refuses image x: no basic auth credentials."])
    ended = await platform.ended(run.id)
    assert (ended.status, ended.reason) == (
        RunStatus.FAILED,
        "The registry refuses image x: no basic auth credentials.",
    )
    assert len(platform.agent.looked) == 1
    assert await waited(platform, run) < timedelta(seconds=30)
    assert await made(platform) == 0


# -- in real time ----------------------------------------------------------------------------------------------------


async def told(world: World, run: Run) -> str:
    return str(
        await world.scalar(
            "SELECT coalesce(blocker || ': ' || waiting_reason, '') FROM operations WHERE id = :r", r=run.id
        )
    )


async def test_cancel_while_it_waits_ends_it_at_once_with_nothing_to_tear_down(world: World) -> None:
    await imaging.can_docker(world)
    async with imaging.control(world), agents(world), dispatching(world):
        run = await ask(world, [ABSENT])

        async def has_looked() -> bool:
            """Three times: eight seconds pass before the next look."""
            done = "SELECT count(*) FROM steps WHERE step LIKE 'image 1 %' AND status = 'done'"
            return bool(await world.scalar(done) == 3)

        await world.until(has_looked)
        assert await told(world, run) == f"image: {IMAGE} is not there yet, 0 of 30 min"
        async with world.transactions() as session:
            await service.cancel(session, world.account, run.id, actor="ada")
        assert (await world.ended(run.id, seconds=20)).status is RunStatus.CANCELLED
        assert len(world.agent.looked) == 3
    ended = await world.run(run.id)
    assert (ended.reason, ended.restarts) == ("cancelled", 0)
    history = await world.client.get_workflow_handle(run_workflow_id(run.id)).fetch_history()
    replayer = Replayer(workflows=WORKFLOWS, workflow_runner=runner(), data_converter=world.client.data_converter)
    await replayer.replay_workflow(history)
    assert await world.scalar("SELECT array_agg(DISTINCT status) FROM tests") == ["cancelled"]
    assert await made(world) == 0


async def test_cancel_while_it_gets_the_image(world: World) -> None:
    await imaging.can_docker(world)
    world.agent.faults.hold["pull 1"] = asyncio.Event()
    async with imaging.control(world), agents(world), dispatching(world):
        run = await ask(world, [THERE])

        async def is_pulling() -> bool:
            return bool(await world.scalar("SELECT count(*) FROM steps WHERE status <> 'expected' AND step = 'pull 1'"))

        await world.until(is_pulling)
        assert await told(world, run) == f"image: getting {PINNED}"
        async with world.transactions() as session:
            await service.cancel(session, world.account, run.id, actor="ada")
        world.agent.faults.fail["pull 1"] = "stopped"
        world.agent.faults.hold["pull 1"].set()
        assert (await world.ended(run.id)).status is RunStatus.CANCELLED
    assert await made(world) == 0


async def test_a_workflow_that_was_lost_goes_on_with_what_was_found(world: World) -> None:
    await imaging.can_docker(world)
    world.agent.faults.hold["pull 1"] = held = asyncio.Event()
    async with imaging.control(world), agents(world), dispatching(world):
        run = await ask(world, [THERE, ImageOutcome("there", MOVED)])

        async def is_pulling() -> bool:
            return bool(await world.scalar("SELECT count(*) FROM steps WHERE status <> 'expected' AND step = 'pull 1'"))

        await world.until(is_pulling)
        await world.client.get_workflow_handle(run_workflow_id(run.id)).terminate("lost")
        async with world.transactions() as session:  # rows younger than ten seconds are left alone
            await session.execute(text("UPDATE operations SET since = since - interval '1 minute'"))
        held.set()
        assert (await world.ended(run.id)).status is RunStatus.SUCCEEDED
    assert world.agent.looked == [IMAGE]
    assert {d.image for d in world.agent.databases} == {PINNED}


async def test_a_workflow_that_was_lost_while_it_waited_gives_no_more_time(world: World) -> None:
    await imaging.can_docker(world)
    async with imaging.control(world), agents(world), dispatching(world):
        run = await ask(world, [ABSENT])

        async def has_looked() -> bool:
            return len(world.agent.looked) > 0

        await world.until(has_looked)
        await world.client.get_workflow_handle(run_workflow_id(run.id)).terminate("lost")
        async with world.transactions() as session:
            await session.execute(
                text(
                    "UPDATE operations SET since = since - interval '1 minute',"
                    " started_at = started_at - interval '31 minutes'"
                )
            )
        ended = await world.ended(run.id)
    assert ended.status is RunStatus.FAILED
    assert (ended.reason or "").startswith(f"Image {IMAGE} did not appear within 30 min")
