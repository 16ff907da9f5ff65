"""The agent program itself, as a process, against a real gateway, Postgres, S3 and Temporal."""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from agent.sandbox import isolation
from stackly.agents import service as agents
from stackly.agents.authority import Authority
from stackly.api.grpc import server
from stackly.control.dispatcher.reaper import Reaper
from stackly.db import Transactions
from stackly.engine.contracts.site import ApplyInput, InventoryInput, ModuleInput
from stackly.ids import new_id
from stackly.secrets import Keyring
from stackly.settings import S3
from stackly.storage import Store
from stackly.temporal.codec import AccountKeys, EncryptedPayloads
from stackly.temporal.sealed import data_converter
from stackly.temporal.steps import StepActivities, StepKey, site_queue, teardown_queue
from tests.agent.site_parts import bundle
from tests.api.grpc.rows import World, expect, make_world, sql
from tests.conftest import Require

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Told:
    temporal_address: str
    gateway_address: str = "127.0.0.1:0"
    enrol_address: str = "127.0.0.1:0"
    temporal_namespace: str = "default"
    mirrors: Path = Path("/nonexistent")


@dataclass(frozen=True, slots=True)
class Platform:
    servers: server.Servers
    authority: Authority
    transactions: Transactions
    client: Client
    world: World
    store: Store

    def enrolment(self, path: Path, token: str, agent: str) -> Path:
        told = {
            "token": token,
            "enrol_address": self.servers.places.enrol,
            "ca_pem": self.authority.ca_pem.decode(),
            "agent_id": agent,
        }
        path.write_text(json.dumps(told))
        return path

    async def status(self, agent: str) -> str:
        ((status,),) = await sql(self.transactions, "SELECT status FROM agents WHERE id = :id", id=agent)
        return str(status)


@pytest.fixture
async def platform(
    transactions: Transactions, s3: S3, temporal: WorkflowEnvironment, tmp_path: Path
) -> AsyncIterator[Platform]:
    world = await make_world(transactions)
    authority, keys = Authority.open(tmp_path / "ca"), Keyring(tmp_path / "keyring.json")
    store = Store(s3.endpoint, s3.bucket, s3.access_key, s3.secret_key.get_secret_value())
    told = Told(temporal.client.service_client.config.target_host)
    servers = await server.start(told, transactions, store, keys, authority)
    config = temporal.client.config()
    codec = EncryptedPayloads(AccountKeys(keys, world.account))
    config["data_converter"] = data_converter(codec)
    client = Client(**config)
    yield Platform(servers, authority, transactions, client, world, store)
    await servers.stop(0)


@asynccontextmanager
async def running(
    home: Path, role: str, enrolment: Path | None, program: Sequence[str] = ("-m", "agent.main")
) -> AsyncIterator[asyncio.subprocess.Process]:
    argv = [sys.executable, *program, role, "--home", str(home)]
    argv += ["--enrolment", str(enrolment)] if enrolment else []
    environment = {k: v for k, v in os.environ.items() if k != "TF_CLI_CONFIG_FILE"}
    process = await asyncio.create_subprocess_exec(*argv, cwd=ROOT, env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until(what: Any, seconds: float = 40) -> None:
    async with asyncio.timeout(seconds):
        while not await what():  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.1)


@workflow.defn(name="runtime.look")
class Look:
    @workflow.run
    async def run(self, key: StepKey, queue: str) -> None:
        await workflow.execute_activity_method(
            StepActivities.carry_out,
            key,
            task_queue=queue,
            start_to_close_timeout=timedelta(seconds=60),
            heartbeat_timeout=timedelta(seconds=12),
        )


def _as_an_earlier_release_kept_it(identity: Path, temporal: str) -> None:
    told = json.loads(identity.read_text()) | {"temporal": temporal}
    identity.write_text(json.dumps(told))


async def test_a_site_agent_works_until_it_is_told_to_stop(
    platform: Platform, temporal: WorkflowEnvironment, tmp_path: Path
) -> None:
    world, home = platform.world, tmp_path / "home"
    enrolment = platform.enrolment(tmp_path / "enrolment.json", world.site_token, world.site)

    async def is_online() -> bool:
        return await platform.status(world.site) == "online"

    async def look(step: str, queue: str) -> object:
        given = InventoryInput(StepKey(world.run, "", step, 1, 1), "local", world.run, world.test)
        await expect(platform.transactions, given.key, world.site, asdict(given))
        await platform.client.execute_workflow(Look.run, args=[given.key, queue], id=new_id(), task_queue=own)
        told = "SELECT outcome->'value'->'items' FROM steps WHERE step = :step"
        ((items,),) = await sql(platform.transactions, told, step=step)
        return items

    own = new_id()
    flows = Worker(platform.client, task_queue=own, workflows=[Look], workflow_runner=UnsandboxedWorkflowRunner())
    with temporal.with_time_skipping_disabled():
        async with flows, running(home, "site", enrolment) as process:
            await until(is_online)
            query = "SELECT capabilities->>'isolation' FROM agents WHERE id = :id"
            assert await sql(platform.transactions, query, id=world.site) == [(isolation.find(tmp_path / "x").name,)]
            port = (home / "healthz.port").read_text()
            async with httpx.AsyncClient() as http:
                assert (await http.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
            await sql(platform.transactions, "UPDATE operations SET kind = 'destroy', status = 'tearing_down'")
            assert await look("inventory 1", site_queue(world.site)) == []
            assert await look("inventory 2", teardown_queue(world.site)) == []
            assert await look("inventory 1", site_queue(world.site)) == []
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 30) == 0
        rows = await sql(platform.transactions, "SELECT step, status, outcome->>'ok' FROM steps ORDER BY step")
        assert rows == [("inventory 1", "done", "true"), ("inventory 2", "done", "true")]
        assert platform.client.service_client.config.target_host not in (home / "identity.json").read_text()
        _as_an_earlier_release_kept_it(home / "identity.json", "127.0.0.1:7233")
        await sql(platform.transactions, "UPDATE agents SET status = 'offline'")
        async with running(home, "site", None):  # the certificate of its earlier life is still good
            await until(is_online)
    assert (home / "identity.json").stat().st_mode & 0o777 == 0o600
    assert "127.0.0.1:7233" not in (home / "identity.json").read_text()


@pytest.mark.parametrize(
    ("word", "said"), [("required", "STACKLY_ISOLATION=required"), ("strict", "STACKLY_ISOLATION is 'strict'")]
)
async def test_where_isolation_is_required_and_there_is_none_the_agent_does_not_start(
    tmp_path: Path, require: Require, word: str, said: str
) -> None:
    """Root without the right to mount, in a directory that is closed to other users."""
    require(os.geteuid() == 0 and shutil.which("setpriv"), "only root can be denied its rights")
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "--"),
        *(sys.executable, "-m", "agent.main", "site", "--home", str(tmp_path / "home")),
        cwd=ROOT,
        env=dict(os.environ) | {"STACKLY_ISOLATION": word},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert said in out.decode()


@workflow.defn(name="runtime.stranger")
class Stranger:
    """Anybody's workflow, on anybody's queue: it puts a message of its own on an agent's. Returns what came of it."""

    @workflow.run
    async def run(self, activity: str, given: dict[str, Any], queue: str) -> str:
        try:
            await workflow.execute_activity(
                activity,
                given,
                task_queue=queue,
                start_to_close_timeout=timedelta(seconds=20),
                retry_policy=RetryPolicy(maximum_attempts=1),
            )
        except ActivityError:
            return "refused"
        return "answered"


MESSAGES = ("step", "site.apply", "site.destroy")


async def test_a_message_alone_makes_no_agent_work(
    platform: Platform, temporal: WorkflowEnvironment, tmp_path: Path
) -> None:
    """For a run that awaits approval: by somebody without any key, and by somebody who holds ours."""
    world, home = platform.world, tmp_path / "home"
    enrolment = platform.enrolment(tmp_path / "enrolment.json", world.site_token, world.site)
    await sql(platform.transactions, "UPDATE operations SET kind = 'deploy', status = 'awaiting_approval'")
    stranger = await Client.connect(temporal.client.service_client.config.target_host)

    async def is_online() -> bool:
        return await platform.status(world.site) == "online"

    async def told(client: Client, message: str) -> str:
        key = asdict(StepKey(world.run, "", "apply", 1, 1))
        queue = new_id()
        worker = Worker(client, task_queue=queue, workflows=[Stranger], workflow_runner=UnsandboxedWorkflowRunner())
        async with worker:
            given = [message, key | {"module": {"key": key}}, site_queue(world.site)]
            return await client.execute_workflow(Stranger.run, args=given, id=new_id(), task_queue=queue)

    with temporal.with_time_skipping_disabled():
        async with running(home, "site", enrolment):
            await until(is_online)
            for message in MESSAGES:
                assert await told(stranger, message) == "refused"
            assert await sql(platform.transactions, "SELECT 1 FROM events WHERE name = 'step_refused'") == []
            # With our key the message is heard, and the row says no.
            assert await told(platform.client, "step") == "answered"
    refused = "SELECT payload->>'step', payload->>'refusal' FROM events WHERE name = 'step_refused'"
    assert await sql(platform.transactions, refused) == [("apply", "unexpected")]
    assert await sql(platform.transactions, "SELECT 1 FROM steps") == []
    assert list((home / "runs").glob(f"{world.run}.*")) == []


async def test_an_edge_agent_leaves_when_its_test_is_over(
    platform: Platform, temporal: WorkflowEnvironment, tmp_path: Path
) -> None:
    world, home = platform.world, tmp_path / "machine"
    async with platform.transactions() as session:
        issued = await agents.issue_enrolment(session, world.account, run=world.run, test=world.test, machine="db")
    enrolment = platform.enrolment(tmp_path / "edge.json", issued.token, issued.agent.id)

    async def is_online() -> bool:
        return await platform.status(issued.agent.id) == "online"

    with temporal.with_time_skipping_disabled():
        async with running(home, "edge", enrolment) as process:
            await until(is_online)
            await sql(platform.transactions, "UPDATE tests SET status = 'succeeded'")
            assert await asyncio.wait_for(process.wait(), 30) == 0
    kept = b"".join(p.read_bytes() for p in home.rglob("*") if p.is_file())
    assert b"PRIVATE KEY" not in kept
    assert issued.token.encode() not in kept


async def test_a_used_token_ends_the_program_with_a_reason(platform: Platform, tmp_path: Path) -> None:
    enrolment = platform.enrolment(tmp_path / "enrolment.json", "stk_enrol_unknown", platform.world.site)
    async with running(tmp_path / "home", "site", enrolment) as process:
        assert await asyncio.wait_for(process.wait(), 30) == 1


# Shape: a lease of two seconds; all the rest is the program as it is. A machine is made when somebody ends its SLEEP.
HASTY = """
import asyncio, sys
from dataclasses import replace
from agent import main, settings
timings = settings.Timings(renew_s=0.2, ttl_s=2, grace_s=5, beat_s=0.5, call_s=1)
asyncio.run(main.live(replace(settings.parse_arguments(sys.argv[1:]), timings=timings)))
"""
SLEEP = "600.25"
SLOW = f'resource "terraform_data" "slow" {{\n  provisioner "local-exec" {{ command = "sleep {SLEEP}; exit 0" }}\n}}\n'


def _sleepers() -> list[int]:
    commands = {int(p.parent.name): p for p in Path("/proc").glob("[0-9]*/cmdline")}
    found = []
    for pid, path in commands.items():
        with contextlib.suppress(OSError):
            found += [pid] * (path.read_bytes() == f"sleep\0{SLEEP}\0".encode())
    return found


@dataclass
class Applying:
    """A test's provision whose machine takes its time, asked for as a workflow asks."""

    platform: Platform
    asked: list["asyncio.Task[None]"] = field(default_factory=list)

    async def begin(self) -> None:
        packed = bundle(main__tf=SLOW)
        key = f"code/{hashlib.sha256(packed).hexdigest()}.tar.gz"
        await self.platform.store.put(key, packed)
        spec = "UPDATE operations SET spec = jsonb_build_object('bundle', CAST(:k AS text))"
        await sql(self.platform.transactions, spec, k=key)
        await self.attempt(1)

    async def attempt(self, n: int) -> None:
        world, queue = self.platform.world, new_id()
        key = StepKey(world.run, world.test, "apply", n, 1)
        given = asdict(ApplyInput(ModuleInput(key, "local", "stack", {}, creates_only=True)))
        await expect(self.platform.transactions, key, world.site, given)
        self.asked.append(asyncio.create_task(self._ask(key, queue)))

    async def _ask(self, key: StepKey, queue: str) -> None:
        client, to = self.platform.client, site_queue(self.platform.world.site)
        flows = Worker(client, task_queue=queue, workflows=[Look], workflow_runner=UnsandboxedWorkflowRunner())
        async with flows:
            # An agent that was ended answers nobody: its step would be asked for until the end of days.
            own, most = new_id(), timedelta(seconds=120)
            await client.execute_workflow(Look.run, args=[key, to], id=own, task_queue=queue, execution_timeout=most)

    async def rows(self) -> list[tuple[object, ...]]:
        read = "SELECT attempt, status, gone_by, (outcome->>'ok')::bool FROM steps ORDER BY attempt"
        return await sql(self.platform.transactions, read)

    async def asleep(self, before: Collection[int] = ()) -> list[int]:
        found: list[int] = []

        async def look() -> bool:
            found[:] = [pid for pid in _sleepers() if pid not in before]
            return bool(found)

        await until(look, 60)
        return found

    async def made(self, before: Collection[int] = ()) -> None:
        """Let it be made, and wait for the answers while the agent lives: a row is written before Temporal knows."""
        for pid in await self.asleep(before):
            os.kill(pid, signal.SIGTERM)
        await asyncio.gather(*self.asked)


RECOVERED = (2, "done", None, True)


async def test_a_site_agent_that_is_stopped_in_an_apply_leaves_it_to_its_next_life(
    platform: Platform, temporal: WorkflowEnvironment, tmp_path: Path
) -> None:
    home, applying = tmp_path / "home", Applying(platform)
    enrolment = platform.enrolment(tmp_path / "enrolment.json", platform.world.site_token, platform.world.site)
    with temporal.with_time_skipping_disabled():
        async with running(home, "site", enrolment) as process:
            await applying.begin()
            await applying.asleep()
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 60) == 0
        assert await applying.rows() == [(1, "gone", "stopped", None)]
        assert _sleepers() == []
        async with running(home, "site", None):
            await applying.attempt(2)
            await applying.made()
        assert await applying.rows() == [(1, "gone", "stopped", None), RECOVERED]


async def test_an_agent_that_slept_through_its_lease_ends_the_attempt_before_it_takes_the_next(
    platform: Platform, temporal: WorkflowEnvironment, tmp_path: Path
) -> None:
    home, applying = tmp_path / "home", Applying(platform)
    enrolment = platform.enrolment(tmp_path / "enrolment.json", platform.world.site_token, platform.world.site)
    reaper = Reaper(platform.transactions, gone_after=timedelta(seconds=2))

    async def reaped() -> bool:
        return bool(await reaper.look())

    with temporal.with_time_skipping_disabled():
        async with running(home, "site", enrolment, ("-c", HASTY)) as process:
            await applying.begin()
            before = await applying.asleep()
            process.send_signal(signal.SIGSTOP)
            await until(reaped)
            await applying.attempt(2)
            process.send_signal(signal.SIGCONT)
            await applying.made(before)
            assert await applying.rows() == [(1, "gone", "died", None), RECOVERED]
            assert not set(before) & set(_sleepers())
