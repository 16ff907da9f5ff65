"""Both Stroppy generations, by what real ones printed, through a program that replays it.

Each trap of the measured list that is the adapters' to handle has a test that names its number.
"""

import asyncio
import gzip
import json
import os
import signal
from pathlib import Path
from typing import Any, Protocol

import pytest

from agent.context import Cancelled
from agent.edge import EdgeSettings, EdgeWork
from agent.generators import install, stroppy_go, stroppy_k6
from agent.generators.model import Installed, Job, Measured
from agent.generators.stroppy import Phase, Said, Words, check, parameters
from agent.generators.stroppy_go import StroppyGo
from agent.generators.stroppy_k6 import StroppyK6
from agent.processes import Ended, Redactor
from agent.sandbox.box import Kind
from agent.sandbox.isolation import Isolation
from stackly.engine.contracts.edge import (
    Endpoint,
    InstallInput,
    MeasureInput,
    PrepareInput,
    WarmupInput,
    WorkloadSpec,
)
from stackly.errors import Conflict, Faulty, Invalid
from tests.agent.edge_parts import (
    ONE_MAJOR,
    KeptContext,
    MakeContext,
    MakeWorkload,
    Recorder,
    Running,
    Secrets,
    unboxed,
)

RUNS = Path(__file__).with_name("stroppy_runs")
GO = {"pgx": "v5.10.0", "stroppy": "unknown"}
K6 = {"k6": "v1.8.0", "pgx": "v5.10.0", "stroppy": "v5.7.3"}


class MakeJob(Protocol):
    def __call__(self, seconds: float = 5.0, **changed: Any) -> Job: ...


@pytest.fixture
def spec(workload: MakeWorkload) -> MakeWorkload:
    def make(**changed: Any) -> WorkloadSpec:
        return workload(**{"driver": "stroppy", "driver_version": "5.7.3", "name": "tpcc/tx", "clients": 4, **changed})

    return make


@pytest.fixture
def job(tmp_path: Path, kept: KeptContext, spec: MakeWorkload, secrets_of_test: Secrets) -> MakeJob:
    def make(seconds: float = 5.0, **changed: Any) -> Job:
        return Job(
            workload=spec(**changed),
            endpoint=Endpoint("127.64.0.2", 5432, "bench"),
            user=secrets_of_test.user,
            password=secrets_of_test.user_password,
            directory=tmp_path,
            context=kept,
            redactor=Redactor([secrets_of_test.user_password]),
            part=unboxed(tmp_path),
            seconds=seconds,
        )

    return make


def text(name: str) -> str:
    path = RUNS / name
    return path.read_text() if path.exists() else ""


def go(one: Job, name: str, wall: float = 5.0, code: int = 0) -> Measured:
    words = Words(one)
    for line in text(f"{name}.stderr").splitlines():
        words.line(line)
    said = Said(Ended(code, wall), words, one.directory / "o", one.directory / "e")
    return stroppy_go.read(one, said, text(f"{name}.stderr"), text(f"{name}.stdout"))


def k6(one: Job, name: str, wall: float = 5.0, code: int = 0) -> Measured:
    said = Said(Ended(code, wall), Words(one), one.directory / "o", one.directory / "e")
    return stroppy_k6.read(one, said, RUNS / f"{name}.summary.json")


def test_a_go_measurement_reads_as_a_result(job: MakeJob) -> None:
    found = go(job(), "go-tpcc-measure-read-committed")
    assert (found.transactions, found.errors, found.retries, found.lost_clients) == (3427, 0, 0, 0)
    assert found.duration_s == pytest.approx(5.001)
    assert found.tps == pytest.approx(3427 / 5.000797, rel=1e-3)
    assert found.nopm == pytest.approx(18872.99, rel=1e-3)
    assert found.tpm_c is None, "an unpaced run has no tpmC"


def test_a_k6_measurement_reads_as_a_result(job: MakeJob) -> None:
    found = k6(job(name="tpcb/tx", clients=2, seconds=4.0), "k6-tpcb-measure", wall=5.0)
    assert (found.transactions, found.errors, found.lost_clients) == (4037, 0, 0)
    assert found.latency.bound == "exact"
    assert (found.latency.p50, found.latency.p95, found.latency.p99) == (1, 2, 3)
    assert found.nopm is None


async def test_trap_1_no_password_in_arguments_config_or_environment(
    recorder: Recorder, job: MakeJob, secrets_of_test: Secrets, kept: KeptContext
) -> None:
    recorder.replay(GO, "go-tpcc-measure-read-committed", say=f"url postgres://u:{secrets_of_test.user_password}@h/d\n")
    one = job()
    await StroppyGo(Installed("unknown", "", recorder.path)).measure(one)
    (call,) = recorder.calls()
    given = call.pop("passfile")
    assert secrets_of_test.user_password not in json.dumps(call)
    assert given == "127.64.0.2:5432:bench:load:l0ad-Secret\\:word\\\\x\n"
    assert call["passfile_mode"] == "0o600"
    assert not (one.directory / "pgpass").exists()
    assert secrets_of_test.user_password not in (one.directory / "measure.err").read_text() + str(kept.logs)


def test_trap_2_lost_clients_are_counted_and_make_it_invalid(job: MakeJob) -> None:
    one = job(clients=16)
    found = go(one, "go-tpcc-measure-default-isolation-lost-clients")
    assert found.lost_clients == 3
    assert found.errors > 0
    assert found.retries == 82
    assert "could not serialize" in found.said


def test_trap_2_the_defaults_lose_no_client(spec: MakeWorkload) -> None:
    told = parameters(spec())
    assert (told["txIsolation"], told["retryAttempts"]) == ("read_committed", 20)
    assert parameters(spec(params={"retryAttempts": 5}, isolation="serializable"))["retryAttempts"] == 5


def test_trap_3_a_second_run_on_one_load_is_seen(job: MakeJob) -> None:
    one = job(name="tpcb/tx", clients=2)
    found = go(one, "go-tpcb-measure-again-without-prepare", wall=0.05)
    assert (found.transactions, found.lost_clients) == (0, 2)
    again = k6(one, "k6-tpcb-measure-again-without-prepare")
    assert again.error_rate > 0.5


@pytest.mark.parametrize("adapter", [StroppyGo, StroppyK6])
def test_trap_3_neither_generation_measures_the_copy_it_warmed(adapter: type[StroppyGo | StroppyK6]) -> None:
    assert adapter.repeatable is False


def test_trap_4_a_run_that_ends_early_with_exit_0_is_seen(job: MakeJob) -> None:
    found = go(job(name="tpcb/tx"), "go-tpcb-measure", wall=2.5)
    assert found.code == 0
    assert found.duration_s < 0.95 * 5


async def test_trap_5_a_generator_that_ignores_signals_is_ended_whole(
    recorder: Recorder, job: MakeJob, kept: KeptContext
) -> None:
    recorder.plan(GO, measure={"ignore_signals": True, "sleep": 600, "say": "started\n"})
    one = job(seconds=600)
    task = asyncio.create_task(StroppyGo(Installed("", "", recorder.path)).measure(one))
    while not (recorder.path.parent / "calls.jsonl").exists() or not kept.logs:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    (call,) = recorder.calls()
    assert call["pgid"] == call["pid"]
    one.context.cancelled.set()
    with pytest.raises(Cancelled):
        await task
    with pytest.raises(ProcessLookupError):
        os.killpg(call["pgid"], signal.SIGTERM)


async def test_trap_6_it_is_always_called_stroppy(recorder: Recorder, tmp_path: Path) -> None:
    odd = tmp_path / "stroppy-5.7.3"
    recorder.plan(K6)
    odd.write_bytes(recorder.path.read_bytes())
    odd.chmod(0o755)
    path = await install.ensure(install.Source(tmp_path / "cache", odd), "5.7.3", asyncio.Event())
    assert path.name == "stroppy"
    assert path.read_bytes() == odd.read_bytes()


@pytest.mark.parametrize(("said", "adapter"), [(GO, "stroppy-go"), (K6, "stroppy-k6")])
def test_trap_7_the_generation_is_what_it_carries(said: dict[str, str], adapter: str) -> None:
    assert install.adapter_for(said, Installed("", "", Path("x"))).adapter == adapter


def test_trap_7_its_own_word_counts_only_where_it_has_one() -> None:
    install.check_version("5.7.3", "unknown")
    install.check_version("5.7.3", "0.0.0")
    install.check_version("v5.7.3", "5.7.3")
    with pytest.raises(Invalid, match=r"5\.7\.3.*5\.6\.0"):
        install.check_version("5.7.3", "v5.6.0")


def test_trap_8_every_path_k6_is_given_is_absolute(job: MakeJob) -> None:
    argv = StroppyK6(Installed("5.7.3", "", Path("stroppy"))).command(job(), "measure")
    paths = [a.partition("=")[2] or a for a in argv if "/" in a and a != "tpcc/tx"]
    assert len(paths) == 2
    assert all(Path(p).is_absolute() for p in paths)


@pytest.mark.parametrize("phase", ["prepare", "warm", "measure"])
def test_k6_reports_home_to_nobody_and_opens_no_control_port(job: MakeJob, phase: Phase) -> None:
    argv = StroppyK6(Installed("5.7.3", "", Path("stroppy"))).command(job(), phase)
    assert {"--no-usage-report", "--address="} <= set(argv[argv.index("--") :])


def test_trap_9_true_means_crossed_and_99_is_no_failure(job: MakeJob) -> None:
    found = k6(job(name="tpcb/tx", clients=1), "k6-threshold-crossed", code=99)
    assert found.code_is_verdict
    assert found.warnings == ("the script's own threshold was crossed: tx_total_duration p(95)<0.001",)
    assert stroppy_k6.crossed({"m": {"thresholds": {"p(90)<5000": False}}}) == []


def test_trap_10_throughput_is_count_by_measured_seconds(job: MakeJob) -> None:
    found = k6(job(name="tpcb/tx", clients=2), "k6-tpcb-measure", wall=60.0)
    assert found.duration_s == pytest.approx(4037 / 989.8015, rel=1e-3)
    assert found.tps == pytest.approx(found.transactions / found.duration_s, rel=1e-3)


def test_trap_11_errors_and_retries_are_always_told(job: MakeJob) -> None:
    found = k6(job(), "k6-tpcc-measure", wall=6.0)
    assert (found.transactions, found.retries) == (1747, 693)
    assert found.errors == 1832 - 1747 - 6
    assert found.nopm == pytest.approx(154.77 * 60, rel=1e-3)


async def test_trap_13_what_a_prepare_prints_is_never_a_result(recorder: Recorder, job: MakeJob) -> None:
    step = {"stdout": str(RUNS / "go-tpcc-prepare.stdout"), "stderr": str(RUNS / "go-tpcc-prepare.stderr")}
    recorder.plan(GO, prepare=step)
    told = await StroppyGo(Installed("unknown", "ab", recorder.path)).prepare(job())
    assert told["params"]["retryAttempts"] == 20
    assert not {"transactions", "tps", "tpm_c"} & set(told)
    assert "--no-steps" in recorder.calls()[0]["args"]


def test_trap_14_bucket_edges_are_upper_bounds(job: MakeJob) -> None:
    found = go(job(), "go-tpcc-measure-read-committed").latency
    assert (found.p50, found.p95, found.p99, found.bound) == (5.0, 25.0, 25.0, "upper")
    assert found.max is None


@pytest.mark.parametrize("adapter", [StroppyGo, StroppyK6])
def test_trap_16_sslmode_is_always_written(job: MakeJob, adapter: type[StroppyGo | StroppyK6]) -> None:
    one = job()
    adapter(Installed("", "", Path("stroppy"))).command(one, "measure")
    config = json.loads((one.directory / "measure.json").read_text())
    assert config["drivers"]["0"]["url"] == "postgres://load@127.64.0.2:5432/bench?sslmode=disable"


def test_each_generation_is_told_in_its_own_words(job: MakeJob) -> None:
    one = job(scale_factor=3, pacing=True)
    StroppyGo(Installed("", "", Path("stroppy"))).command(one, "measure")
    config = json.loads((one.directory / "measure.json").read_text())
    assert config["run"] == {"executor": "constant-vus", "vus": 4, "duration": "5s"}
    assert config["params"]["scaleFactor"] == 3
    assert not {"k6Args", "k6Config"} & set(config)
    argv = StroppyK6(Installed("", "", Path("stroppy"))).command(one, "measure")
    told = {a for a in argv if "=" in a}
    assert {"VUS=4", "DURATION=5s", "SCALE_FACTOR=3", "PACING=true", "TX_ISOLATION=read_committed"} <= told
    assert {"RETRY_ATTEMPTS=20"} <= told
    prepare = StroppyK6(Installed("", "", Path("stroppy"))).command(one, "prepare")
    assert not [a for a in prepare if a.startswith(("VUS", "DURATION", "--summary"))]


@pytest.mark.parametrize(
    "changed", [{"name": "tpch/tx"}, {"rate": 5.0}, {"params": {"scale": 1}}, {"params": {"retryAttempts": "3"}}]
)
def test_what_stroppy_cannot_do_is_refused(spec: MakeWorkload, changed: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        check(spec(**changed))


def work_with(recorder: Recorder, running: Running, tmp_path: Path, secrets: Secrets) -> EdgeWork:
    settings = EdgeSettings(cache=tmp_path / "cache", stroppy=recorder.path, isolation=Isolation(Kind.NONE))
    return EdgeWork(tmp_path / "load", secrets, "load", None, settings)


def plan_beside(work: EdgeWork, recorder: Recorder) -> Path:
    """The copy that the agent made plays the recorder's plan too."""
    (copy,) = (work._settings.cache / "stroppy").iterdir()
    (copy / "plan.json").write_bytes((recorder.path.parent / "plan.json").read_bytes())
    return copy


@pytest.fixture
async def edge(
    recorder: Recorder,
    running: Running,
    tmp_path: Path,
    secrets_of_test: Secrets,
    spec: MakeWorkload,
    new_context: MakeContext,
) -> EdgeWork:
    """Edge work with a replaying Stroppy against a real server."""
    work = work_with(recorder, running, tmp_path, secrets_of_test)
    await install.ensure(install.Source(work._settings.cache, recorder.path), "", asyncio.Event())
    plan_beside(work, recorder)
    return work


@ONE_MAJOR
async def test_trap_19_the_adapter_is_part_of_the_fingerprint(
    edge: EdgeWork, recorder: Recorder, running: Running, spec: MakeWorkload, new_context: MakeContext
) -> None:
    one = spec(driver_version="")
    key, end = running.given.key, running.endpoint
    recorder.replay(GO, "go-tpcc-measure-read-committed", sleep=0.2)
    plan_beside(edge, recorder)
    installed = await edge.install(InstallInput(key, one, end), new_context())
    assert (installed.adapter, installed.driver_version) == ("stroppy-go", "unknown")
    await edge.prepare(PrepareInput(key, one, end), new_context())
    await edge.warmup(WarmupInput(key, one, end, 0, 1), new_context())
    context = new_context()
    outcome = await edge.measure(MeasureInput(key, one, end, 5, 1), context)
    assert outcome.result["fingerprint"]["adapter"] == "stroppy-go"
    assert outcome.result["fingerprint"]["driver_sha256"] == installed.sha256
    assert (outcome.series, outcome.result["transactions"]) == ("", 3427)
    assert "totals only" in outcome.series_reason
    assert not outcome.valid, "the replay made no commit in the database"
    assert "the database counts 0 commits" in outcome.reason or "commits, the generator" in outcome.reason
    assert b"bench summary" in gzip.decompress(context.artifacts["sample-1/stroppy.err.gz"])


@ONE_MAJOR
async def test_b15_exit_0_after_half_its_time_is_invalid(
    edge: EdgeWork, recorder: Recorder, running: Running, spec: MakeWorkload, new_context: MakeContext
) -> None:
    one = spec(driver_version="", name="tpcb/tx")
    key, end = running.given.key, running.endpoint
    recorder.replay(GO, "go-tpcb-measure", sleep=1)
    plan_beside(edge, recorder)
    await edge.prepare(PrepareInput(key, one, end), new_context())
    await edge.warmup(WarmupInput(key, one, end, 0, 1), new_context())
    outcome = await edge.measure(MeasureInput(key, one, end, 5, 1), new_context())
    assert not outcome.valid
    assert "s of 5 s" in outcome.reason


@ONE_MAJOR
async def test_a_measure_without_its_warm_up_is_refused(
    edge: EdgeWork, recorder: Recorder, running: Running, spec: MakeWorkload, new_context: MakeContext
) -> None:
    one = spec(driver_version="")
    key, end = running.given.key, running.endpoint
    await edge.prepare(PrepareInput(key, one, end), new_context())
    with pytest.raises(Conflict, match="no fresh copy"):
        await edge.measure(MeasureInput(key, one, end, 1, 7), new_context())


@ONE_MAJOR
async def test_a_prepare_that_fails_says_what_stroppy_said(
    edge: EdgeWork, recorder: Recorder, running: Running, spec: MakeWorkload, new_context: MakeContext
) -> None:
    recorder.plan(GO, prepare={"code": 1, "say": "Error: unknown workload\n"})
    plan_beside(edge, recorder)
    with pytest.raises(Faulty, match="unknown workload"):
        await edge.prepare(PrepareInput(running.given.key, spec(driver_version=""), running.endpoint), new_context())
