"""A deploy up to its gate, without Temporal: the same activities in the same order."""

from dataclasses import dataclass
from pathlib import Path

from stackly import clock
from stackly.accounts import service as accounts
from stackly.approvals import service as voting
from stackly.approvals.model import ApprovalRequest
from stackly.engine.activities.runs import Runs
from stackly.engine.contracts.control import Boundary, Claim, GateAnswer, PlanRecord
from stackly.engine.contracts.site import PlanOutcome
from stackly.engine.policies import PolicyBook
from stackly.ids import AccountId
from stackly.runs.model import Run
from stackly.spec.runs import RunKind
from tests.engine.rows import Rows
from tests.engine.world import spec_of

NEEDS_ONE = """
policy "agreed" {
  approval {
    required       = true
    min_approvers  = 1
    allowed_groups = ["dba"]
  }
}
"""
NEEDS_TWO = NEEDS_ONE.replace("min_approvers  = 1", "min_approvers  = 2")


@dataclass
class Policies:
    """One policy of the platform, called `agreed`, in a file that can change."""

    folder: Path

    def say(self, text: str) -> "Policies":
        (self.folder / "agreed.hcl").write_text(text)
        return self

    @property
    def book(self) -> PolicyBook:
        return PolicyBook([self.folder])


async def vote(rows: Rows, run: Run, login: str, value: str = "approve", digest: str | None = None) -> ApprovalRequest:
    async with rows.transactions() as session:
        person = await accounts.ensure_identity(session, AccountId(rows.account), login, [], ["dba"])
        return await voting.vote(
            session, rows.account, run.id, person=person.id, login=login, value=value, digest=digest, reason=None
        )


async def under(rows: Rows, policies: Policies, kind: RunKind, **more: str) -> Run:
    """A run that the policy binds."""
    spec = spec_of(rows, kind) | {"policies": policies.book.bind(["agreed"], {})}
    return await rows.under(policies.folder).asked(1, kind, spec=spec, **more)


class Deploy:
    """Shape: `at_gate` is the run as it stood when its plan was recorded."""

    def __init__(self, rows: Rows, policies: Policies) -> None:
        self.rows = rows
        self.policies = policies
        self.runs = Runs(rows.transactions, policies.book)

    async def planned(self) -> GateAnswer:
        run = await under(self.rows, self.policies, RunKind.DEPLOY)
        await self.rows.drained()
        self.id = run.id
        assert (await self.runs.begin(Claim(run.id, "first"))).carry
        return await self.recorded()

    async def recorded(self, sha: str = "p" * 64) -> GateAnswer:
        plan = PlanOutcome(1, 0, 0, True, sha, "", 0, "l", ["terraform_data.x create"], "1.11.4")
        return await self.runs.record_plan(PlanRecord(self.id, clock.iso(clock.now()), plan))

    async def gate(self) -> GateAnswer:
        return await self.runs.gate(Boundary(self.id, "", clock.iso(clock.now())))

    async def run(self) -> Run:
        return await self.rows.run(self.id)

    async def request(self) -> str:
        status: str = await self.rows.scalar(
            "SELECT status FROM approvals WHERE operation = :r ORDER BY created_at LIMIT 1", r=self.id
        )
        return status
