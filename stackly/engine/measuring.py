"""From an agent's claim to a stored result, and from results to a verdict."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from stackly.db import Session
from stackly.engine.contracts.control import Judgement, Sampled
from stackly.events import store as events
from stackly.events.model import EventName
from stackly.runs import store
from stackly.runs import tests as tests_store
from stackly.runs.model import Run, TestRecord
from stackly.stacks import store as stacks
from stackly.suites import gates, jsonform, results
from stackly.suites import store as suites
from stackly.suites.comparison import compare_results
from stackly.suites.model import ResolvedTest, Sample
from stackly.suites.results import Claim


def sample_of(test: TestRecord, given: Sampled) -> tuple[Sample, list[str]]:
    """The control plane's own look at the agent's claim, and what it was measured on. Shape: (sample, warnings)."""
    outcome = given.outcome
    resolved = jsonform.from_json(ResolvedTest, test.spec)
    result = {**outcome.result, "fingerprint": _fingerprint(given)}
    claim = Claim(
        outcome.valid,
        outcome.reason,
        result,
        asked_s=float(resolved.measure.duration_s),
        clients=resolved.workload.clients,
        exit_code=outcome.result.get("exit_code"),
    )
    judged = results.judge(claim)
    artifacts = {**outcome.artifacts}
    if outcome.series:
        artifacts["series"] = outcome.series
    else:
        result["series_reason"] = outcome.series_reason
    if given.install is not None:
        result["driver"] = given.install.driver
        result["driver_version"] = given.install.driver_version
    sample = Sample(
        given.test,
        "candidate",
        given.n,
        given.n,
        valid=judged.valid,
        reason=judged.reason,
        result=result,
        artifacts=artifacts,
    )
    return sample, sorted({*outcome.warnings, *judged.warnings, *test.spec.get("warnings", ())})


def _fingerprint(given: Sampled) -> dict[str, Any]:
    """Shape: what the agent saw, the server, and the driver with its generation, which is part of what is compared."""
    found: dict[str, Any] = dict(given.outcome.result.get("fingerprint") or {})
    if given.database is not None:
        found |= given.database.fingerprint | {"server_version": given.database.server_version}
    if given.install is not None:
        found |= {"driver": given.install.adapter, "driver_version": given.install.driver_version}
    return found


async def judge_test(session: Session, run: Run, test: TestRecord) -> Judgement:
    """Thresholds, comparison and verdict of one test, written to its row."""
    resolved = jsonform.from_json(ResolvedTest, test.spec)
    samples = [s for s in await suites.results_of(session, run.id) if s.test == test.test]
    broken = [s for s in samples if not s.valid]
    if broken or not samples:
        reasons = [s.reason for s in broken] or ["nothing was measured"]
        await tests_store.update_test(session, run.id, test.test, verdict="invalid", reasons=reasons)
        return Judgement("invalid", reasons)
    measured = [s.result for s in samples]
    pooled = results.pool(measured)
    thresholds = gates.judge_thresholds(pooled, resolved.thresholds)
    baseline = await _baseline(session, run, test, resolved)
    comparisons = compare_results(baseline[1], measured, resolved.comparison)
    verdict = gates.verdict_of(valid=True, thresholds=thresholds, comparisons=comparisons)
    reasons = _reasons(thresholds, comparisons)
    await tests_store.update_test(
        session,
        run.id,
        test.test,
        verdict=verdict,
        reasons=reasons,
        thresholds=[asdict(t) for t in thresholds],
        comparisons=[asdict(c) for c in comparisons],
    )
    if baseline[0]:
        await store.update_run(session, run.id, baseline=baseline[0])
    payload = {"run": run.id, "test": test.test, "verdict": verdict, "tps": pooled.get("tps"), "reasons": reasons}
    await events.record(session, run.account, f"run/{run.id}", EventName.TEST_MEASURED, test.test, payload)
    return Judgement(verdict, reasons)


async def _baseline(
    session: Session, run: Run, test: TestRecord, resolved: ResolvedTest
) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
    """The default branch's last accepted result of this test. Shape: (what the run shows, results of its samples)."""
    code = await stacks.get_code(session, run.code)
    found = await suites.last_valid_result(
        session,
        repo=code.repo,
        path=code.path,
        branch=str(run.spec["default_branch"]),
        test=resolved.name,
        cell=resolved.cell,
        ruler=test.spec["ruler"],
        but=run.id,
    )
    if found is None:
        return {}, []
    shown = {"commit": found.commit, "run_id": found.run, "mode": "separate", "distance": None}
    return shown, [s.result for s in found.samples]


def _reasons(thresholds: list[gates.ThresholdOutcome], comparisons: list[Any]) -> list[str]:
    said = [t.evidence for t in thresholds if t.verdict != "pass"]
    said += [f"{c.metric}: {c.reason}" for c in comparisons if c.decides and c.verdict != "same"]
    return said
