"""Who this agent is: enrolled with a token, or known from an earlier life by a certificate that is still good."""

import base64
import json
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from agent import gateway as gateways
from agent.gateway import Gateway, Identity
from agent.outbox import patiently
from agent.settings import AgentSettings, EnrolmentFile, version
from agent.workdir import write_private
from stackly import clock
from stackly.errors import Denied, NotFound, Unauthenticated

_RENEW_BEFORE = timedelta(hours=12)
_BYTES = frozenset({"key_pem", "certificate_pem", "ca_pem"})


def _saved(path: Path) -> Identity | None:
    """The site agent's identity of an earlier life, while its certificate is good for long enough."""
    try:
        told = json.loads(path.read_bytes())
        for name in _BYTES:
            told[name] = base64.b64decode(told[name])
        # What an earlier release also wrote there is nothing to go by: an agent's one address is its gateway's.
        identity = Identity(**{f.name: told[f.name] for f in fields(Identity)})
        until = x509.load_pem_x509_certificate(identity.certificate_pem).not_valid_after_utc
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return identity if until - clock.now() > _RENEW_BEFORE else None


def _save(path: Path, identity: Identity) -> None:
    told = {f.name: getattr(identity, f.name) for f in fields(identity)}
    for name in _BYTES:
        told[name] = base64.b64encode(told[name]).decode()
    write_private(path, json.dumps(told, default=str).encode())


async def _still_ours(identity: Identity, given: EnrolmentFile | None) -> bool:
    """Another CA, another agent, or a row that does not count any more: enrol anew."""
    if given is not None and (given.agent_id, given.ca_pem) != (identity.agent_id, identity.ca_pem):
        return False
    gateway = Gateway(identity)
    try:
        revoked, _ = await patiently(lambda: gateway.heartbeat("enrolling", version(), {}, polling=False))
    except (Denied, Unauthenticated):
        return False
    finally:
        await gateway.close()
    return not revoked


async def identify(settings: AgentSettings, given: EnrolmentFile | None, able: dict[str, object]) -> Identity:
    """Raises: Unauthenticated when the token is used up; NotFound without a token."""
    saved_at = settings.home / "identity.json"
    if settings.role == "site" and (saved := _saved(saved_at)) is not None and await _still_ours(saved, given):
        _save(saved_at, saved)  # as this release keeps it
        return saved
    if given is None:
        raise NotFound("This agent has no valid certificate; start it with --enrolment and a fresh token.")
    identity = await patiently(
        lambda: gateways.enrol(given.enrol_address, given.ca_pem, given.token, version=version(), capabilities=able)
    )
    if identity.role != settings.role:
        raise Denied(f"This token is for a {identity.role} agent, not for a {settings.role} agent.")
    if settings.role == "site":
        _save(saved_at, identity)
    return identity
