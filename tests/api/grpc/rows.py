"""Rows that gateway tests stand on: an account, a stack, a benchmark run with one test, agents."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from stackly.agents import service as agents
from stackly.db import Session, Transactions
from stackly.ids import new_id
from stackly.runs import steps
from stackly.temporal.steps import StepKey

STATE_OF = {
    "version": 4,
    "terraform_version": "1.11.4",
    "lineage": "one",
    "outputs": {},
    "resources": [{"mode": "managed", "type": "x", "name": "y", "instances": [{}]}],
}


def terraform_state(serial: int, lineage: str = "one") -> bytes:
    return json.dumps(STATE_OF | {"serial": serial, "lineage": lineage}).encode()


@dataclass(frozen=True, slots=True)
class World:
    account: str
    run: str
    test: str
    state: str
    test_state: str
    site: str
    site_token: str
    bundle: str

    def key(self, step: str = "apply", *, test: str | None = None, attempt: int = 1, epoch: int = 1) -> StepKey:
        return StepKey(self.run, self.test if test is None else test, step, attempt, epoch)


async def _insert(session: Session, table: str, **values: object) -> None:
    names = ", ".join(f'"{n}"' for n in values)
    marks = ", ".join(f":{n}" for n in values)
    await session.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), values)


async def make_world(transactions: Transactions, *, name: str = "acme", kind: str = "benchmark") -> World:
    account, repo, code, state, run, test_state = (new_id() for _ in range(6))
    bundle = f"bundles/{new_id()}"
    async with transactions() as session:
        await _insert(session, "accounts", id=account, name=name)
        await _insert(
            session,
            "repos",
            id=repo,
            account=account,
            github_id=abs(hash(account)) % 2**40,
            full_name="a/b",
            clone_url="http://127.0.0.1/a/b.git",
            default_branch="main",
        )
        await session.execute(
            text(
                "INSERT INTO stack_codes (id, account, repo, ref, path, name, tree, commit, kind, config, status)"
                " VALUES (:id, :account, :repo, 'refs/heads/main', 'db', 'db', 't', 'c', 'ephemeral', '{}', 'active')"
            ),
            {"id": code, "account": account, "repo": repo},
        )
        issued = await agents.create_site_agent(session, account, "local")
        site = issued.agent.id
        await _insert(
            session,
            "stack_states",
            id=state,
            account=account,
            code=code,
            name="default",
            key=f"state/{account}/{state}",
            status="active",
            epoch=1,
            holder=run,
            agent=site,
        )
        await session.execute(
            text(
                "INSERT INTO operations (id, account, code, state, kind, cause, generation, seq, priority, status,"
                " epoch, branch, commit, trigger, spec, agent, deadline) VALUES (:id, :account, :code, :state, :kind,"
                " :cause, 1, 1, 1, 'running', 1, 'main', 'c', '{}', CAST(:spec AS jsonb), :agent,"
                " clock_timestamp() + interval '1 hour')"
            ),
            {
                "id": run,
                "account": account,
                "code": code,
                "state": state,
                "kind": kind,
                "cause": f"push:{run}",
                "spec": json.dumps({"bundle": bundle}),
                "agent": site,
            },
        )
        await _insert(
            session,
            "stack_states",
            id=test_state,
            account=account,
            code=code,
            name=f"{run}/oltp",
            key=f"state/{account}/{test_state}",
            status="active",
            epoch=1,
            holder=run,
            agent=site,
            parent_operation=run,
            test="oltp",
        )
        await session.execute(
            text(
                "INSERT INTO tests (operation, test, name, spec, state, agent, status, deadline) VALUES (:run, 'oltp',"
                " 'oltp', '{}', :state, :agent, 'running', clock_timestamp() + interval '1 hour')"
            ),
            {"run": run, "state": test_state, "agent": site},
        )
    return World(account, run, "oltp", state, test_state, site, issued.token, bundle)


GIVEN = {"what": "the row says"}


async def expect(transactions: Transactions, key: StepKey, agent: str, given: Mapping[str, Any] = GIVEN) -> StepKey:
    """As the control plane does before it asks: the row."""
    async with transactions() as session:
        await steps.expect(session, key, agent, given)
    return key


async def sql(transactions: Transactions, statement: str, **values: object) -> list[tuple[object, ...]]:
    async with transactions() as session:
        found = await session.execute(text(statement), values)
        return [tuple(r) for r in found.all()] if found.returns_rows else []
