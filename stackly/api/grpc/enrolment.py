"""Enrol: a one-time token and a public key for a certificate and what the agent needs to begin. Server TLS only."""

import base64
import json
from dataclasses import asdict
from typing import Any

from stackly import clock, log, texts
from stackly.agents import service
from stackly.agents.authority import Authority
from stackly.agents.model import Agent, Role
from stackly.api.grpc.callers import Context, guarded
from stackly.api.grpc.places import Places
from stackly.db import Session, Transactions
from stackly.errors import Invalid
from stackly.runs import tests
from stackly.secrets import KeySource, test_credentials
from stackly.temporal.codec import workflow_key
from stackly.temporal.steps import test_workflow_id
from stackly.wire.gateway_pb2 import EnrolReply, EnrolRequest
from stackly.wire.gateway_pb2_grpc import AgentGatewayServicer

_log = log.get("api.grpc")


def as_object(text: str, what: str) -> dict[str, Any]:
    """With texts that can be kept: what came of a step is never lost for a character in it.

    Raises: Invalid when it is not a JSON object.
    """
    try:
        told = texts.kept_all(json.loads(text or "{}"))
    except (ValueError, RecursionError) as e:
        raise Invalid(f"{what} is not JSON.") from e
    if not isinstance(told, dict):
        raise Invalid(f"{what} is not a JSON object.")
    return told


class EnrolmentDoor(AgentGatewayServicer):
    """Every other call of the service stays unimplemented here."""

    def __init__(self, transactions: Transactions, keys: KeySource, authority: Authority, places: Places) -> None:
        self._transactions = transactions
        self._keys = keys
        self._authority = authority
        self._places = places

    @guarded
    async def Enrol(self, request: EnrolRequest, context: Context) -> EnrolReply:  # noqa: N802, ARG002 - the wire's name
        async with self._transactions() as session:
            made = await service.enrol(
                session,
                self._authority,
                request.token,
                public_key_pem=request.public_key_pem,
                version=request.version,
                capabilities=as_object(request.capabilities_json, "capabilities_json"),
                deadline_of=lambda run, test: _deadline(session, run, test),
            )
        _log.info("agent.enrolled", agent=made.agent.id, role=made.agent.role.value)
        return EnrolReply(
            agent_id=made.agent.id,
            role=made.agent.role.value,
            account_id=made.agent.account,
            certificate_pem=made.certificate.pem,
            ca_pem=self._authority.ca_pem,
            gateway_address=self._places.gateway,
            namespace=self._places.namespace,
            keys_json=json.dumps(self._payload_keys(made.agent)),
            credentials_json=json.dumps(self._credentials(made.agent)),
            run=made.agent.run or "",
            test=made.agent.test or "",
            machine=made.agent.machine or "",
            deadline=clock.iso(made.deadline) if made.deadline else "",
        )

    def _payload_keys(self, agent: Agent) -> dict[str, Any]:
        if agent.role is Role.SITE:
            versions = self._keys.versions(agent.account)
            return {"account": {str(v): base64.b64encode(k).decode() for v, k in versions.items()}}
        workflow = test_workflow_id(str(agent.run), str(agent.test))
        version, key = self._keys.key(agent.account)
        held = base64.b64encode(workflow_key(key, workflow)).decode()
        return {"workflow": {"workflow_id": workflow, "version": version, "key": held}}

    def _credentials(self, agent: Agent) -> dict[str, Any]:
        if agent.role is Role.SITE:
            return {}
        # The account's first key: a rotation in the middle of a test must not change its passwords.
        _, key = self._keys.key(agent.account, min(self._keys.versions(agent.account)))
        return asdict(test_credentials(key, str(agent.run), str(agent.test)))


async def _deadline(session: Session, run: str, test: str) -> Any:
    return (await tests.get_test(session, run, test)).deadline
