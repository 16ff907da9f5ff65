"""Register, update, move, deregister: a real repository, synced; nothing is ever destroyed by a push."""

from stackly.engine.contracts.control import Sampled
from stackly.engine.contracts.edge import MeasureOutcome
from stackly.engine.measuring import sample_of
from stackly.runs.model import TestRecord
from stackly.spec.runs import TestStatus
from tests.engine.syncing import SUITE, Syncing, measured, plain


async def test_three_commits_register_update_and_deregister_in_that_order(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    await syncing.pushed({"a/main.tf": 'resource "terraform_data" "y" {}\n'})
    code = await syncing.code("a")
    syncing.upstream.remove("a")
    await syncing.sync()
    names = [r["name"] for r in await syncing.rows("SELECT name FROM events WHERE subject LIKE 'stack/%' ORDER BY id")]
    told = [n for n in names if n.startswith("module_")]
    assert told == ["module_registered", "module_updated", "module_deregistered"]
    assert (await syncing.code_by_id(code.id)).status == "deregistered"
    assert await syncing.codes() == {}


async def test_a_directory_without_stackly_hcl_is_no_stack(syncing: Syncing) -> None:
    await syncing.pushed({"a/main.tf": "# nothing\n"} | plain("b", "b"))
    assert list(await syncing.codes()) == ["b"]


async def test_a_stack_that_cannot_be_read_hides_no_other(syncing: Syncing) -> None:
    broken = {"bad/stackly.hcl": 'stack "bad" {\n  target = \n}\n', "bad/main.tf": "# x\n"}
    await syncing.pushed(plain("a", "a") | broken | measured("m", "m"))
    codes = await syncing.codes()
    assert {path: c.status for path, c in codes.items()} == {"a": "active", "bad": "rejected", "m": "active"}
    (problem, *_) = codes["bad"].errors
    assert (problem["file"], problem["line"]) == ("bad/stackly.hcl", 2)


async def test_a_push_makes_the_run_that_the_stack_is_for(syncing: Syncing) -> None:
    commit = await syncing.pushed(plain("a", "a") | measured("m", "m"))
    assert sorted((r.kind.value, r.commit) for r in await syncing.runs()) == [("benchmark", commit), ("deploy", commit)]


async def test_a_sync_that_finds_nothing_changed_writes_nothing(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    before = await syncing.rows("SELECT count(*) FROM events")
    assert await syncing.sync() == []
    assert await syncing.rows("SELECT count(*) FROM events") == before


SCHEDULE = '  schedule {\n    benchmark = "0 3 * * *"\n  }'


async def test_what_an_earlier_release_took_loses_nothing_and_only_its_next_push_is_refused(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    held = await syncing.holds("a")
    await syncing.execute(
        """UPDATE stack_codes SET config = config || '{"schedule": {"benchmark": "0 3 * * *"}, "target": "yandex"}'"""
    )
    before = {r.id for r in await syncing.runs()}
    assert await syncing.sync() == []
    assert (await syncing.code("a")).status == "active"

    await syncing.pushed(plain("a", "a", SCHEDULE))
    code = await syncing.code("a")
    assert code.status == "rejected"
    (problem,) = code.errors
    assert (problem["file"], problem["line"], problem["column"]) == ("a/stackly.hcl", 3, 3)
    assert "`schedule` is not carried out by this release" in problem["message"]
    assert (await syncing.states(code.id))["default"].id == held.id
    assert {r.id for r in await syncing.runs()} == before


async def test_a_run_carries_what_its_files_ask_for_and_do_not_get(syncing: Syncing) -> None:
    hooks = '  hooks {\n    pre_plan = ["validate_quotas"]\n  }\n  budget {\n    max_duration = "20m"\n  }'
    sized = "    topology: {nodes: {db: {roles: [postgres], cores: 64}, load: {roles: [generator]}}}\n    workload"
    await syncing.pushed(plain("p", "p", hooks) | measured("m", "m", hooks, suite=SUITE.replace("    workload", sized)))
    for run in await syncing.runs():
        assert run.spec["warnings"] == ["hook validate_quotas at pre_plan is not run yet"]
    (benchmark,) = [r for r in await syncing.runs() if r.kind.value == "benchmark"]
    (test,) = benchmark.spec["suite"]["tests"]
    assert test["warnings"] == ["cores of node db: nothing on target local limits them"]
    assert benchmark.spec["suite"]["timeout_s"] == 1200, "the stack's budget bounds its suite as well"

    outcome = MeasureOutcome(True, "", {}, {}, "", "", ["noisy"], 5.0)
    record = TestRecord(
        run=benchmark.id,
        test=test["test"],
        name=test["name"],
        spec=test,
        state=None,
        agent=None,
        placement=None,
        status=TestStatus.RUNNING,
        execution=None,
        restarts=0,
        verdict=None,
        reasons=(),
        deadline=None,
    )
    _, warnings = sample_of(record, Sampled(benchmark.id, test["test"], 1, outcome, None, None))
    assert warnings == ["cores of node db: nothing on target local limits them", "noisy"]
