"""What the API shows of repositories, stacks, agents, approvals and events. Fields are only ever added."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from stackly import clock

Json = dict[str, Any]
# Shape: ISO 8601, UTC, milliseconds, Z.
Time = Annotated[datetime, PlainSerializer(lambda at: clock.iso(at.astimezone(UTC)), return_type=str)]


class View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class RefView(View):
    """What is known of a ref: `reason` is why its last sync failed; since `gone_since` the branch is not there."""

    ref: str
    last_processed: str | None
    reason: str | None = None
    gone_since: Time | None = None


class RepositoryView(View):
    id: str
    full_name: str
    default_branch: str
    clone_url: str
    hook_id: str | None
    status: str
    last_processed: dict[str, str]
    reason: str | None = None
    created_at: Time
    refs: list[RefView] = []


class DeliveryView(View):
    guid: str
    event: str
    attempts: int
    status: str
    reason: str | None
    received_at: Time
    repository_id: int | None = Field(default=None, description="GitHub's number of the repository that it names.")
    repository: str | None = Field(default=None, description="What it calls that repository.")


class FileProblemView(View):
    file: str
    line: int
    column: int
    message: str


class HistoryAlteredView(View):
    """The state's commit is in its ref's history no more: since when, and what `ref` became then."""

    commit: str
    since: Time
    ref: str
    head: str | None


class StateView(View):
    id: str
    name: str
    status: str
    commit: str | None
    environment: str | None
    last_run: str | None
    serial: int | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    history_altered: HistoryAlteredView | None = None
    since: Time | None = None
    reason: str | None = None
    successor: str | None = Field(default=None, description="The stack whose code a loose state waits to follow.")
    destroy_at: Time | None = Field(default=None, description="When its destroy is asked for; null is never.")
    waived_by: str | None = None


class StackView(View):
    """`repo` is its full name. `status` is `loose` while a state still holds resources of code that is gone."""

    id: str
    name: str
    repo: str
    path: str
    ref: str
    status: str
    reason: str | None
    commit: str
    registered_at: Time
    moved_from: str | None
    errors: list[FileProblemView]
    states: list[StateView]
    repo_id: str
    kind: str
    version: str | None = None
    warnings: list[str] = Field(
        default=[], description="What its files ask for and do not get yet, and what of them could not be read."
    )


class HistoryView(View):
    """One run that changed, or would have changed, a state."""

    id: str
    kind: str
    state: str
    status: str
    from_commit: str | None
    to_commit: str
    actor: str | None
    changed: bool | None
    verdict: str | None
    reason: str | None
    created_at: Time
    ended_at: Time | None
    why: str | None = Field(default=None, description="What it was for: the commit's subject, a person's reason.")


class AgentView(View):
    id: str
    name: str
    role: str
    status: str
    version: str | None
    labels: Json
    capabilities: Json
    run_id: str | None
    test: str | None
    machine: str | None
    reason: str | None  # why it is gone
    seen_at: Time | None
    created_at: Time


class VoteView(View):
    login: str
    value: str
    reason: str | None
    at: Time


class PlanView(View):
    """What a plan would do. Shape: `summary` names at most 1,000 of its `changes`: with moves, imports, outputs."""

    create: int
    update: int
    delete: int
    move: int
    adopt: int = Field(alias="import")
    forget: int
    changes: int
    summary: list[str]


class ApprovalView(View):
    """`digest` is what a vote is bound to: send it back with the vote."""

    id: str
    run_id: str
    stack: str
    stack_id: str
    repo: str
    run_kind: str
    branch: str
    commit: str
    digest: str
    needed: int
    approved: int
    groups: list[str]
    policy: str
    status: str
    reason: str | None
    votes: list[VoteView]
    created_at: Time
    expires_at: Time
    plan: PlanView | None = None
    still_needed: int | None = Field(default=None, description="How many different people have still to approve it.")
    why: list[str] = Field(default=[], description="Why so many, and whose approval does not count.")


class EventView(View):
    id: str
    subject: str
    name: str
    payload: Json
    at: Time


class DecisionView(View):
    """A decision as it was stored: what was asked, on what it stood, and why."""

    id: str
    subject: str
    generation: int
    question: str
    decision: str
    tree: list[Any]
    inputs: Json
    tzdata: str
    digest: str
    run_id: str | None
    at: Time
    next_check: Time | None


class ExplanationView(View):
    """Why something happened, or why not, and when that is looked at again."""

    subject: str
    summary: str
    decisions: list[DecisionView]
    events: list[EventView]


class InventoryItemView(View):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, serialize_by_alias=True)

    class_: str = Field(alias="class", description="managed, leaving, overdue, waived or orphan")
    kind: str
    id: str
    target: str
    run_id: str | None
    since: Time
    test: str | None = None
    reason: str | None = Field(default=None, description="Why its destroy failed; of an obligation.")
    next_try: Time | None = None
    command: str | None = Field(default=None, description="What a person answers for it with.")


class InventoryView(View):
    """`leftovers` counts what no live state or run should hold; the inventory is empty when it is 0."""

    leftovers: int
    items: list[InventoryItemView]


class ObligationView(View):
    """A destroy that is owed. Shape: `ladder` counts the tries that failed."""

    id: str
    run_id: str
    state_id: str
    repository: str
    stack: str
    stack_id: str
    test: str | None
    status: str
    due_at: Time
    ladder: int
    reason: str | None
    waived_by: str | None
    created_at: Time
    closed_at: Time | None


class ObligationLeftView(ObligationView):
    """An obligation, and what is left of what it is about."""

    left: list[InventoryItemView] = Field(description="What the targets show of it.")
    resources: int | None = Field(description="How many resources its newest Terraform state names; null: it has none.")


class LogLineView(View):
    id: str
    run_id: str
    test: str
    source: str
    n: int
    at: Time
    level: str
    text: str


class TokenView(View):
    """`token` is shown once, when it is made."""

    id: str
    name: str
    login: str
    created_at: Time
    expires_at: Time | None
    used_at: Time | None
    revoked_at: Time | None
    token: str | None = None


class PersonView(View):
    login: str
    roles: list[str]
    groups: list[str]


class VersionView(View):
    version: str
    api: str = "v1"


class ReferenceView(View):
    """What a reference means.

    Shape: `kind` is stack, run, repo or obligation; `name`, `path` and `ref` are those of its stack, where it has one.
    """

    kind: str
    id: str
    name: str
    repository: str
    path: str | None = None
    ref: str | None = None
    status: str
    test: str | None = Field(default=None, description="Of an obligation: the test whose teardown is owed.")


class DoneView(View):
    """What was asked for is under way, or done."""

    ok: bool = True
    id: str | None = None
