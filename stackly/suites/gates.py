"""Thresholds -> verdicts, verdicts -> the gate. Pure."""

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stackly.suites.model import PERCENTILES, VERDICTS, Threshold, value_of, worst
from stackly.words import counted

Json = dict[str, Any]

# Edges of the drivers that print percentiles as edges: 1, 2.5, 5 in every decade from 0.1 ms on.
_EDGES = [m * 10.0**e for e in range(-1, 6) for m in (1.0, 2.5, 5.0)]


@dataclass(frozen=True, slots=True)
class ThresholdOutcome:
    """Shape: `verdict` is pass, fail or inconclusive; `lower` the edge below a bucketed value."""

    metric: str
    min: float | None
    max: float | None
    value: float | None
    lower: float | None
    verdict: str
    evidence: str


def judge_thresholds(result: Mapping[str, Any], thresholds: Sequence[Threshold]) -> list[ThresholdOutcome]:
    return [_judge(result, t) for t in thresholds]


def _judge(result: Mapping[str, Any], threshold: Threshold) -> ThresholdOutcome:
    value = value_of(result, threshold.metric)
    if value is None:
        return _outcome(threshold, None, None, "inconclusive", f"{threshold.metric} was not measured")
    lower = _lower_edge(result, threshold.metric, value)
    said = f"{threshold.metric} = {value:g}" if lower is None else f"{lower:g} < {threshold.metric} <= {value:g}"
    limits = [f"{op} {x:g}" for op, x in ((">=", threshold.min), ("<=", threshold.max)) if x is not None]
    verdict = _within(value, value if lower is None else lower, threshold, bucketed=lower is not None)
    reason = ", bucket_spans_limit" if verdict == "inconclusive" else ""
    return _outcome(threshold, value, lower, verdict, f"{said}, asked {' and '.join(limits)}{reason}")


def _outcome(t: Threshold, value: float | None, lower: float | None, verdict: str, evidence: str) -> ThresholdOutcome:
    return ThresholdOutcome(t.metric, t.min, t.max, value, lower, verdict, evidence)


def _within(upper: float, lower: float, limit: Threshold, *, bucketed: bool) -> str:
    """The true value lies in (lower, upper]; an exact one is both."""
    lo = float("-inf") if limit.min is None else limit.min
    hi = float("inf") if limit.max is None else limit.max
    # A bucket is open below: its lower edge itself is not in it, so a lower edge on `max` already fails.
    if upper < lo or lower > hi or (bucketed and lower >= hi):
        return "fail"
    return "pass" if upper <= hi and lower >= lo else "inconclusive"


def _lower_edge(result: Mapping[str, Any], metric: str, value: float) -> float | None:
    group, _, name = metric.partition(".")
    latency = result.get("latency_ms")
    if group != "latency_ms" or name not in PERCENTILES or not isinstance(latency, Mapping):
        return None
    if latency.get("bound") != "upper":
        return None
    own = (latency.get("histogram") or {}).get("edges_ms")
    edges = sorted(float(e) for e in own) if own else _EDGES
    at = bisect.bisect_left(edges, value * (1 - 1e-9))
    # A value that is no edge we know: only its upper edge is certain.
    known = at < len(edges) and abs(edges[at] - value) <= 1e-9 * value
    return edges[at - 1] if known and at > 0 else 0.0


def verdict_of(*, valid: bool, thresholds: Iterable[ThresholdOutcome], comparisons: Iterable[Any]) -> str:
    """A test's verdict. Shape: comparisons have `verdict` and `decides`; without any the thresholds alone decide."""
    if not valid:
        return "invalid"
    found = [t.verdict for t in thresholds] + [str(c.verdict) for c in comparisons if c.decides]
    return worst(found) or "pass"


def verdict_of_run(verdicts: Iterable[str | None]) -> str | None:
    """A run's verdict: the first of the order that a test has; null until one is measured."""
    return worst([v for v in verdicts if v is not None])


@dataclass(frozen=True, slots=True)
class GatePolicy:
    name: str = "regression_gate"
    deny: frozenset[str] = frozenset({"invalid", "fail", "worse"})
    hold: frozenset[str] = frozenset({"inconclusive"})


DEFAULT_GATE = GatePolicy()


def gate(verdicts: Mapping[str, str | None], policy: GatePolicy = DEFAULT_GATE) -> Json:
    """Shape: `verdicts` by test; {"decision": allow | deny | hold, "policy": name, "reasons": [sentence]}.

    A test without a verdict was not measured, which denies: nothing is let through unseen.
    """
    missing = sorted(t for t, v in verdicts.items() if v is None)
    deny, hold = (_reasons(verdicts, chosen) for chosen in (policy.deny, policy.hold))
    if missing:
        deny.append(f"not measured: {', '.join(missing)}")
    if not verdicts:
        deny.append("nothing was measured")
    decision = "deny" if deny else "hold" if hold else "allow"
    return {"decision": decision, "policy": policy.name, "reasons": deny + hold}


def _reasons(verdicts: Mapping[str, str | None], chosen: frozenset[str]) -> list[str]:
    out = []
    for verdict in (v for v in VERDICTS if v in chosen):
        tests = sorted(t for t, v in verdicts.items() if v == verdict)
        if tests:
            out.append(f"{verdict} in {counted(len(tests), 'test')}: {', '.join(tests)}")
    return out
