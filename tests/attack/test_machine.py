"""A machine under test, while it measures: what its certificate, its superuser and Temporal's port get of the rest."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest

from agent import gateway as agents
from agent.gateway import Identity
from stackly.secrets import Keyring, test_credentials
from stackly.temporal.steps import StepKey, edge_queue, run_workflow_id, site_queue
from stackly.temporal.steps import test_workflow_id as flow_of_test
from stackly.wire import gateway_pb2 as wire
from stackly.wire.gateway_pb2_grpc import AgentGatewayStub
from tests.api.grpc.handshakes import shake, strangers
from tests.api.grpc.relaying import line, poll
from tests.attack.conftest import Stranger, site_identity
from tests.e2e.house import House

pytestmark = [pytest.mark.e2e, pytest.mark.real, pytest.mark.timeout(600)]

_NAME = "attack-bench"
_CHANGED = {"clients: 4}": "clients: 2, rate: 50}", "warmup: 5s": "warmup: 0s", "duration: 10s": "duration: 90s"}
DENIED = "PERMISSION_DENIED"


@dataclass
class Measuring:
    """A test that measures, and the identity of one more machine of it."""

    platform: House
    run: str
    test: str
    site: Identity
    edge: Identity

    @property
    def about(self) -> dict[str, Any]:
        return {"run": self.run, "test": self.test}

    def sql(self, statement: str, *values: Any) -> list[Any]:
        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.platform.settings["database_url"])
            try:
                return list(await connection.fetch(statement, *values))
            finally:
                await connection.close()

        return asyncio.run(ask())


def _measures(platform: House, run: str) -> bool:
    shown = platform.get(f"runs/{run}")
    assert shown["status"] not in {"failed", "cancelled"}, shown["reason"]
    return any(p["name"] == "measure" and p["status"] == "running" for t in shown["tests"] for p in t["phases"])


@pytest.fixture(scope="module")
def measuring(platform: House) -> Iterator[Measuring]:
    """It is cancelled at the end, if no attack ended it."""
    with tempfile.TemporaryDirectory() as place:
        repo = platform.repository(_NAME, Path(place))
        repo.example("pg-standalone", "bench", stack=_NAME, changed=_CHANGED)
        repo.push({}, "measure")
        (run,) = platform.until(lambda: platform.runs(stack=_NAME), bool)
        platform.until(lambda: _measures(platform, run["id"]), bool, 240)
        site = site_identity(platform)
        edge = asyncio.run(_another_machine(site, run["id"], "tpcb", 1))
        made = Measuring(platform, run["id"], "tpcb", site, edge)
        yield made
        platform.post(f"runs/{run['id']}/cancel")
        assert platform.ended(run["id"], 240)["status"] == "cancelled"
        (row,) = made.sql("SELECT restarts FROM operations WHERE id = $1", run["id"])
        assert row[0] == 0, "what a stranger ended is not counted against it"


async def _another_machine(site: Identity, run: str, test: str, epoch: int) -> Identity:
    """One that the test's own site agent asked for: a real certificate, as a compromised machine has it."""
    gateway = agents.Gateway(site)
    try:
        issued = await gateway.issue_enrolment(StepKey(run, test, "", 1, epoch), "attacker")
    finally:
        await gateway.close()
    return await agents.enrol(issued.enrol_address, issued.ca_pem, issued.token, version="1", capabilities={})


class Caller:
    """The agents' own service, with messages of one's own."""

    def __init__(self, identity: Identity) -> None:
        credentials = grpc.ssl_channel_credentials(identity.ca_pem, identity.key_pem, identity.certificate_pem)
        self.channel = grpc.aio.secure_channel(identity.gateway, credentials)
        self._stub: Any = AgentGatewayStub(self.channel)  # type: ignore[no-untyped-call]  # generated

    async def call(self, method: str, request: Any) -> Any:
        """The reply, or the name of the status that it ended with."""
        call = getattr(self._stub, method)
        try:
            if method in {"PutArtifact", "WriteState"}:
                return await call(iter([request]), timeout=20)
            if method in {"ReadTree", "ReadState"}:
                return [part async for part in call(request, timeout=20)]
            return await call(request, timeout=20)
        except grpc.aio.AioRpcError as e:
            return e.code().name


def _called(identity: Identity, requests: list[tuple[str, Any]]) -> list[Any]:
    async def ask() -> list[Any]:
        caller = Caller(identity)
        try:
            return [await caller.call(method, request) for method, request in requests]
        finally:
            await caller.channel.close(None)

    return asyncio.run(ask())


def test_it_begins_no_step_that_is_anothers(measuring: Measuring) -> None:
    """`measure` of the load's machine, and everything that is the site agent's."""
    steps = ("measure 1", "prepare 1", "database", "apply", "destroy", "inventory", "provision", "enrol", "rescue", "x")
    keys = [
        wire.StepKey(**measuring.about, step=s, attempt=a, epoch=e) for s in steps for a in (1, 2) for e in (0, 1, 2)
    ]
    keys += [wire.StepKey(run=measuring.run, test="", step=s, attempt=1, epoch=1) for s in steps]
    requests = [("BeginStep", wire.BeginStepRequest(key=key, incarnation="evil")) for key in keys]
    for said in _called(measuring.edge, requests):
        assert said == DENIED or said.verdict == wire.REFUSED, said
    ended = [("EndStep", wire.EndStepRequest(key=key, incarnation="evil", outcome_json='{"ok": true}')) for key in keys]
    assert all(said == DENIED or not said.stored for said in _called(measuring.edge, ended))
    renewed = [("RenewStep", wire.RenewStepRequest(key=key, incarnation="evil")) for key in keys]
    assert all(said == DENIED or not said.held for said in _called(measuring.edge, renewed))
    told = measuring.platform.get("events", subject=f"agent/{measuring.edge.agent_id}", name="step_refused", limit=100)
    assert {"measure 1", "apply", "destroy", "inventory"} <= {e["payload"]["step"] for e in told["items"]}


def test_it_reads_and_writes_nothing_of_others(measuring: Measuring) -> None:
    """Every other method, for another run, another test, and the state of its own."""
    other: dict[str, Any] = {"run": measuring.run, "test": ""}
    body = b'{"version": 4, "serial": 99, "lineage": "evil", "resources": [], "outputs": {}}'
    digest = hashlib.sha256(b"x").hexdigest()
    requests: list[tuple[str, Any]] = []
    for about in (
        other,
        {"run": "0" * 18, "test": ""},
        {"run": measuring.run, "test": "another"},
        {"run": "", "test": ""},
    ):
        requests += [
            ("Append", wire.AppendRequest(**about, lines=[wire.LogLine(n=1, text="evil")])),
            ("PutArtifact", wire.PutArtifactRequest(**about, name="evil", data=b"x", sha256=digest)),
        ]
    for about in (measuring.about, other):
        requests += [
            ("ReadTree", wire.ReadTreeRequest(**about, epoch=1)),
            ("ReadState", wire.ReadStateRequest(**about, epoch=1)),
            ("WriteState", wire.WriteStateRequest(**about, epoch=1, data=body)),
            ("IssueEnrolment", wire.IssueEnrolmentRequest(**about, epoch=1, machine="evil")),
        ]
    said = _called(measuring.edge, requests)
    assert said == [DENIED] * len(said), list(zip([m for m, _ in requests], said, strict=True))
    (owned,) = _called(measuring.edge, [("ListOwners", wire.ListOwnersRequest())])
    assert list(owned.current) == [], "an edge agent owns nothing"
    (gone,) = _called(measuring.edge, [("ReportGone", wire.ReportGoneRequest(incarnation="evil"))])
    assert list(gone.gone) == [], "nobody's step is gone by its word"


def test_artifacts_keep_to_their_folder(measuring: Measuring) -> None:
    names = ["../x", "/x", "a/../../x", "a//x", ".x", "", "a\0b", "a\nb", "x" * 500, "a/b/c/d/e/f", "%2e%2e/x", "ä"]
    digest = hashlib.sha256(b"x").hexdigest()
    requests = [
        ("PutArtifact", wire.PutArtifactRequest(**measuring.about, name=name, data=b"x", sha256=digest))
        for name in names
    ]
    said = _called(measuring.edge, requests)
    assert said == ["INVALID_ARGUMENT"] * len(said), dict(zip(names, said, strict=True))
    wrong = wire.PutArtifactRequest(**measuring.about, name="x", data=b"x", sha256="0" * 64)
    assert _called(measuring.edge, [("PutArtifact", wrong)]) == ["INVALID_ARGUMENT"]


def test_it_knows_no_way_to_temporal(measuring: Measuring) -> None:
    methods = (
        "StartWorkflowExecution",
        "TerminateWorkflowExecution",
        "ListWorkflowExecutions",
        "GetWorkflowExecutionHistory",
        "SignalWorkflowExecution",
        "RespondActivityTaskCompletedById",
        "PollWorkflowTaskQueue",
    )

    async def tries() -> dict[str, str]:
        async with line(measuring.edge) as opened:
            said = {method: await opened.code(method) for method in methods}
            for queue in (site_queue(measuring.site.agent_id), edge_queue(measuring.site.agent_id), "control", ""):
                said[f"poll {queue}"] = await opened.code("PollActivityTaskQueue", poll(queue))
            return said

    said = asyncio.run(tries())
    assert set(said.values()) == {DENIED}, said
    told = measuring.platform.get("events", subject=f"agent/{measuring.edge.agent_id}", name="call_refused", limit=100)
    seen = {e["payload"]["method"].rpartition("/")[2] for e in told["items"]}
    assert {*methods, "PollActivityTaskQueue"} <= seen, "each is an audit event"


def test_a_flood_of_lines_costs_one_line(measuring: Measuring) -> None:
    lines = [wire.LogLine(n=n, text="evil") for n in range(100_000)]
    request = wire.AppendRequest(**measuring.about, source="flood", lines=lines)
    said = _called(measuring.edge, [("Append", request), ("Append", request)])
    assert all(isinstance(one, wire.AppendReply) for one in said), said
    (kept,) = measuring.sql("SELECT count(*) FROM log_chunks WHERE run = $1 AND text = 'evil'", measuring.run)
    assert 0 < kept[0] <= 20_000
    points = [wire.Point(sample=1, second=n, tps=1e9) for n in range(100_000)]
    (said,) = _called(measuring.edge, [("Append", wire.AppendRequest(**measuring.about, points=points))])
    assert isinstance(said, wire.AppendReply), said


def test_strangers_handshakes_end_nothing(measuring: Measuring, tmp_path: Path) -> None:
    ports = json.loads((measuring.platform.home / "config.json").read_text())["ports"]
    before = _pid(measuring.platform, "gateway")
    for name in ("gateway", "enrol"):
        assert shake(f"127.0.0.1:{ports[name]}", strangers(tmp_path), 1_000) == 1_000
    assert _pid(measuring.platform, "gateway") == before


def _pid(platform: House, name: str) -> int:
    import psutil

    from stackly.local import processes

    place = str((platform.home / "run" / name).resolve())
    (found,) = [p.pid for p in processes.below(platform.home) if psutil.Process(p.pid).cwd() == place]
    return int(found)


def test_temporals_port_costs_it_time_and_nothing_else(measuring: Measuring, stranger: Stranger) -> None:
    address = measuring.platform.endpoints["temporal_address"]
    for workflow in (run_workflow_id(measuring.run), flow_of_test(measuring.run, measuring.test)):
        said = stranger.run("meddles", temporal=address, workflow_id=workflow)
        assert "done" in {said["terminate"], said["end again"], said["delete"]}, "Temporal lets it"
    for queue in ("control", edge_queue(measuring.edge.agent_id), site_queue(measuring.site.agent_id)):
        stranger.run("takes", temporal=address, queue=queue)
    assert measuring.platform.get(f"runs/{measuring.run}")["status"] == "running"


def test_the_servers_superuser_reaches_nothing_of_the_platform(measuring: Measuring, isolated: None) -> None:
    home = measuring.platform.home
    account = measuring.site.account
    told = test_credentials(Keyring(home / "keyring.json").key(account, 1)[1], measuring.run, measuring.test)
    hba = home / "postgres" / "data" / "pg_hba.conf"
    files = [hba, home / "token", home / "config.json", home / "agent" / "identity.json"]
    before = [p.read_bytes() for p in files]

    async def tries(host: str, port: int) -> list[str]:
        connection = await asyncpg.connect(
            host=host, port=port, user=told.superuser, password=told.superuser_password, database="postgres"
        )
        said = []
        try:
            for path in files:
                for statement in (
                    f"SELECT pg_read_file('{path}')",
                    f"COPY (SELECT 'host all all all trust') TO '{path}'",
                    f"COPY (SELECT 'host all all all trust') TO PROGRAM 'cat >> {path}'",
                    f"CREATE TEMP TABLE t (l text); COPY t FROM PROGRAM 'cat {path}'",
                ):
                    try:
                        await connection.execute(statement)
                    except asyncpg.PostgresError as e:
                        said.append(type(e).__name__)
                    else:
                        said.append(f"done: {statement}")
        finally:
            await connection.close()
        return said

    host, port = _database(measuring)
    said = asyncio.run(tries(host, port))
    assert [s for s in said if s.startswith("done")] == []
    assert [p.read_bytes() for p in files] == before


def _database(measuring: Measuring) -> tuple[str, int]:
    """Where the test's server listens, as its step was told."""
    rows = measuring.sql(
        "SELECT input FROM steps WHERE operation = $1 AND test = $2 AND step = 'database'",
        measuring.run,
        measuring.test,
    )
    given = json.loads(rows[0][0])
    return given["listen"], given["port"]
