"""Samples -> one result, and whether a sample may be believed. Pure."""

import bisect
import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from stackly.suites.model import PERCENTILES, value_of

Json = dict[str, Any]

_COUNTS = ("transactions", "errors", "retries", "lost_clients", "db_commits", "checkpoints")
K6_THRESHOLD_CROSSED = 99  # k6 says so when a threshold of its own was crossed: measured all the same

MIN_DURATION_SHARE = 0.95
COMMITS_INVALID = 0.20
COMMITS_WARN = 0.05
COMMITS_OWN = 20  # and two a client: sessions and the server itself commit as well


@dataclass(frozen=True, slots=True)
class Claim:
    """What an agent says a sample was. Shape: `exit_code` null when it was not reported."""

    valid: bool
    reason: str
    result: Mapping[str, Any]
    asked_s: float
    clients: int = 0
    exit_code: int | None = None


class Judgement(NamedTuple):
    valid: bool
    reason: str
    warnings: tuple[str, ...]


def judge(claim: Claim) -> Judgement:
    """The control plane's own look: an agent may call a sample invalid, never a bad one valid."""
    if not claim.valid:
        return Judgement(valid=False, reason=claim.reason or "the agent gave no reason", warnings=())
    for check in _CHECKS:
        reason = check(claim)
        if reason:
            return Judgement(valid=False, reason=reason, warnings=())
    share = _commits_apart(claim)
    if share is not None and share > COMMITS_WARN:
        return Judgement(valid=True, reason="", warnings=(f"database commits differ by {share:.1%}",))
    return Judgement(valid=True, reason="", warnings=())


def _exit(claim: Claim) -> str:
    if claim.exit_code in {None, 0, K6_THRESHOLD_CROSSED}:
        return ""
    return f"the generator ended with exit code {claim.exit_code}"


def _transactions(claim: Claim) -> str:
    return "" if (value_of(claim.result, "transactions") or 0) > 0 else "no transaction was made"


def _clients(claim: Claim) -> str:
    lost = int(value_of(claim.result, "lost_clients") or 0)
    return f"{lost} client{'s were' if lost != 1 else ' was'} lost" if lost > 0 else ""


def _duration(claim: Claim) -> str:
    ran = value_of(claim.result, "duration_s")
    if ran is None:
        return "its duration is not known"
    if ran < MIN_DURATION_SHARE * claim.asked_s:
        return f"it ran {ran:.1f} s of {claim.asked_s:g} s"
    return ""


def _commits(claim: Claim) -> str:
    share = _commits_apart(claim)
    if share is None or share <= COMMITS_INVALID:
        return ""
    made, commits = (int(value_of(claim.result, m) or 0) for m in ("transactions", "db_commits"))
    return f"the generator counted {made} transactions and the database {commits} commits ({share:.0%} apart)"


_CHECKS: tuple[Callable[[Claim], str], ...] = (_exit, _transactions, _clients, _duration, _commits)


def _commits_apart(claim: Claim) -> float | None:
    made, commits = (value_of(claim.result, m) for m in ("transactions", "db_commits"))
    if made is None or commits is None or not made:
        return None
    own = COMMITS_OWN + 2 * claim.clients
    return max(0.0, abs(commits - made) - own) / made


def pool(samples: Sequence[Mapping[str, Any]]) -> Json:
    """One result of valid samples. Counts are summed, rates made anew from the sums, percentiles never averaged.

    Shape: a single sample is kept as it is. Of several, percentiles come from merged histograms where every sample
    has one (`latency_ms.histogram {edges_ms, counts}`, `bound` then `upper`); else they are the samples' median, and
    `bound` is `median`, or stays `upper` when one of them was the edge of a bucket.
    Raises: ValueError without a sample.
    """
    if not samples:
        raise ValueError("there is no sample to pool")
    if len(samples) == 1:
        return dict(samples[0])
    out = _shared(samples)
    for name in _COUNTS:
        total = _total(samples, name)
        out[name] = None if total is None else int(total)
    duration = _total(samples, "duration_s")
    out["duration_s"] = duration
    out["tps"] = out["transactions"] / duration if out["transactions"] is not None and duration else None
    for name in ("nopm", "tpm_c"):
        out[name] = _weighted(samples, name, "duration_s")
    out["error_rate"] = _error_rate(out)
    out["failover_s"] = max(_values(samples, "failover_s"), default=None)
    out["latency_ms"] = _latency(samples)
    return out


def _shared(samples: Sequence[Mapping[str, Any]]) -> Json:
    # A fingerprint and the like: kept where all samples agree, for then it is true of the whole.
    first, *others = samples
    return {k: v for k, v in first.items() if all(k in o and o[k] == v for o in others)}


def _values(samples: Iterable[Mapping[str, Any]], metric: str) -> list[float]:
    return [v for s in samples if (v := value_of(s, metric)) is not None]


def _total(samples: Sequence[Mapping[str, Any]], metric: str) -> float | None:
    values = _values(samples, metric)
    return sum(values) if len(values) == len(samples) else None


def _weighted(samples: Sequence[Mapping[str, Any]], metric: str, weight: str) -> float | None:
    values, weights = _values(samples, metric), _values(samples, weight)
    if len(values) < len(samples) or len(weights) < len(samples) or not sum(weights):
        return None
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)


def _error_rate(pooled: Json) -> float | None:
    errors, made = pooled["errors"], pooled["transactions"]
    if errors is None or made is None:
        return None
    return errors / (errors + made) if errors + made else 0.0


def _latency(samples: Sequence[Mapping[str, Any]]) -> Json:
    each = [s.get("latency_ms") or {} for s in samples]
    out: Json = {
        "mean": _weighted(samples, "latency_ms.mean", "transactions"),
        "max": max(_values(samples, "latency_ms.max"), default=None),
    }
    merged = merge_histograms([h for e in each if (h := e.get("histogram"))])
    if merged is not None and all(e.get("histogram") for e in each):
        shares = {name: float(name[1:]) / 100 for name in PERCENTILES}
        return {**out, **{n: quantile(merged, q) for n, q in shares.items()}, "histogram": merged, "bound": "upper"}
    bucketed = any(e.get("bound") == "upper" for e in each)
    for name in PERCENTILES:
        values = _values(samples, f"latency_ms.{name}")
        # Of an even number the higher of the middle two: half way between two edges there is no edge.
        middle = statistics.median_high if bucketed else statistics.median
        out[name] = middle(values) if len(values) == len(samples) else None
    return {**out, "bound": "upper" if bucketed else "median"}


def merge_histograms(histograms: Sequence[Mapping[str, Any]]) -> Json | None:
    """Sum of histograms with the same edges, else None. Shape: one count more than edges, the last above all."""
    if not histograms or any(h["edges_ms"] != histograms[0]["edges_ms"] for h in histograms):
        return None
    counts = [sum(c) for c in zip(*(h["counts"] for h in histograms), strict=True)]
    return {"edges_ms": list(histograms[0]["edges_ms"]), "counts": counts}


def quantile(histogram: Mapping[str, Any], share: float) -> float | None:
    """Upper edge of the bucket that holds the share. Units: ms; None above the last edge, or when all is empty."""
    sums = list(itertools.accumulate(histogram["counts"]))
    if not sums or not sums[-1]:
        return None
    at = bisect.bisect_left(sums, share * sums[-1])
    edges = histogram["edges_ms"]
    return float(edges[at]) if at < len(edges) else None
