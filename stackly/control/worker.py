"""`python -m stackly.control.worker`: the control worker: workflows, and the control plane's own activities."""

import asyncio
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import NondeterminismError

from stackly import db, log
from stackly.engine.activities.runs import Runs
from stackly.engine.activities.sweep import Sweeping, Sweeps
from stackly.engine.activities.sync import Source, Sync
from stackly.engine.activities.tests import Tests
from stackly.engine.policies import PolicyBook
from stackly.engine.process import account_id, github_of, settings_of, until_signal
from stackly.engine.upstream import Access, Looks
from stackly.engine.workflows.look import LookWorkflow
from stackly.engine.workflows.run import RunWorkflow
from stackly.engine.workflows.sweep import SweepWorkflow
from stackly.engine.workflows.sync import RepoSyncWorkflow
from stackly.engine.workflows.test_run import TestRunWorkflow
from stackly.errors import StacklyError
from stackly.git.runner import Runner
from stackly.secrets import Keyring
from stackly.settings import Settings
from stackly.storage import Store
from stackly.temporal.client import client
from stackly.temporal.steps import CONTROL_QUEUE

_log = log.get("engine")

WORKFLOWS = (RepoSyncWorkflow, SweepWorkflow, LookWorkflow, RunWorkflow, TestRunWorkflow)


def runner() -> SandboxedWorkflowRunner:
    """The sandbox stays on: it is the determinism linter. Our own modules are passed through."""
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules("stackly"))


def worker(temporal: Client, sync: Sync, runs: Runs, tests: Tests, sweeps: Sweeps | None = None) -> Worker:
    return Worker(
        temporal,
        task_queue=CONTROL_QUEUE,
        workflows=WORKFLOWS,
        activities=[
            sync.fetch,
            sync.process,
            *((sweeps.slot, sweeps.look) if sweeps else ()),
            *(getattr(runs, name) for name in _activity_names(runs)),
            *(getattr(tests, name) for name in _activity_names(tests)),
        ],
        workflow_runner=runner(),
        # The failover after a kill -9 is this long; the default of 10 s is all that a user would wait for.
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=2),
        max_cached_workflows=500,
        max_concurrent_workflow_tasks=100,
        graceful_shutdown_timeout=timedelta(seconds=10),
        # A run whose code changed under it fails and is started from its row; it must not hang (engine rule 19).
        # So does one whose bookkeeping was answered by somebody without our key, beyond what its saga catches.
        workflow_failure_exception_types=[NondeterminismError, StacklyError],
    )


def _activity_names(of: object) -> list[str]:
    return [n for n in vars(type(of)) if hasattr(getattr(type(of), n), "__temporal_activity_definition")]


async def run(settings: Settings) -> None:
    engine = db.engine(settings.database_url, size=settings.database_pool, application="stackly-control")
    transactions = db.transactions(engine)
    s3 = settings.s3
    storage = Store(s3.endpoint, s3.bucket, s3.access_key, s3.secret_key.get_secret_value(), region=s3.region)
    book = PolicyBook(settings.policy_folders)
    protocols = frozenset({"https", "http"} if settings.hub_url else {"https"})
    git = Runner(protocols=protocols)
    github = github_of(settings)
    access = Access(transactions, github)
    grace = timedelta(seconds=settings.branch_grace_s)
    looks = Looks(transactions, github)
    source = Source(
        settings.mirrors,
        git,
        settings.postgres_majors,
        book,
        grace,
        token_of=access.token,
        look=looks.look,
        pusher_of=access.pusher,
    )
    sweeping = Sweeping(github, settings.mirrors, git, timedelta(seconds=settings.sweep_every_s))
    keys = Keyring(settings.keyring)
    account = await account_id(transactions, settings.account)
    async with client(settings.temporal_address, settings.temporal_namespace, keys, account) as temporal:
        carrying = worker(
            temporal,
            Sync(transactions, storage, source),
            Runs(transactions, book),
            Tests(transactions),
            Sweeps(transactions, sweeping),
        )
        async with carrying:
            _log.info("control.started", queue=CONTROL_QUEUE)
            await until_signal()
    await github.close()
    await engine.dispose()


def main() -> None:
    asyncio.run(run(settings_of("control")))


if __name__ == "__main__":
    main()
