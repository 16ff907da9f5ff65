"""What an approval binds to: one digest over everything that would be carried out."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from stackly.policy.model import Policy


def canonical_sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


def benchmark_digest(commit: str, spec: Mapping[str, Any], policies: Sequence[Policy]) -> str:
    """Commit, tree, lock file, suite, variables and policies; never addresses, tokens or plans."""
    suite = spec.get("suite") or {}
    return canonical_sha256(
        {
            "commit": commit,
            "tree": spec.get("tree"),
            "lock": spec.get("lock_sha256"),
            "suite": suite.get("digest"),
            "variables": spec.get("variables", {}),
            "environment": spec.get("environment", ""),
            "policies": sorted(p.digest for p in policies),
        }
    )


def plan_digest(commit: str, spec: Mapping[str, Any], policies: Sequence[Policy], plan: Mapping[str, Any]) -> str:
    """A deploy's: the same, and the plan with the state it was made from."""
    return canonical_sha256(
        {
            "inputs": benchmark_digest(commit, spec, policies),
            "plan": plan.get("plan_sha256"),
            "serial": plan.get("serial"),
            "lineage": plan.get("lineage"),
            "lock": plan.get("lock_sha256"),
        }
    )
