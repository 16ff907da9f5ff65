"""Baseline against candidate. Today a tolerance decides; the signature is the one that statistics will fill. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stackly.suites.model import HIGHER_IS_BETTER, LOWER_IS_BETTER, ComparisonRule, value_of

DEFAULT_TOLERANCE = 0.25

# What must be equal in two fingerprints, where both have it: generations of drivers and machines do not compare.
_ENVIRONMENT = ("driver", "adapter", "target", "arch", "cpu_model", "cores", "memory_mb", "filesystem")


@dataclass(frozen=True, slots=True)
class SampleValue:
    """One valid sample's value of the metric. Shape: `n` is the sample's number, the same on both sides of a pair."""

    n: int
    value: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Units: percents in the fields named so. Shape: null where a tolerance has nothing to say."""

    metric: str
    baseline: float | None
    candidate: float | None
    change_pct: float | None
    interval_pct: tuple[float, float] | None
    confidence: float | None
    pairs: int  # 0: samples of different runs are no pairs
    noise_pct: float | None
    floor_pct: float | None
    min_effect_pct: float
    decides: bool
    verdict: str
    reason: str


def compare(
    baseline: Sequence[SampleValue],
    candidate: Sequence[SampleValue],
    metric: str,
    min_effect: float,
    tolerance: float = DEFAULT_TOLERANCE,
) -> Comparison:
    """Compare the means. Units: `min_effect` and `tolerance` are fractions; the larger one is the limit.

    A metric without direction is neutral: shown, `same`, and it does not decide.
    Raises: ValueError when a side has no sample.
    """
    if not baseline or not candidate:
        raise ValueError("a comparison needs a sample on both sides")
    before = statistics.fmean(s.value for s in baseline)
    after = statistics.fmean(s.value for s in candidate)
    limit = max(min_effect, tolerance)
    verdict, reason = _verdict(before, after, metric, limit)
    return Comparison(
        metric=metric,
        baseline=before,
        candidate=after,
        change_pct=None if before == 0 else (after / before - 1) * 100,
        interval_pct=None,
        confidence=None,
        pairs=0,
        noise_pct=None,
        floor_pct=tolerance * 100,
        min_effect_pct=min_effect * 100,
        decides=metric in HIGHER_IS_BETTER | LOWER_IS_BETTER,
        verdict=verdict,
        reason=reason,
    )


def _verdict(before: float, after: float, metric: str, limit: float) -> tuple[str, str]:
    if metric not in HIGHER_IS_BETTER | LOWER_IS_BETTER:
        return "same", "neutral: more of it is neither better nor worse"
    if before <= 0:
        return "inconclusive", "the baseline is zero, so no change can be stated"
    change = after / before - 1
    if abs(change) < limit - 1e-12:
        return "same", f"within the tolerance of {limit:.0%}"
    better = (change > 0) == (metric in HIGHER_IS_BETTER)
    return ("better" if better else "worse"), f"beyond the tolerance of {limit:.0%}"


def compare_results(
    baseline: Sequence[Mapping[str, Any]],
    candidate: Sequence[Mapping[str, Any]],
    rule: ComparisonRule,
    tolerance: float = DEFAULT_TOLERANCE,
) -> list[Comparison]:
    """Every metric the suite lets decide, over valid samples' results.

    Shape: empty without a baseline: then thresholds alone decide. A bucketed percentile never decides.
    """
    if not baseline or not candidate or rule.baseline == "none":
        return []
    strange = different_environment(baseline[0].get("fingerprint"), candidate[0].get("fingerprint"))
    out = []
    for chosen in rule.metrics:
        sides = [_values(side, chosen.metric) for side in (baseline, candidate)]
        if strange or not all(sides):
            reason = f"different_environment: {strange}" if strange else "it was not measured on both sides"
            out.append(_undecided(chosen.metric, chosen.min_effect, reason))
            continue
        made = compare(sides[0], sides[1], chosen.metric, chosen.min_effect, tolerance)
        out.append(_without_decision(made) if _bucketed((*baseline, *candidate), chosen.metric) else made)
    return out


def different_environment(baseline: Any, candidate: Any) -> str:
    """What two fingerprints differ in, as a phrase; '' when they may be compared."""
    if not isinstance(baseline, Mapping) or not isinstance(candidate, Mapping):
        return ""
    baseline, candidate = _flat(baseline), _flat(candidate)
    differing = [
        f"{key} {baseline[key]} -> {candidate[key]}"
        for key in sorted(baseline.keys() & candidate.keys())
        if key.rsplit(".", maxsplit=1)[-1] in _ENVIRONMENT and baseline[key] != candidate[key]
    ]
    return ", ".join(differing)


def _flat(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of groups as `group.key` beside the plain ones, whose last part is compared: a machine's, a driver's."""
    out: dict[str, Any] = {}
    for key, value in fingerprint.items():
        out |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, Mapping) else {key: value}
    return out


def _values(results: Sequence[Mapping[str, Any]], metric: str) -> list[SampleValue]:
    return [SampleValue(n, v) for n, r in enumerate(results) if (v := value_of(r, metric)) is not None]


def _bucketed(results: Sequence[Mapping[str, Any]], metric: str) -> bool:
    percentile = metric.startswith("latency_ms.p")
    return percentile and any((r.get("latency_ms") or {}).get("bound") == "upper" for r in results)


def _undecided(metric: str, min_effect: float, reason: str) -> Comparison:
    return Comparison(
        metric=metric,
        baseline=None,
        candidate=None,
        change_pct=None,
        interval_pct=None,
        confidence=None,
        pairs=0,
        noise_pct=None,
        floor_pct=None,
        min_effect_pct=min_effect * 100,
        decides=True,
        verdict="inconclusive",
        reason=reason,
    )


def _without_decision(made: Comparison) -> Comparison:
    body = {name: getattr(made, name) for name in made.__slots__}
    return Comparison(**{**body, "decides": False, "reason": "a bucketed percentile never decides"})
