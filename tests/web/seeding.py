"""What the page is shown on: an account in which most things that a stack or a run can become have happened.

Rows are written by the engine's own functions, so that what the page shows is what the platform would say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from stackly import clock, db
from stackly.accounts import service as accounts
from stackly.accounts.model import Role
from stackly.db import Session, Transactions
from stackly.engine import loose
from stackly.engine.admission import Limits, admit
from stackly.engine.contracts.control import RunEnd
from stackly.engine.policies import PolicyBook
from stackly.ids import AccountId
from stackly.runs import live, service, store
from stackly.runs import tests as tests_store
from stackly.runs.model import Run, RunEvent
from stackly.spec.runs import RunKind
from stackly.stacks import lifecycle, refs_store, repos_store, versions
from stackly.stacks import store as stacks
from stackly.stacks.config import Deregister, StackConfig
from stackly.stacks.model import FoundStack, StackCode, StackState
from stackly.stacks.transitions import StateEvent
from stackly.suites import gates
from stackly.suites import store as suites
from stackly.suites.model import Sample, Threshold
from tests.engine.rows import PLENTY, Rows, build_rows
from tests.engine.standing import register

COMMIT = "5" * 40
REPO = "octo/smoke"
SECONDS = 12
SAMPLES = 3

BENCHMARK_PHASES = {
    "reserve": 0.3,
    "provision": 2.1,
    "enrol": 1.2,
    "database": 1.9,
    "install": 0.4,
    "prepare": 3.2,
    "warmup": 5.0,
    "measure": 36.0,
    "collect": 0.9,
    "compare": 0.1,
    "teardown": 1.8,
    "verify": 0.6,
}

FILE_ERRORS = (
    {
        "file": "ha/stackly.hcl",
        "line": 12,
        "column": 3,
        "message": 'An argument named "schedul" is not expected here; did you mean "schedule"?',
    },
    {"file": "ha/suite.yaml", "line": 4, "column": 15, "message": "a duration needs a unit: 120 -> 120s"},
)


@dataclass(frozen=True)
class Seeded:
    """Shape: `stacks` are ids by name, `runs` by what they are."""

    account: str
    repo: str
    archived: str
    stacks: dict[str, str]
    runs: dict[str, str]


async def seed(transactions: Transactions) -> Seeded:
    rows = await build_rows(transactions)
    await _refs(rows)
    runs = {"benchmark": await _benchmark(rows)}
    found = {"smoke": rows.code.id, "ha": await _rejected(rows)}
    for name in ("network", "vault"):
        found[name] = (await _stack(rows, name)).id
    found["strict"] = (await _stack(rows, "strict", requires=("region", "db_password"), deploys=False)).id
    found["billing"] = (await _gone(rows, "billing")).id
    found["reports"] = (await _gone(rows, "reports")).id
    found["cache"] = (await _gone(rows, "cache", deregister=Deregister("auto_destroy", 86_400))).id
    found["ledger"], runs["move"] = await _moved(rows, "ledger")
    found["orders"], _ = await _moved(rows, "orders")
    await _rewrite_history(rows, found["vault"])
    return Seeded(rows.account, rows.repo_id, await _archived(rows), found, runs)


async def sign_in_key(transactions: Transactions, account: str, role: Role) -> str:
    """A key as `stackly status` shows it: it opens one session."""
    async with transactions() as session:
        person = await accounts.ensure_identity(session, AccountId(account), f"ada-{role.value}", [role])
        return await accounts.issue_login_key(session, person.id)


# repositories


async def _refs(rows: Rows) -> None:
    async with rows.transactions() as session:
        await stacks.advance_ref(session, rows.repo_id, "refs/heads/main", seen=(None, 0), commit=COMMIT)
        await refs_store.set_ref_reason(
            session,
            rows.repo_id,
            "refs/heads/huge-dump",
            "fixtures/dump.sql is 314,572,800 bytes, and files of a stack may have 10,485,760; keep it out of git",
        )


async def _archived(rows: Rows) -> str:
    async with rows.transactions() as session:
        repo = await stacks.insert_repo(
            session,
            rows.account,
            github_id=2,
            full_name="octo/attic",
            clone_url="http://127.0.0.1:1/octo/attic.git",
            default_branch="trunk",
            hook="",
        )
        await repos_store.set_repo_status(session, repo.id, "archived", "it was archived on GitHub by ada")
    return repo.id


# stacks


async def _stack(
    rows: Rows,
    name: str,
    *,
    path: str = "",
    requires: tuple[str, ...] = (),
    deregister: Deregister = Deregister(),  # noqa: B008 - frozen
    deploys: bool = True,
) -> StackCode:
    """A plain stack; its default state holds something unless told otherwise."""
    config = StackConfig(name=name, variables={"environment": "production"}, deregister=deregister).as_json()
    where = path or f"services/{name}"
    found = FoundStack(where, name, "t", "t", "plain", config, "code/x.tar.gz", None, "", requires=requires)
    async with rows.transactions() as session:
        repo = await stacks.get_repo(session, rows.repo_id)
        code = await register(session, repo, "refs/heads/main", COMMIT, found)
    if deploys:
        await _deploy(rows, code)
    return code


async def _deploy(rows: Rows, code: StackCode) -> StackState:
    """A deploy that made two resources, as its run would have written it."""
    run = await _admitted(rows, code, RunKind.DEPLOY)
    await rows.move(run, RunEvent.PLAN)
    async with rows.transactions() as session:
        await _phases(session, run, "", {"plan": 2.4, "apply": 6.1, "outputs": 0.2}, await db.now(session))
        head = versions.StateHead(serial=3, lineage=f"lineage-{code.name}", resources=2, sha256="0" * 64)
        seen = await store.get_run(session, run.id)
        assert seen.epoch is not None
        written = await versions.write_version(session, run.state, head, "k", run=run.id, epoch=seen.epoch)
        assert written.accepted
        await lifecycle.move_state(session, run.state, StateEvent.DEPLOYED, commit=COMMIT, agent="pretend")
        applied = await store.transition(
            session, await store.get_run(session, run.id, lock=True), RunEvent.APPLY, at=await db.now(session)
        )
        await store.transition(session, applied, RunEvent.SUCCEED, at=await db.now(session), changed=True)
        return await stacks.get_state(session, run.state)


async def _admitted(rows: Rows, code: StackCode, kind: RunKind, **more: Any) -> Run:
    run = await replace(rows, code=code).asked(1, kind, commit=COMMIT, **more)
    assert run.id in await admit(rows.transactions, rows.account, PolicyBook([]), Limits(PLENTY))
    return run


async def _gone(rows: Rows, name: str, *, deregister: Deregister = Deregister()) -> StackCode:  # noqa: B008 - frozen
    code = await _stack(rows, name, deregister=deregister)
    async with rows.transactions() as session:
        await lifecycle.code_gone(session, code, reason=f"{code.path} is not in main any more since abc1234")
    return code


async def _moved(rows: Rows, name: str) -> tuple[str, str]:
    """Its code moved and changed: the plan against the new place would replace something, so it waits for a person.

    Returns the stack, and the run that planned.
    """
    old = await _stack(rows, name)
    new = await _stack(rows, f"{name}-eu", path=f"regions/eu/{name}", deploys=False)
    async with rows.transactions() as session:
        await lifecycle.code_moved(session, old, new, same_tree=False)
    # What its code resolved to is known, from a deploy that somebody stopped; the sweep plans the move with it.
    stopped = await replace(rows, code=new).asked(1, RunKind.DEPLOY, commit=COMMIT)
    async with rows.transactions() as session:
        await service.cancel(session, rows.account, stopped.id, actor="ada")
    await loose.sweep(rows.transactions)
    (run_id,) = await admit(rows.transactions, rows.account, PolicyBook([]), Limits(PLENTY))
    planned = await rows.move(await rows.run(run_id), RunEvent.PLAN)
    async with rows.transactions() as session:
        plan = {"create": 1, "update": 0, "delete": 1, "serial": 3}
        await store.update_run(session, run_id, spec={**planned.spec, "plan": plan})
        await loose.finish_preview(session, RunEnd(run_id, clock.iso(await db.now(session)), changed=True))
    return old.id, run_id


async def _rejected(rows: Rows) -> str:
    found = FoundStack("ha", "ha", "t", "t", "ephemeral", {"name": "ha"}, None, None, "", errors=FILE_ERRORS)
    async with rows.transactions() as session:
        repo = await stacks.get_repo(session, rows.repo_id)
        return (await register(session, repo, "refs/heads/main", COMMIT, found)).id


async def _rewrite_history(rows: Rows, code: str) -> None:
    await rows.execute(
        "UPDATE stack_states SET history_altered = jsonb_build_object('commit', commit, 'ref', 'refs/heads/main',"
        " 'head', CAST(:head AS text), 'since', '2026-11-20T09:30:00.000Z') WHERE code = :code",
        code=code,
        head="e" * 40,
    )


# runs


async def _benchmark(rows: Rows) -> str:
    """A benchmark that was measured, judged and torn down."""
    run = await _admitted(rows, rows.code, RunKind.BENCHMARK)
    await rows.move(run, RunEvent.LOAD)
    (test,) = (t["test"] for t in run.spec["suite"]["tests"])
    async with rows.transactions() as session:
        end = await db.now(session)
        await _phases(session, run, test, BENCHMARK_PHASES, end)
        for n in range(1, SAMPLES + 1):
            await _sample(session, run, test, n)
        lines = [live.Line(n, end, "info" if n % 7 else "warning", _said(n)) for n in range(40)]
        await live.append(session, run.id, test, "pretend/measure", lines, [])
        judged = gates.judge_thresholds(_result(SAMPLES), [Threshold("tps", min=500, max=None)])
        await tests_store.update_test(
            session,
            run.id,
            test,
            status="succeeded",
            verdict="pass",
            thresholds=[{"metric": j.metric, "min": j.min, "value": j.value, "verdict": j.verdict} for j in judged],
        )
    await rows.move(run, RunEvent.TEAR_DOWN)
    async with rows.transactions() as session:
        done = await store.get_run(session, run.id, lock=True)
        gate = gates.gate({test: "pass"})
        await store.transition(session, done, RunEvent.SUCCEED, at=end, verdict="pass", gate=gate, changed=True)
        length = sum(BENCHMARK_PHASES.values())
        await session.execute(
            text(
                "UPDATE operations SET started_at = ended_at - make_interval(secs => :s),"
                " created_at = ended_at - make_interval(secs => :s + 1) WHERE id = :id"
            ),
            {"id": run.id, "s": length},
        )
    return run.id


async def _phases(session: Session, run: Run, test: str, lengths: dict[str, float], end: datetime) -> None:
    at = end - timedelta(seconds=sum(lengths.values()))
    for name, length in lengths.items():
        await tests_store.start_phase(session, run.id, test, name, at)
        at += timedelta(seconds=length)
        await tests_store.end_phase(session, run.id, test, name, at, "succeeded")


async def _sample(session: Session, run: Run, test: str, n: int) -> None:
    points = [_point(n, second) for second in range(SECONDS)]
    await live.append(session, run.id, test, f"pretend/measure/{n}", [], points)
    await suites.put_result(session, run.id, Sample(test, "candidate", n, n, True, "", _result(n), {}))


def _point(sample: int, second: int) -> live.Point:
    tps = 1200 + 40 * math.sin(second) + 5 * sample
    return live.Point(sample, second, tps, 8000 / tps, 15_000 / tps, 0)


def _result(sample: int) -> dict[str, Any]:
    points = [_point(sample, second) for second in range(SECONDS)]
    tps = sum(p.tps for p in points) / len(points)
    return {
        "transactions": round(tps * SECONDS),
        "tps": tps,
        "errors": 0,
        "error_rate": 0.0,
        "lost_clients": 0,
        "duration_s": float(SECONDS),
        "latency_ms": {"mean": 8000 / tps, "p50": 7500 / tps, "p95": 15_000 / tps, "p99": 23_000 / tps, "max": 71.2},
        "driver": "pgbench",
        "driver_version": "16.4",
    }


def _said(n: int) -> str:
    return f"progress: {n}.0 s, {_point(1, n).tps:.1f} tps, lat {_point(1, n).latency_ms:.3f} ms stddev 1.204, 0 failed"
