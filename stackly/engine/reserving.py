"""Reserve: state, obligation, destroy kit, network and quota in one transaction, or nothing (engine rule 16)."""

from dataclasses import asdict
from typing import Any

from stackly import db
from stackly.db import Session
from stackly.engine import images
from stackly.engine.contracts.control import Reserved
from stackly.engine.contracts.edge import Endpoint
from stackly.engine.contracts.site import MachineSpec
from stackly.errors import Conflict, Exhausted
from stackly.runs import queue, store
from stackly.runs import tests as tests_store
from stackly.runs.model import Run, TestRecord
from stackly.stacks import store as stacks
from stackly.stacks.model import StackState
from stackly.suites import jsonform
from stackly.suites import store as suites
from stackly.suites.model import ResolvedTest
from stackly.suites.placement import NETWORKS, Placement, place
from stackly.teardown import reads as teardowns
from stackly.teardown import store as obligations
from stackly.teardown.model import DUE_AFTER
from stackly.temporal.steps import STEP_CANCELLED

DATABASE = "bench"
QUOTA_WAIT_S = 5.0
_NAMED = 3


class StepCancelled(Conflict):
    title = "The run was cancelled."

    @classmethod
    def slug(cls) -> str:
        return STEP_CANCELLED


async def reserve(session: Session, run_id: str, test_name: str) -> Reserved:
    """Take everything a test needs, or say what it waits for. Taken already: the same again."""
    seen = await store.get_run(session, run_id)
    _, most = await queue.lock_account(session, seen.account)
    run = await store.get_run(session, run_id, lock=True)
    test = await tests_store.get_test(session, run_id, test_name, lock=True)
    held = await held_by(session, run, test)
    if held is not None:
        return held
    if run.cancel_requested:
        raise StepCancelled
    if await queue.running_tests(session, run.account) >= most:
        reason = await _why_full(session, run, most)
        await tests_store.note_phase(session, run_id, test_name, "reserve", reason)
        return Reserved(ready=False, reason=reason, wait_s=QUOTA_WAIT_S)
    return await _take(session, run, test)


async def _why_full(session: Session, run: Run, most: int) -> str:
    """Tests that cannot be torn down count as well: whoever waits for their place learns what ends it."""
    held_up = [owed.sentence for owed in await teardowns.owed(session, account=run.account) if owed.test]
    return "; ".join([f"{most} tests and deploys run already", *held_up[:_NAMED]])


async def _take(session: Session, run: Run, test: TestRecord) -> Reserved:
    target = str(run.spec["target"])
    state = await stacks.insert_test_state(
        session,
        account=run.account,
        code=run.code,
        run=run.id,
        test=test.test,
        commit=run.commit,
        agent=test.agent or run.agent or "",
        target=target,
    )
    due = await db.now(session) + DUE_AFTER
    obligation = await obligations.open_obligation(
        session, account=run.account, state=state.id, run=run.id, kit=_kit(run, test), due_at=due
    )
    return await _place(session, run, test, state, obligation_id=obligation.id)


async def _place(session: Session, run: Run, test: TestRecord, state: StackState, *, obligation_id: Any) -> Reserved:
    target = str(run.spec["target"])
    pool = NETWORKS[target]
    lease = await suites.lease_network(
        session,
        pool=pool.number,
        supernet=pool.supernet,
        prefix=pool.prefix,
        state=state.id,
        obligation=obligation_id,
        near=run.account,
    )
    placement = place(jsonform.from_json(ResolvedTest, test.spec), lease.cidr, target)
    extra = {
        "network_cidr": lease.cidr,
        "lease": lease.id,
        "machines": [asdict(m) for m in _machines(run, placement, test)],
        "labels": _labels(run, test),
    }
    await obligations.extend_kit(session, state.id, extra)
    await tests_store.update_test(session, run.id, test.test, state=state.id, placement=placement.to_json())
    return _held(run, test, placement, state)


async def draw_again(session: Session, run_id: str, test_name: str, cidr: str) -> Reserved:
    """Somebody else uses the block: leave it alone for an hour, draw another one."""
    run = await store.get_run(session, run_id, lock=True)
    test = await tests_store.get_test(session, run_id, test_name, lock=True)
    if test.state is None or test.placement is None:
        raise Exhausted("The test holds no network.")
    state = await stacks.get_state(session, test.state, lock=True)
    obligation = await obligations.find_open(session, test.state)
    if test.placement["cidr"] != cidr or obligation is None:
        return _held(run, test, Placement.from_json(test.placement), state)
    await suites.mark_foreign(session, obligation.kit["lease"])
    return await _place(session, run, test, state, obligation_id=obligation.id)


def _kit(run: Run, test: TestRecord) -> dict[str, Any]:
    """Everything that destroys without the repository, the run or anybody's memory (T8)."""
    spec = run.spec
    return {
        "bundle": spec["bundle"],
        "path": spec["path"],
        "variables": spec.get("variables", {}),
        "environment": spec.get("environment", ""),
        "lock_sha256": spec.get("lock_sha256", ""),
        "target": spec["target"],
        "agent": test.agent or run.agent,
        "owner_run": run.id,
        "owner_test": test.test,
        "stack": spec.get("stack"),
        "repo": spec.get("repo"),
    }


def _labels(run: Run, test: TestRecord) -> dict[str, str]:
    return {"stackly_run": run.id, "stackly_test": test.test, "stackly_account": run.account}


def _machines(run: Run, placement: Placement, test: TestRecord) -> list[MachineSpec]:
    image = images.pinned(run.spec, str((test.spec.get("database") or {}).get("image") or ""))
    return [
        MachineSpec(
            name=m.name,
            internal_ip=m.ip,
            cores=m.cores,
            memory_gb=m.memory_gb,
            disk_gb=m.disk_gb,
            roles=list(m.roles),
            image=image if m.name == placement.database else "",
        )
        for m in placement.machines
    ]


async def held_by(session: Session, run: Run, test: TestRecord) -> Reserved | None:
    """What the test holds by now; None while that is nothing."""
    if test.state is None or test.placement is None:
        return None
    return _held(run, test, Placement.from_json(test.placement), await stacks.get_state(session, test.state))


def _held(run: Run, test: TestRecord, placement: Placement, state: StackState) -> Reserved:
    host = placement.machine(placement.database).ip
    return Reserved(
        ready=True,
        epoch=state.epoch,
        network_cidr=placement.cidr,
        machines=_machines(run, placement, test),
        labels=_labels(run, test),
        database_machine=placement.database,
        load_machine=placement.load,
        port=placement.database_port,
        admit=list(placement.admit),
        endpoint=Endpoint(host, placement.database_port, DATABASE),
    )
