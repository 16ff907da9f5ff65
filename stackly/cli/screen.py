"""One run on one screen: what it was, what it says, and what stands behind that."""

from collections.abc import Iterable, Iterator
from typing import Any

from stackly import clock
from stackly.cli.follow import length
from stackly.cli.speech import clean, paint, short, table
from stackly.spec.runs import ENDED
from stackly.words import counted

Json = dict[str, Any]
GATE_WORDS = {"allow": "allow", "deny": "block", "hold": "hold"}
_ORDER = ("invalid", "fail", "worse", "inconclusive", "better", "same", "pass")


def screen(run: Json, leftovers: int | None = None) -> str:
    """Shape: `leftovers` of this run, None where that is not known."""
    parts = ["\n".join(_head(run, leftovers))]
    if run["tests"]:
        parts += [_test_table(name, tests, run["status"]) for name, tests in grouped(run["tests"])]
    if not run["tests"] or run["status"] not in ENDED:
        parts.append(phase_table(run))
    parts.append("\n".join(_foot(run)))
    return "\n\n".join(p for p in parts if p)


def _head(run: Json, leftovers: int | None) -> Iterator[str]:
    yield (
        f"run {clean(run['id'])}  {run['kind']}  {paint(run['status'])}{_took(run)}"
        f"      {clean(run['repo'])}  {clean(run['stack'])}  branch {clean(run['branch'])} @ {short(run['commit'])}"
    )
    if run.get("reason"):
        yield f"reason    {clean(run['reason'])}"
    yield from _waiting(run.get("waiting"))
    if run["verdict"]:
        yield f"verdict   {_padded(run['verdict'])} {tally(run['tests'])}"
    if run["gate"]:
        decision = GATE_WORDS.get(run["gate"]["decision"], run["gate"]["decision"])
        why = "; ".join(map(clean, run["gate"].get("reasons") or ())) or "nothing speaks against it"
        yield f"gate      {_padded(decision)} policy {clean(run['gate'].get('policy') or '-')}: {why}"
    if run["kind"] == "benchmark":
        for image in _images(run):
            yield f"image     {clean(image)}"
        yield f"baseline  {_baseline(run)}"
        if run["cost"].get("settled") is not None:  # what a run may cost at most is no cost
            yield f"cost      {_cost(run['cost'])}"
        yield f"machines  {_machines(run, leftovers)}"
    elif run.get("changed") is not None:
        yield f"changed   {'yes' if run['changed'] else 'no'}"
    for owed in run.get("owed") or ():
        what = f"test {clean(owed['test'])}" if owed["test"] else "what it made"
        tries = counted(owed["tries"], "try", "tries")
        yield f"owed      {what} cannot be torn down ({tries}): {clean(owed['reason'])}"
        yield f"          next try {owed['next_try']}; or answer for it: {clean(owed['command'])}"
    for n, line in enumerate(planned(run.get("plan"))):
        yield f"{'plan' if n == 0 else '':<10}{line}"


def planned(plan: Json | None, most: int = 20) -> list[str]:
    """What a plan would do, change by change."""
    lines = [clean(line) for line in (plan or {}).get("summary") or []]
    left = max((plan or {}).get("changes") or 0, len(lines)) - len(lines[:most])
    return lines[:most] + ([f"and {left} more"] if left else [])


def _padded(word: str) -> str:
    return paint(word) + " " * max(1, 9 - len(word))


def _took(run: Json) -> str:
    if not run["started_at"]:
        return ""
    end = clock.parse(run["ended_at"]) if run["ended_at"] else clock.now()
    return f" {'in' if run['ended_at'] else 'for'} {length((end - clock.parse(run['started_at'])).total_seconds())}"


def _waiting(waiting: Json | None) -> Iterator[str]:
    if not waiting:
        return
    yield f"waiting   for {clean(waiting['blocker'])} since {waiting['since']}: {clean(waiting['reason'] or '-')}"
    if waiting.get("next_check") or waiting.get("deadline"):
        yield f"          next check {waiting['next_check'] or '-'}, deadline {waiting['deadline'] or '-'}"


def tally(tests: list[Json]) -> str:
    """Shape: 1 worse, 1 same; 2 of 3 tests measured."""
    verdicts = [t["verdict"] for t in tests if t["verdict"]]
    found = ", ".join(f"{verdicts.count(v)} {v}" for v in _ORDER if v in verdicts)
    return f"{found}; {len(verdicts)} of {counted(len(tests), 'test')} measured"


def _images(run: Json) -> list[str]:
    """What the databases were started from, where they were containers."""
    fingerprints = [(t["result"] or {}).get("fingerprint") or {} for t in run["tests"]]
    return sorted({str(f["image"]) for f in fingerprints if f.get("image")})


def _baseline(run: Json) -> str:
    baseline = run["baseline"]
    if not baseline or not baseline.get("commit"):
        return "none that measured the same: thresholds alone decide" if run["verdict"] else "not known yet"
    mode = baseline.get("mode") or "-"
    how = "measured in a run of its own" if mode == "separate" else clean(mode)
    return f"{short(baseline['commit'])}   run {clean(baseline.get('run_id') or '-')}; {how}"


def _cost(cost: Json) -> str:
    limit = f" of {cost['max_machine_hours']:.1f}" if cost.get("max_machine_hours") is not None else ""
    return f"{cost['settled']:.1f}{limit} machine-hours"


def _machines(run: Json, leftovers: int | None) -> str:
    ended = [p for p in run["phases"] if p["name"] == "verify" and p["status"] == "succeeded" and p["ended_at"]]
    said = "destroyed" if ended else "not destroyed yet" if run["status"] not in ENDED else "nothing was verified gone"
    return said if leftovers is None else f"{said}, leftovers {leftovers}"


def grouped(tests: Iterable[Json]) -> list[tuple[str, list[Json]]]:
    """Cells of one matrix belong together: `name.N` for cell N."""
    found: dict[str, list[Json]] = {}
    for test in tests:
        name = test["name"].rpartition(".")[0] if test["cell"] else test["name"]
        found.setdefault(name or test["name"], []).append(test)
    return list(found.items())


def deciding(test: Json) -> Json | None:
    """The comparison that a row shows: the first that decides."""
    found = test["comparisons"]
    return next((c for c in found if c.get("decides")), found[0] if found else None)


def metric_of(test: Json) -> str:
    shown = deciding(test)
    if shown:
        return str(shown["metric"])
    return "nopm" if (test["result"] or {}).get("nopm") is not None else "tps"


def value_of(result: Json | None, metric: str) -> float | None:
    at: Any = result or {}
    for part in metric.split("."):
        at = at.get(part) if isinstance(at, dict) else None
    return float(at) if isinstance(at, int | float) and not isinstance(at, bool) else None


def label(test: Json) -> str:
    return " ".join(f"{k}={v}" for k, v in test["cell"].items()) or str(test["name"])


def row(test: Json) -> list[str]:
    """Shape: name, value, p95, change, interval, pairs, verdict."""
    comparison, metric = deciding(test) or {}, metric_of(test)
    interval, change = comparison.get("interval_pct"), comparison.get("change_pct")
    p95 = value_of(test["result"], "latency_ms.p95")
    return [
        label(test),
        number(value_of(test["result"], metric)),
        number(p95),
        "-" if change is None else f"{change:+.1f}%",
        "-" if not interval else f"{interval[0]:+.1f} .. {interval[1]:+.1f}",
        str(comparison.get("pairs") or "-"),
        str(test["verdict"] or test["status"]),
    ]


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def heads(name: str, tests: list[Json]) -> list[str]:
    return [f"TEST {name}", metric_of(tests[0]).upper(), "P95 MS", "CHANGE", "95% INTERVAL", "PAIRS", "VERDICT"]


def _test_table(name: str, tests: list[Json], _status: str) -> str:
    return table(heads(name, tests), [row(t) for t in tests])


def phase_table(run: Json) -> str:
    rows = [[p["name"], p["status"], _phase_length(p), p.get("detail")] for p in run["phases"]]
    return table(["PHASE", "STATUS", "TOOK", "DETAIL"], rows)


def _phase_length(phase: Json) -> str:
    if not phase["ended_at"]:
        return "-"
    return length((clock.parse(phase["ended_at"]) - clock.parse(phase["started_at"])).total_seconds())


def _foot(run: Json) -> Iterator[str]:
    for test in run["tests"]:
        yield from _said_of(test)
    if any(t["thresholds"] for t in run["tests"]):
        yield f"thresholds {thresholds(run['tests'])}"
    for warning in run.get("warnings", ()):
        yield f"warning    {clean(warning)}"
    for test in run["tests"]:
        for warning in test["warnings"]:
            yield f"warning    {clean(test['name'])}: {_sentence(warning)}"
    if run["status"] in ENDED:
        compare = f"run compare {run['id']} | " if run["baseline"] else ""
        yield f"next       stackly {compare}explain run {run['id']} | run logs {run['id']}"
    elif (run["waiting"] or {}).get("blocker") == "approval":
        yield f"next       stackly approval show {run['id']}"
    else:
        yield f"next       stackly run wait {run['id']} | run logs {run['id']} -f | run cancel {run['id']}"


def _said_of(test: Json) -> Iterator[str]:
    """Why it came out so, and where an invalid one's raw output is."""
    for reason in test["reasons"]:
        yield f"reason     {clean(test['name'])}: {_sentence(reason)}"
    for artifact in test.get("artifacts") or () if test["verdict"] == "invalid" else ():
        yield f"artifact   {clean(test['name'])}: {clean(artifact['name'])}  {clean(artifact['url'])}"


def _sentence(said: Any) -> str:
    if isinstance(said, dict):
        return clean(said.get("message") or said.get("reason") or " ".join(f"{k}={v}" for k, v in said.items()))
    return clean(said)


def thresholds(tests: list[Json]) -> str:
    """Shape: 6 of 9 pass, 3 not judged (nopm >= 30000, error_rate <= 0.01)."""
    found = [t for test in tests for t in test["thresholds"]]
    passed = sum(t["verdict"] == "pass" for t in found)
    unjudged = sum(t["verdict"] is None for t in found)
    asked = dict.fromkeys(limit for t in found for limit in limits(t))
    return f"{passed} of {len(found)} pass{f', {unjudged} not judged' if unjudged else ''} ({', '.join(asked)})"


def limits(threshold: Json) -> Iterator[str]:
    name = clean(threshold["metric"])
    if threshold.get("min") is not None:
        yield f"{name} >= {threshold['min']:g}"
    if threshold.get("max") is not None:
        yield f"{name} <= {threshold['max']:g}"
