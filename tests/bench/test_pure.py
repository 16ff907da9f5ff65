"""Figures of the two rooms every run passes through in memory: a decision, and a payload's encryption."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
import timeit
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload

from stackly.policy import parse
from stackly.policy.evaluate import decide
from stackly.policy.model import Facts, VoteFact
from stackly.secrets import Keyring
from stackly.temporal.codec import AccountKeys, EncryptedPayloads
from tests.bench.recording import record

pytestmark = pytest.mark.bench

_POLICIES = Path(__file__).resolve().parents[2] / "policies"


def _median_us(work: Callable[[], object], times: int) -> float:
    """CPU time: what else runs on the machine is not part of it."""
    return statistics.median(timeit.repeat(work, number=times, repeat=7, timer=time.process_time)) / times * 1e6


def test_a_decision_of_the_shipped_policies() -> None:
    policies = [p for file in sorted(_POLICIES.glob("*.hcl")) for p in parse.policies(file.read_text(), file.name)]
    facts = Facts(
        now=datetime(2026, 11, 23, 10, tzinfo=UTC),
        account="acme",
        stack="shop",
        repo="acme/shop",
        kind="deploy",
        environment="prod",
        branch="main",
        default_branch="main",
        trigger_kind="push",
        author="ann",
        committer="ann",
        pusher="ann",
        actor="ann",
        digest="d",
        votes=(VoteFact("carl", ("platform-admins",), "approve"), VoteFact("dora", ("platform-admins",), "approve")),
    )
    assert decide(policies, facts, "apply").outcome == "allow"
    took = _median_us(lambda: decide(policies, facts, "apply"), 200)
    print(f"\npolicy decision: {took:.0f} us")  # noqa: T201 - a bench prints
    record(policy_decision_us=round(took, 1))


def test_a_payload_of_a_kib_there_and_back(tmp_path: Path) -> None:
    codec = EncryptedPayloads(AccountKeys(Keyring(tmp_path / "keyring.json"), "acme"), "run/1")
    payload = Payload(metadata={"encoding": b"json/plain"}, data=os.urandom(1024))

    async def round_trips(times: int) -> None:
        for _ in range(times):
            await codec.decode(await codec.encode([payload]))

    took = _median_us(lambda: asyncio.run(round_trips(200)), 1) / 200
    print(f"\ncodec: {took:.1f} us a KiB, encrypted and decrypted")  # noqa: T201 - a bench prints
    record(codec_us_per_kib=round(took, 1))
