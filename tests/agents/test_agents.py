"""Registering, listening, choosing."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from stackly.agents import service, store
from stackly.agents.authority import Authority, agent_of, agent_uri
from stackly.agents.model import AgentNotFound, AgentStatus, KeyUnusable, Role
from stackly.db import Transactions


async def online(transactions: Transactions, account: str, name: str, *targets: str, **labels: str) -> str:
    async with transactions() as session:
        made = await service.create_site_agent(session, account, name, labels)
        await service.heartbeat(
            session, made.agent.id, incarnation="1", version="1", capabilities={"targets": list(targets)}, polling=True
        )
        return made.agent.id


async def test_the_agent_that_fits_is_picked(transactions: Transactions, account: str) -> None:
    local = await online(transactions, account, "a", "local")
    docker = await online(transactions, account, "b", "local", "docker", zone="x")
    async with transactions() as session:
        assert await service.pick_site(session, account, "local") == (local, "")
        assert await service.pick_site(session, account, "docker") == (docker, "")
        assert await service.pick_site(session, account, "local", {"zone": "x"}) == (docker, "")


async def test_none_fits_and_each_says_why(transactions: Transactions, account: str) -> None:
    async with transactions() as session:
        assert await service.pick_site(session, account, "local") == (
            None,
            "no agent fits target local: no site agent is registered; start one: stackly up",
        )
        await service.create_site_agent(session, account, "sleeper")
    await online(transactions, account, "worker", "local")
    async with transactions() as session:
        agent, why = await service.pick_site(session, account, "docker", {"zone": "x"})
    assert agent is None
    assert "sleeper is expected" in why
    assert "worker has no target docker (it has local); start Docker on its machine" in why, "what would end the wait"


async def test_silence_takes_offline_and_a_beat_brings_back(transactions: Transactions, account: str) -> None:
    agent = await online(transactions, account, "a", "local")
    async with transactions() as session:
        assert await service.mark_offline(session, timedelta(hours=1)) == []
        assert [a.id for a in await service.mark_offline(session, timedelta(seconds=0))] == [agent]
        assert (await store.get_agent(session, agent)).status is AgentStatus.OFFLINE
    await online(transactions, account, "a", "local")
    async with transactions() as session:
        bells = (await session.execute(text("SELECT count(*) FROM outbox WHERE kind = 'admit'"))).scalar_one()
    assert bells == 2


async def test_a_beat_that_changes_nothing_rings_nobody(transactions: Transactions, account: str) -> None:
    for _ in range(3):
        await online(transactions, account, "a", "local")
    async with transactions() as session:
        assert (await session.execute(text("SELECT count(*) FROM outbox"))).scalar_one() == 1


async def test_a_token_that_its_agent_did_not_need_is_void(transactions: Transactions, account: str) -> None:
    """A token is made at each start; one that still has its certificate comes online without it."""
    async with transactions() as session:
        before = await service.create_site_agent(session, account, "a", {})
        other = await service.create_site_agent(session, account, "b", {})
    await online(transactions, account, "a", "local")
    async with transactions() as session:
        assert await store.spend_enrolment(session, service.digest_of(before.token)) is None
        assert await store.spend_enrolment(session, service.digest_of(other.token)) == other.agent.id


async def test_accounts_do_not_see_each_other(transactions: Transactions, account: str) -> None:
    agent = await online(transactions, account, "a", "local")
    async with transactions() as session:
        with pytest.raises(AgentNotFound):
            await service.revoke(session, agent, account="other")
        assert await store.list_agents(session, "other") == []
        await service.revoke(session, agent, account=account)
        assert [a.status for a in await store.list_agents(session, account, role=Role.SITE)] == [AgentStatus.REVOKED]
        again = await service.create_site_agent(session, account, "a")
    assert again.agent.id != agent


def pem_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_every_name_in_a_certificate_is_ours(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path)
    made = authority.issue(pem_of(ec.generate_private_key(ec.SECP256R1())), "acme", "a1", timedelta(hours=1))
    certificate = x509.load_pem_x509_certificate(made.pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://stackly/acct/acme/agent/a1"]
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= timedelta(hours=1, minutes=2)
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.ca_pem))


@pytest.mark.parametrize("pem", [b"", b"nonsense", pem_of(rsa.generate_private_key(65537, 2048))])
def test_a_key_of_another_kind_is_refused(pem: bytes, tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable):
        Authority.open(tmp_path).issue(pem, "acme", "a1", timedelta(hours=1))


@given(st.from_regex(r"[0-9a-z]{1,18}", fullmatch=True), st.from_regex(r"[0-9a-z]{1,18}", fullmatch=True))
def test_a_uri_reads_back(account: str, agent: str) -> None:
    assert agent_of(agent_uri(account, agent)) == (account, agent)


@pytest.mark.parametrize(
    "uri", ["", "spiffe://other/acct/a/agent/b", "spiffe://stackly/acct//agent/b", "spiffe://stackly/acct/a/agent/b/c"]
)
def test_other_uris_name_nobody(uri: str) -> None:
    assert agent_of(uri) is None
