"""Two runs beside each other, by the same pure rules that the server judges with."""

from typing import Any

from stackly.cli.exits import CommandFailed, Exit
from stackly.spec.runs import ENDED

Json = dict[str, Any]


def ended(run: Json) -> Json:
    """Raises: CommandFailed while the run has nothing to compare yet."""
    if run["status"] not in ENDED:
        said = f"Run {run['id']} is {run['status']}; wait for it: stackly run wait {run['id']}"
        raise CommandFailed(Exit.CONFLICT, "This run has not ended.", said, run=run["id"])
    return run


def beside(base: Json, candidate: Json) -> Json:
    """The candidate as if the base were its baseline: its comparisons, verdicts and gate anew."""
    from stackly.suites import gates

    before = {_key(t): t for t in base["tests"]}
    tests = [_beside(before.get(_key(t)), t) for t in candidate["tests"]]
    verdicts = {t["name"]: t["verdict"] for t in tests}
    return {
        **candidate,
        "tests": tests,
        "verdict": gates.verdict_of_run(verdicts.values()),
        "gate": gates.gate(verdicts),
        "baseline": {"commit": base["commit"], "run_id": base["id"], "mode": "separate", "distance": None},
    }


def _key(test: Json) -> tuple[str, str]:
    cell = ",".join(f"{k}={v}" for k, v in sorted(test["cell"].items()))
    # A cell's number moves when the matrix grows; its values do not.
    return (test["name"].rpartition(".")[0] or test["name"] if cell else test["name"], cell)


def _beside(base: Json | None, test: Json) -> Json:
    from dataclasses import asdict

    from stackly.suites import comparison, gates

    results = [_valid(base), _valid(test)]
    made = comparison.compare_results(results[0], results[1], _rule(test))
    thresholds = [gates.ThresholdOutcome(**_outcome(t)) for t in test["thresholds"]]
    is_valid = test["verdict"] not in {None, "invalid"}
    verdict = gates.verdict_of(valid=is_valid, thresholds=thresholds, comparisons=made)
    reasons = test["reasons"] if made else [*test["reasons"], "the base has no valid result of this test"]
    return {**test, "verdict": verdict, "comparisons": [asdict(c) for c in made], "reasons": reasons}


def _outcome(threshold: Json) -> Json:
    from stackly.suites.gates import ThresholdOutcome

    return {name: threshold.get(name) for name in ThresholdOutcome.__slots__}


def _valid(test: Json | None) -> list[Json]:
    return [s["result"] for s in (test or {}).get("samples", ()) if s["side"] == "candidate" and s["valid"]]


def _rule(test: Json) -> Any:
    """The metrics that the candidate's own comparison decided by, else what a suite decides by unless told."""
    from stackly.suites.model import ComparisonRule, DecidingMetric

    found = {c["metric"]: c["min_effect_pct"] / 100 for c in test["comparisons"]}
    usual = "nopm" if (test["result"] or {}).get("nopm") is not None else "tps"
    return ComparisonRule(metrics=tuple(DecidingMetric(m, e) for m, e in (found or {usual: 0.05}).items()))
