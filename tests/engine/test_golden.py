"""Digests that are stored: an approval open over an upgrade, and a result that is compared, still mean the same.

Whoever changes one gives what is stored a name of its form, and recomputes it with that form.
"""

import hashlib
from pathlib import Path
from typing import Any

from stackly.engine.digests import benchmark_digest, plan_digest
from stackly.policy import parse
from stackly.secrets import test_credentials
from stackly.suites import plan, schema

HERE = Path(__file__).with_name("golden")
COMMIT = "c" * 40
SUITE = "775f43bc8b199b217d2a44acdb2198e2e9e5b7799255f5f2a2dee100cfa15469"
POLICY = "f6793670c056ea35ba8cd9657368caae18c5ed1e1d6b8a0dfd32a02d2bf1736e"
BENCHMARK = "11ef52ecc4f9f0870348f403d4781d1720e79cd93236242dfd39e060887efc8f"
PLAN = "a0a0296ff7a848067e30878b0876014efe1099650a88af9449ae8f7bd5db25e3"
CREDENTIALS = "d54bc47d5c517a981b6b54021302fa404240bdf5dc4672d64316a7ccae5696e4"
SPEC: dict[str, Any] = {
    "tree": "t" * 40,
    "lock_sha256": "1" * 64,
    "suite": {"digest": SUITE},
    "variables": {"region": "eu", "n": 3},
    "environment": "prod",
}


def test_the_digest_of_a_suite() -> None:
    resolved = plan.resolve(schema.parse((HERE / "suite.yaml").read_text(), "suite.yaml"), COMMIT)
    assert [t.test for t in resolved.tests] == ["tpcb", "many.1", "many.2"]
    assert plan.digest(resolved) == SUITE


def test_the_digests_that_approvals_are_bound_to() -> None:
    policies = parse.policies((HERE / "policy.hcl").read_text(), "policy.hcl")
    assert [p.digest for p in policies] == [POLICY]
    assert benchmark_digest(COMMIT, SPEC, policies) == BENCHMARK
    planned = {"plan_sha256": "2" * 64, "serial": 7, "lineage": "l", "lock_sha256": "3" * 64}
    assert plan_digest(COMMIT, SPEC, policies, planned) == PLAN
    assert plan_digest(COMMIT, SPEC, policies, planned | {"serial": 8}) != PLAN


def test_the_password_of_a_test_under_way() -> None:
    """A gateway of another release derives it anew for the agent that goes on."""
    told = test_credentials(b"k" * 32, "01m8hye5fxm6td2wsg", "tpcb")
    words = f"{told.user} {told.user_password} {told.superuser_password}"
    assert hashlib.sha256(words.encode()).hexdigest() == CREDENTIALS
