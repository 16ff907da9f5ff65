"""What the API shows of a run. Fields are only ever added."""

from typing import Any

from pydantic import ConfigDict, Field

from stackly.api.views import Json, PlanView, Time, View


class Loose(View):
    """A part whose fields grow in other rooms: what is not named here is passed on."""

    model_config = ConfigDict(frozen=True, extra="allow")


class TriggerView(Loose):
    kind: str | None = None
    actor: str | None = None
    ref: str | None = None
    pull_request: int | None = None
    paths: list[str] | None = None


class BaselineView(Loose):
    commit: str | None = None
    run_id: str | None = None
    mode: str | None = None
    distance: int | None = None


class WaitingView(View):
    reason: str | None
    blocker: str
    since: Time
    deadline: Time | None
    next_check: Time | None


class PhaseView(View):
    name: str
    status: str
    started_at: Time
    ended_at: Time | None
    iterations: int
    detail: str | None = None


class ArtifactView(View):
    name: str
    url: str


class SampleView(View):
    side: str
    n: int
    order: int
    valid: bool
    reason: str | None
    result: Json
    artifacts: tuple[ArtifactView, ...] = ()


class ResultView(Loose):
    """The fields of the suite's result; here what is known of each."""

    transactions: int | None = None
    tps: float | None = None
    latency_ms: Json | None = None
    errors: int | None = None
    error_rate: float | None = None
    lost_clients: int | None = None
    duration_s: float | None = None
    series_url: str | None = None
    artifacts: tuple[ArtifactView, ...] = ()
    effective_config_url: str | None = None
    fingerprint: Json | None = None


class TestView(View):
    """Shape: `thresholds` that nobody judged have `verdict` null; `artifacts` are those of the sample that is shown."""

    __test__ = False  # pytest: a view, not a test

    name: str
    cell: Json
    status: str
    phases: list[PhaseView]
    driver: str | None
    driver_version: str | None
    verdict: str | None
    reasons: list[Any]
    warnings: list[Any]
    thresholds: list[Any]
    comparisons: list[Any]
    samples: list[SampleView]
    result: ResultView | None
    series_url: str | None = None
    artifacts: tuple[ArtifactView, ...] = ()


class GateView(Loose):
    decision: str
    policy: str | None = None
    reasons: tuple[Any, ...] = ()


class CostView(View):
    """Units: machine-hours."""

    max_machine_hours: float | None = None
    reserved: float | None = None
    settled: float | None = None


class OwedView(View):
    """A destroy that failed and is tried again. Shape: `test` '' of a run that has no tests."""

    id: str
    test: str
    reason: str
    tries: int
    next_try: Time
    command: str


class RunView(View):
    """`stack` and `state` are names, their ids stand beside; `phases` of a benchmark are its tests' union."""

    id: str
    parent: str | None
    kind: str
    status: str
    changed: bool | None
    stack: str
    stack_id: str
    repo: str
    state: str
    state_id: str
    branch: str
    commit: str
    trigger: TriggerView
    baseline: BaselineView | None
    digest: str | None
    created_at: Time
    started_at: Time | None
    ended_at: Time | None
    waiting: WaitingView | None
    phases: list[PhaseView]
    tests: list[TestView]
    gate: GateView | None
    cost: CostView
    verdict: str | None
    decision_id: str | None
    url: str
    reason: str | None
    cancel_requested: bool
    plan: PlanView | None = None
    owed: list[OwedView] = Field(default=[], description="What could not be torn down yet.")
    warnings: tuple[str, ...] = ()


class PlannedView(View):
    """A dry run: what a start would do. Nothing was written."""

    dry_run: bool = True
    stack: str
    repo: str
    kind: str
    state: str
    branch: str
    commit: str
    phases: list[str]
    tests: list[Json]
    machines: list[Json]
    decision: Json | None = None
