"""pgbench's adapter: its logs without a server, and real three-second runs against a real one."""

import asyncio
import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.context import Cancelled
from agent.generators import pgbench_log
from agent.generators.judge import Around, commits_apart, judge
from agent.generators.model import Latency, Measured
from agent.generators.pgbench import options
from agent.postgres.connection import Address, Door
from agent.postgres.observe import Counters
from stackly.engine.contracts.edge import (
    InstallInput,
    MeasureInput,
    MeasureOutcome,
    PrepareInput,
    PrepareOutcome,
    WarmupInput,
    WorkloadSpec,
)
from stackly.errors import Conflict, Invalid
from tests.agent.edge_parts import ONE_MAJOR, KeptContext, MakeContext, MakeWorkload, Running, Secrets

BEFORE = Counters(100, 1, "start", "16.14", 160014, True, 1)


def around(commits: int = 1000, **changed: Any) -> Around:
    after = Counters(100 + commits, 1, changed.pop("started", "start"), "16.14", 160014, True, 1)
    base: dict[str, Any] = {"before": BEFORE, "after": after, "elapsed_s": 10.0, "wall_s": 10.0, "steal_percent": 0.0}
    return Around(**{**base, "beside_database": False, **changed})


def measured(**changed: Any) -> Measured:
    base: dict[str, Any] = {
        "code": 0,
        "stopped": "",
        "transactions": 1000,
        "duration_s": 10.0,
        "tps": 100.0,
        "latency": Latency(),
    }
    return Measured(**{**base, **changed})


def test_what_is_good_is_valid() -> None:
    assert judge(measured(), 10, 4, around()) == judge(measured(), 10, 4, around(commits=1010))
    assert judge(measured(), 10, 4, around()).valid


@pytest.mark.parametrize(
    ("changed", "surroundings", "reason"),
    [
        ({"code": 2}, {}, "exit code 2"),
        ({"lost_clients": 7}, {}, "7 of 8 clients were lost"),
        ({"transactions": 0}, {}, "no transaction"),
        ({"duration_s": 9.49}, {}, "9.5 s of 10 s"),
        ({"stopped": "timeout"}, {}, "ended by us: timeout"),
        ({}, {"commits": 700}, "700 commits"),
        ({}, {"commits": 1400}, "1400 commits"),
        ({}, {"started": "later"}, "restarted"),
        ({}, {"wall_s": 30.0}, "clock jumped"),
        ({}, {"after": None}, "did not answer"),
    ],
)
def test_trap_4_what_is_no_result_says_why(changed: dict[str, Any], surroundings: dict[str, Any], reason: str) -> None:
    judged = judge(measured(**changed), 10, 8, around(**surroundings))
    assert not judged.valid
    assert reason in judged.reason


def test_a_code_that_is_a_verdict_is_no_failure() -> None:
    assert judge(measured(code=99, code_is_verdict=True), 10, 8, around()).valid


def test_a_high_error_rate_is_for_the_threshold_to_judge() -> None:
    one = measured(errors=900)
    assert judge(one, 10, 8, around()).valid
    assert one.error_rate == pytest.approx(900 / 1900)


def test_a_database_that_disagrees_a_little_is_a_warning() -> None:
    judged = judge(measured(), 10, 8, around(commits=900))
    assert judged.valid
    assert "900 commits" in judged.warnings[0]


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 100))
def test_disagreement_is_symmetric_and_never_negative(transactions: int, commits: int, clients: int) -> None:
    apart = commits_apart(transactions, commits, clients)
    assert apart >= 0
    if transactions == commits:
        assert apart == 0


def test_drift_inside_a_sample_is_a_warning() -> None:
    falling = [{"tps": 200.0 - 3 * n} for n in range(30)]
    assert "drifts" in judge(measured(series=falling), 10, 8, around()).warnings[0]
    assert not judge(measured(series=[{"tps": 100.0}] * 30), 10, 8, around()).warnings


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=200), st.sampled_from([50, 90, 95, 99]))
def test_percentiles_are_exact_nearest_rank(values: list[int], percent: int) -> None:
    histogram = pgbench_log.Histogram()
    for value in values:
        histogram.counts[value] += 1
    wanted = sorted(values)[max(1, math.ceil(percent / 100 * len(values))) - 1]
    assert histogram.percentile(percent) == wanted / 1000


def test_logs_of_all_threads_are_one(tmp_path: Path) -> None:
    (tmp_path / "tx.1").write_text("0 1 1000 0 100 5\n0 2 3000 0 102 5\n0 3 failed 0 102 9\n")
    (tmp_path / "tx.1.1").write_text("1 1 2000 0 100 7\n1 2 skipped 0 101 7\n1 3 40")
    found = pgbench_log.read(sorted(tmp_path.iterdir()))
    assert (found.failed, found.skipped) == (1, 1)
    assert found.all.latency() == Latency(2.0, 2.0, 3.0, 3.0, 3.0, 3.0, "exact")
    assert [(p["second"], p["tps"], p["errors"]) for p in found.series()] == [(1, 2.0, 0), (2, 0.0, 0), (3, 1.0, 1)]


@pytest.mark.parametrize(
    "params", [{"nope": 1}, {"jobs": "2"}, {"jobs": True}, {"protocol": "fast"}, {"foreign_keys": 1}]
)
def test_a_parameter_of_the_wrong_name_or_type_is_refused(params: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match=next(iter(params))):
        options(params, "run")


async def sample(
    running: Running,
    new_context: MakeContext,
    workload: WorkloadSpec,
    seconds: float = 3,
    number: int = 1,
    warm: float = 0,
) -> tuple[MeasureOutcome, KeptContext]:
    key, end = running.given.key, running.endpoint
    await running.work.warmup(WarmupInput(key, workload, end, warm, number), new_context())
    context = new_context()
    outcome = await running.work.measure(MeasureInput(key, workload, end, seconds, number), context)
    return outcome, context


async def prepared(running: Running, new_context: MakeContext, workload: WorkloadSpec) -> PrepareOutcome:
    key, end = running.given.key, running.endpoint
    return await running.work.prepare(PrepareInput(key, workload, end), new_context())


async def test_a_real_run_has_every_field(running: Running, new_context: MakeContext, workload: MakeWorkload) -> None:
    spec = workload(params={"protocol": "prepared", "fillfactor": 90}, isolation="repeatable read")
    installed = await running.work.install(InstallInput(running.given.key, spec, running.endpoint), new_context())
    assert (installed.adapter, installed.driver_version) == ("pgbench", running.outcome.server_version)
    ready = await prepared(running, new_context, spec)
    assert ready.size_bytes > 10**7
    assert ready.effective_config["isolation"] == "repeatable read"
    for number in range(1, 4):  # a busy machine spends more than the allowed share of so short a sample on connecting
        outcome, context = await sample(running, new_context, spec, number=number, warm=1)
        if outcome.valid:
            break
    assert outcome.valid or "could not serialize" in outcome.reason, outcome.reason
    result = outcome.result
    assert result["transactions"] > 0
    latency = result["latency_ms"]
    assert latency["bound"] == "exact"
    assert latency["p50"] <= latency["p90"] <= latency["p95"] <= latency["p99"] <= latency["max"]
    assert abs(result["db_commits"] - result["transactions"]) <= 40
    assert result["fingerprint"]["adapter"] == "pgbench"
    assert {p["second"] for p in context.points} <= {1, 2, 3, 4}
    assert len(context.points) >= 2
    assert "the generator runs beside the database" in " ".join(outcome.warnings)
    series = json.loads(gzip.decompress(context.artifacts[f"sample-{number}/series.json.gz"]))
    assert sum(p["tps"] for p in series["points"]) == result["transactions"]
    assert outcome.series == f"key/sample-{number}/series.json.gz"
    assert set(outcome.artifacts) == {"pgbench.out.gz", "pgbench.err.gz", "transactions.log.gz"}


@ONE_MAJOR
async def test_the_isolation_asked_for_is_what_the_sessions_have(
    running: Running, new_context: MakeContext, workload: MakeWorkload, secrets_of_test: Secrets
) -> None:
    spec = workload(isolation="serializable", clients=1)
    await prepared(running, new_context, spec)
    door = Door(Address(running.endpoint.host, running.endpoint.port), secrets_of_test)
    running_sample = asyncio.create_task(sample(running, new_context, spec))
    level = None
    async with door.superuser() as connection:
        for _ in range(40):
            await asyncio.sleep(0.1)
            level = await connection.fetchval(
                "SELECT count(*) FROM pg_locks WHERE mode = 'SIReadLock' "
                "AND database = (SELECT oid FROM pg_database WHERE datname = 'bench')"
            )
            if level:
                break
    outcome, _ = await running_sample
    assert level, "serializable transactions take predicate locks"
    assert outcome.result["transactions"] > 0


@ONE_MAJOR
async def test_trap_3_a_sample_without_a_fresh_copy_is_refused(
    running: Running, new_context: MakeContext, workload: MakeWorkload
) -> None:
    spec = workload(name="select-only", clients=1)
    await prepared(running, new_context, spec)
    outcome, _ = await sample(running, new_context, spec, seconds=1)
    assert outcome.result["transactions"] > 0
    given_again = MeasureInput(running.given.key, spec, running.endpoint, 1, 1)
    with pytest.raises(Conflict, match="no fresh copy"):
        await running.work.measure(given_again, new_context())


@ONE_MAJOR
async def test_b15_clients_killed_by_the_server_make_it_invalid(
    running: Running, new_context: MakeContext, workload: MakeWorkload, secrets_of_test: Secrets
) -> None:
    spec = workload(clients=8)
    await prepared(running, new_context, spec)
    running_sample = asyncio.create_task(sample(running, new_context, spec, seconds=5))
    door = Door(Address(running.endpoint.host, running.endpoint.port), secrets_of_test)
    killed = 0
    async with door.superuser() as connection:
        while killed < 7 and not running_sample.done():
            await asyncio.sleep(0.2)
            pids = await connection.fetch(
                "SELECT pid FROM pg_stat_activity WHERE datname = 'bench' AND application_name = 'pgbench'"
            )
            if len(pids) == 8:
                for row in pids[:7]:
                    killed += bool(await connection.fetchval("SELECT pg_terminate_backend($1)", row["pid"]))
    outcome, _ = await running_sample
    assert killed == 7
    assert not outcome.valid
    assert "7 of 8 clients were lost" in outcome.reason


@ONE_MAJOR
async def test_trap_5_cancel_ends_the_load_and_its_sessions(
    running: Running, new_context: MakeContext, workload: MakeWorkload, secrets_of_test: Secrets
) -> None:
    spec = workload(clients=2)
    await prepared(running, new_context, spec)
    key, end = running.given.key, running.endpoint
    await running.work.warmup(WarmupInput(key, spec, end, 0, 1), new_context())
    context = new_context()
    task = asyncio.create_task(running.work.measure(MeasureInput(key, spec, end, 600, 1), context))
    while not context.points:  # noqa: ASYNC110 - it sets no event
        await asyncio.sleep(0.1)
    context.cancelled.set()
    with pytest.raises(Cancelled):
        await task
    door = Door(Address(end.host, end.port), secrets_of_test)
    async with door.superuser() as connection:
        assert await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = 'bench'") == 0


@ONE_MAJOR
async def test_trap_1_the_password_is_in_no_output(
    running: Running, new_context: MakeContext, workload: MakeWorkload, secrets_of_test: Secrets
) -> None:
    spec = workload(name="select-only", clients=1, rate=50.0)
    await prepared(running, new_context, spec)
    outcome, context = await sample(running, new_context, spec, seconds=2)
    assert outcome.result["transactions"] > 0
    assert outcome.result["tps"] < 200
    kept = b"".join(gzip.decompress(a) for a in context.artifacts.values())
    for secret in (secrets_of_test.user_password, secrets_of_test.superuser_password):
        assert secret.encode() not in kept
        assert secret not in str(context.logs)
    assert not list(running.work.directory.rglob("pgpass"))


@ONE_MAJOR
async def test_what_pgbench_cannot_do_is_refused_at_install(
    running: Running, new_context: MakeContext, workload: MakeWorkload
) -> None:
    for spec in (workload(pacing=True), workload(name="tpcc/tx"), workload(params={"nope": 1})):
        with pytest.raises(Invalid):
            await running.work.install(InstallInput(running.given.key, spec, running.endpoint), new_context())
    other = InstallInput(running.given.key, workload(driver="sysbench"), running.endpoint)
    with pytest.raises(Invalid, match="no load driver"):
        await running.work.install(other, new_context())
