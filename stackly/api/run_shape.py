"""From rows to the run as it is shown: unions of phases, the result of a test, addresses of what can be downloaded."""

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from stackly.api.run_view import (
    ArtifactView,
    BaselineView,
    CostView,
    GateView,
    OwedView,
    PhaseView,
    ResultView,
    RunView,
    SampleView,
    TestView,
    TriggerView,
    WaitingView,
)
from stackly.api.views import PlanView
from stackly.db import Json, Session
from stackly.runs import planned, reads
from stackly.runs.model import BENCHMARK_PHASES, DEPLOY_PHASES, DESTROY_PHASES
from stackly.spec.runs import ENDED
from stackly.suites import reads as results
from stackly.teardown import reads as teardowns
from stackly.teardown.model import Owed

ORDER = ("image", *BENCHMARK_PHASES[:-1], *DEPLOY_PHASES, *DESTROY_PHASES)
_WORST = ("skipped", "succeeded", "running", "failed")


async def views_of(session: Session, rows: Sequence[Json], public_url: str) -> list[RunView]:
    """One query a table for any number of runs."""
    ids = [row["id"] for row in rows]
    tests = _grouped(await reads.tests_of(session, ids))
    phases = _grouped(await reads.phases_of(session, ids))
    samples = _grouped(await results.results_of(session, ids))
    owed = await teardowns.owed(session, runs=ids) if ids else []
    views = [
        _run(row, tests.get(row["id"], []), phases.get(row["id"], []), samples.get(row["id"], []), public_url)
        for row in rows
    ]
    return [view.model_copy(update={"owed": _owed(row, owed)}) for view, row in zip(views, rows, strict=True)]


def _owed(row: Json, owed: Sequence[Owed]) -> list[OwedView]:
    """Of the run that made it, and of the destroy that tried."""
    mine = [o for o in owed if o.run == row["id"] or (row["kind"] == "destroy" and o.state == row["state"])]
    return [OwedView(**{name: getattr(o, name) for name in OwedView.model_fields}) for o in mine]


async def view_of(session: Session, row: Json, public_url: str) -> RunView:
    return (await views_of(session, [row], public_url))[0]


def _grouped(rows: Iterable[Json]) -> dict[str, list[Json]]:
    found: dict[str, list[Json]] = {}
    for row in rows:
        found.setdefault(row["operation"], []).append(row)
    return found


def _run(row: Json, tests: list[Json], phases: list[Json], samples: list[Json], public_url: str) -> RunView:
    return RunView(
        **{name: row[name] for name in _COPIED},
        stack=row["stack_name"],
        stack_id=row["code"],
        repo=row["repo_name"],
        state=row["state_name"],
        state_id=row["state"],
        trigger=TriggerView(**row["trigger"]),
        baseline=BaselineView(**row["baseline"]) if row["baseline"] else None,
        waiting=_waiting(row),
        phases=union(phases),
        tests=[_test(row["id"], t, phases, samples) for t in tests],
        gate=GateView(**row["gate"]) if row["gate"] else None,
        cost=_cost(row["spec"]),
        decision_id=row["decision"],
        plan=PlanView(**plan) if (plan := planned.shown(row["spec"])) else None,
        url=f"{public_url}/runs/{row['id']}",
        warnings=tuple(row["spec"].get("warnings") or ()),
    )


_COPIED = (
    *("id", "parent", "kind", "status", "changed", "branch", "commit", "digest", "created_at", "started_at"),
    *("ended_at", "verdict", "reason", "cancel_requested"),
)


def _waiting(row: Json) -> WaitingView | None:
    if row["status"] in ENDED or row["blocker"] is None:
        return None
    return WaitingView(
        reason=row["waiting_reason"], **{k: row[k] for k in ("blocker", "since", "deadline", "next_check")}
    )


def _cost(spec: Json) -> CostView:
    budget = spec.get("budget")
    limit = budget.get("max_machine_hours") if isinstance(budget, dict) else None
    return CostView(max_machine_hours=limit if isinstance(limit, int | float) else None)


def union(phases: Iterable[Json]) -> list[PhaseView]:
    """One entry a name: earliest start, latest end (none while one runs), worst status."""
    by_name: dict[str, list[Json]] = {}
    for phase in phases:
        by_name.setdefault(phase["name"], []).append(phase)
    return sorted((_union_of(name, found) for name, found in by_name.items()), key=_place)


def _union_of(name: str, found: list[Json]) -> PhaseView:
    ends = [p["ended_at"] for p in found]
    details = [p["detail"] for p in found if p["detail"]]
    return PhaseView(
        name=name,
        status=max((p["status"] for p in found), key=_badness),
        started_at=min(p["started_at"] for p in found),
        ended_at=None if None in ends else max(ends),
        iterations=max(p["iterations"] for p in found),
        detail=details[0] if details else None,
    )


def _badness(status: str) -> int:
    return _WORST.index(status) if status in _WORST else len(_WORST)


def _place(phase: PhaseView) -> tuple[int, str]:
    return (ORDER.index(phase.name) if phase.name in ORDER else len(ORDER), phase.name)


def _test(run: str, test: Json, phases: list[Json], samples: list[Json]) -> TestView:
    own = [s for s in samples if s["test"] == test["test"]]
    shown = _shown(own)
    workload = test["spec"].get("workload")
    said: Json = workload if isinstance(workload, dict) else {}
    result = shown["result"] if shown else {}
    return TestView(
        name=test["test"],
        **{k: test[k] for k in ("cell", "status", "verdict", "reasons", "warnings", "comparisons")},
        thresholds=_thresholds(test),
        phases=union(p for p in phases if p["test"] == test["test"]),
        driver=_text(result.get("driver")) or _text(said.get("driver")),
        driver_version=_text(result.get("driver_version")) or _text(said.get("driver_version")),
        samples=[_sample(run, s) for s in own],
        artifacts=_artifacts(run, shown) if shown else (),
        result=_result(run, test["test"], shown) if shown and shown["valid"] else None,
        series_url=_address(run, test["test"], "series"),
    )


def _thresholds(test: Json) -> list[Json]:
    """As they were judged; of a test that nobody judged what was asked, without a verdict."""
    if test["thresholds"]:
        return list(test["thresholds"])
    asked = test["spec"].get("thresholds") or ()
    unjudged: Json = {"value": None, "lower": None, "verdict": None, "evidence": "not judged"}
    return [{"metric": t["metric"], "min": t.get("min"), "max": t.get("max"), **unjudged} for t in asked]


def _sample(run: str, sample: Json) -> SampleView:
    shown = {k: sample[k] for k in ("side", "n", "order", "valid", "reason", "result")}
    return SampleView(**shown, artifacts=_artifacts(run, sample))


def _artifacts(run: str, sample: Json) -> tuple[ArtifactView, ...]:
    names: dict[str, Any] = sample["artifacts"]
    prefix = f"artifacts/{sample['side']}/{sample['n']}/"
    return tuple(ArtifactView(name=name, url=_address(run, sample["test"], prefix + quote(name))) for name in names)


def _shown(samples: list[Json]) -> Json | None:
    """The candidate's last valid sample, else its last one."""
    own = [s for s in samples if s["side"] == "candidate"]
    return next((s for s in reversed(own) if s["valid"]), own[-1] if own else None)


def _result(run: str, test: str, sample: Json) -> ResultView:
    listed = _artifacts(run, sample)
    config = next((a.url for a in listed if a.name.startswith("effective")), None)
    own = {k: v for k, v in sample["result"].items() if k not in {"series_url", "artifacts", "effective_config_url"}}
    series = _address(run, test, f"series?sample={sample['n']}")
    return ResultView(**own, series_url=series, artifacts=listed, effective_config_url=config)


def _address(run: str, test: str, rest: str) -> str:
    return f"/api/v1/runs/{run}/tests/{quote(test, safe='')}/{rest}"


def _text(value: Any) -> str | None:
    return str(value) if value not in (None, "") else None
