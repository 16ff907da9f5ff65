"""AgentGateway over mTLS: beats, steps, live data. The certificate names the agent; a row says what is in its hands."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stackly import log
from stackly.agents import service as agents
from stackly.agents.authority import Authority
from stackly.agents.model import Agent, NotYours, Role
from stackly.api.grpc import endings
from stackly.api.grpc.appending import Appending
from stackly.api.grpc.callers import Callers, Context, guarded
from stackly.api.grpc.enrolment import as_object
from stackly.api.grpc.places import Places
from stackly.api.grpc.polls import Polls
from stackly.api.grpc.refusals import Refusals, audited
from stackly.api.grpc.transfers import Transfers
from stackly.db import Session, Transactions
from stackly.errors import Invalid
from stackly.events import store as events
from stackly.events.model import Bell, EventName
from stackly.runs import steps, tests
from stackly.runs.expected import SIDES, verb_of
from stackly.runs.holds import Hold, Refusal, StepUnknown, hold_of
from stackly.spec.runs import TEST_ENDED
from stackly.storage import Store
from stackly.teardown import service as teardown
from stackly.teardown import store as inventory
from stackly.temporal.steps import RESULT_CAP_BYTES
from stackly.wire import gateway_pb2 as wire

_log = log.get("api.grpc")
_VERDICTS = {
    steps.Verdict.GRANTED: wire.GRANTED,
    steps.Verdict.ATTACH: wire.ATTACH,
    steps.Verdict.DONE: wire.DONE,
    steps.Verdict.GONE: wire.GONE,
    steps.Verdict.REFUSED: wire.REFUSED,
}
_REFUSALS = {
    Refusal.CANCELLED: wire.CANCELLED,
    Refusal.OVER: wire.OVER,
    Refusal.STALE_EPOCH: wire.STALE_EPOCH,
    Refusal.UNEXPECTED: wire.UNEXPECTED,
    Refusal.LOST_LEASE: wire.LOST_LEASE,
}
_INTERRUPTIONS = {wire.STOPPED: steps.Interruption.STOPPED, wire.CUT_OFF: steps.Interruption.CUT_OFF}


async def hold_for(session: Session, agent: Agent, run: str, test: str) -> Hold:
    """What (run, test) is. Raises: NotYours when it is not in this agent's hands; StepUnknown."""
    if agent.role is Role.EDGE:
        if (agent.run, agent.test) != (run, test):
            raise NotYours(run=run, test=test)
        return await hold_of(session, run, test)
    hold = await hold_of(session, run, test)
    if hold.account != agent.account or agent.id not in hold.agents:
        raise NotYours(run=run, test=test)
    return hold


async def record_refusal(session: Session, agent: Agent, key: wire.StepKey, refusal: str, reason: str) -> None:
    """Once for each agent, run and kind of step: whoever asks for names of its own making fills no table with them."""
    verb = verb_of(key.step)
    about = {"agent": agent.id, "run": key.run[:64], "test": key.test[:100], "step": key.step[:100]}
    n = f"{key.run[:64]}/{verb if verb in SIDES else '?'}/{refusal}"
    payload = about | {"attempt": key.attempt, "epoch": key.epoch, "refusal": refusal, "reason": reason}
    await events.record(session, agent.account, f"agent/{agent.id}", EventName.STEP_REFUSED, n, payload)


class Gateway(Transfers):
    def __init__(
        self,
        transactions: Transactions,
        store: Store,
        mirrors: Path,
        authority: Authority,
        places: Places,
        callers: Callers,
        refusals: Refusals,
        uploads: Polls,
    ) -> None:
        super().__init__(transactions, store, mirrors, callers, refusals, uploads, hold_for)
        self._authority = authority
        self._places = places
        self._appending = Appending()

    @audited
    async def Heartbeat(self, request: wire.HeartbeatRequest, context: Context) -> wire.HeartbeatReply:  # noqa: N802 - the wire's name
        agent = await self.callers.whoever(context)
        if agent.is_barred:
            return wire.HeartbeatReply(revoked=True)
        async with self._transactions() as session:
            await agents.heartbeat(
                session,
                agent.id,
                incarnation=request.incarnation,
                version=request.version,
                capabilities=as_object(request.capabilities_json, "capabilities_json"),
                polling=request.polling,
            )
            if request.inventory_json and agent.role is Role.SITE:
                for target, items in as_object(request.inventory_json, "inventory_json").items():
                    there, ended = endings.split(items)
                    await inventory.store_inventory(session, target=target, agent=agent.id, items=there)
                    await teardown.free_waived(session)
                    await endings.note(session, agent, ended)
            over = agent.role is Role.EDGE and await _is_over(session, str(agent.run), str(agent.test))
        return wire.HeartbeatReply(test_over=over)

    @guarded  # it records its refusals by itself, with the step that they are about
    async def BeginStep(self, request: wire.BeginStepRequest, context: Context) -> wire.BeginStepReply:  # noqa: N802
        """Only what a row expects of this agent; the reply says with what input. Anything else is a recorded fact."""
        agent = await self.callers.agent(context)
        try:
            async with self._transactions() as session:
                await hold_for(session, agent, request.key.run, request.key.test)
                begun = await steps.begin(session, request.key, agent.id, request.incarnation)
                if begun.verdict is steps.Verdict.REFUSED:
                    await record_refusal(session, agent, request.key, str(begun.refusal), begun.reason)
        except (NotYours, StepUnknown) as e:
            async with self._transactions() as session:
                await record_refusal(session, agent, request.key, e.slug(), e.detail)
            raise
        refusal = wire.REFUSAL_UNSPECIFIED if begun.refusal is None else _REFUSALS[begun.refusal]
        given = json.dumps(begun.given) if begun.given is not None else ""
        return wire.BeginStepReply(
            verdict=_VERDICTS[begun.verdict], input_json=given, reason=begun.reason, refusal=refusal
        )

    @audited
    async def RenewStep(self, request: wire.RenewStepRequest, context: Context) -> wire.RenewStepReply:  # noqa: N802
        agent = await self.callers.agent(context)
        async with self._transactions() as session:
            await hold_for(session, agent, request.key.run, request.key.test)
            renewed = await steps.renew(session, request.key, agent.id, request.incarnation)
        return wire.RenewStepReply(held=renewed.held, cancel_requested=renewed.cancel_requested)

    @audited
    async def EndStep(self, request: wire.EndStepRequest, context: Context) -> wire.EndStepReply:  # noqa: N802
        agent = await self.callers.agent(context)
        outcome = _outcome(request.outcome_json)
        interruption = _INTERRUPTIONS.get(request.interruption)
        async with self._transactions() as session:
            await hold_for(session, agent, request.key.run, request.key.test)
            stored = await steps.end(session, request.key, agent.id, request.incarnation, outcome, interruption)
        return wire.EndStepReply(stored=stored)

    @audited
    async def ReportGone(self, request: wire.ReportGoneRequest, context: Context) -> wire.ReportGoneReply:  # noqa: N802
        agent = await self.callers.agent(context)
        async with self._transactions() as session:
            gone = await steps.report_gone(session, agent.id, request.incarnation)
            await _ring(session, {(step.id.run, step.id.test) for step in gone})
            current = await steps.owners(session, agent.id)
        return wire.ReportGoneReply(
            gone=[wire.StepKey(**g.id._asdict(), epoch=g.epoch) for g in gone],
            current=[wire.Owner(**asdict(o)) for o in current],
        )

    @audited
    async def ListOwners(self, request: wire.ListOwnersRequest, context: Context) -> wire.ListOwnersReply:  # noqa: ARG002, N802
        agent = await self.callers.agent(context)
        async with self._transactions() as session:
            current = await steps.owners(session, agent.id)
        return wire.ListOwnersReply(current=[wire.Owner(**asdict(o)) for o in current])

    @audited
    async def IssueEnrolment(  # noqa: N802
        self, request: wire.IssueEnrolmentRequest, context: Context
    ) -> wire.IssueEnrolmentReply:
        agent = await self.callers.agent(context, role=Role.SITE)
        if not (request.test and request.machine):
            raise Invalid("An enrolment is for one machine of one test.")
        async with self._transactions() as session:
            hold = await hold_for(session, agent, request.run, request.test)
            self._must_hold(hold, request.run, request.epoch)
            issued = await agents.issue_enrolment(
                session, agent.account, run=request.run, test=request.test, machine=request.machine
            )
        return wire.IssueEnrolmentReply(
            token=issued.token,
            agent_id=issued.agent.id,
            enrol_address=self._places.enrol,
            ca_pem=self._authority.ca_pem,
        )

    @audited
    async def Append(self, request: wire.AppendRequest, context: Context) -> wire.AppendReply:  # noqa: N802
        agent = await self.callers.agent(context)
        async with self._transactions() as session:
            await hold_for(session, agent, request.run, request.test)
            await self._appending.append(session, agent, request)
        return wire.AppendReply()


def _outcome(sent: str) -> Mapping[str, Any]:
    """Too large a one is dropped, and its step has failed for that: refused, its sender would try for ever."""
    size = len(sent.encode())
    if size <= RESULT_CAP_BYTES:
        return as_object(sent, "outcome_json")
    detail = f"The step's outcome had {size} bytes, more than {RESULT_CAP_BYTES}; large things go into artifacts."
    _log.warning("outcome.dropped", size=size)
    return {"ok": False, "kind": "Faulty", "slug": "result-too-large", "detail": detail, "fields": {}}


async def _is_over(session: Session, run: str, test: str) -> bool:
    return (await tests.get_test(session, run, test)).status in TEST_ENDED


async def _ring(session: Session, owners: Iterable[tuple[str, str]]) -> None:
    for run, test in sorted(owners):
        await events.ring(session, Bell.TEST_RING if test else Bell.RUN_RING, f"{run}/{test}" if test else run)
