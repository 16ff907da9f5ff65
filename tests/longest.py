"""In which order files start where several workers share them: the longest first, or it is waited for by idle cores."""

from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# By the minutes that they took last; what is not named is short. `--durations` of a run tells what belongs here.
LONGEST = (
    "chaos/test_stops.py",
    "chaos/test_upgrade.py",
    "chaos/test_kills.py",
    "chaos/test_down.py",
    "properties/test_sync.py",
    "engine/test_outages.py",
    "agent/test_terraform.py",
    "agent/test_terraform_verdicts.py",
    "agent/test_runtime.py",
    "engine/test_interrupted.py",
    "engine/test_workflows.py",
    "agent/test_sandbox_terraform.py",
    "local/test_down.py",
    "web/test_pages.py",
    "engine/test_images.py",
    "engine/test_numbers.py",
    "agent/test_pgbench.py",
    "agent/test_sandbox.py",
    "engine/test_strangers.py",
    "local/test_services.py",
    "agent/test_targets_docker.py",
    "api/grpc/test_relay_work.py",
    "test_bounded.py",
    "agent/test_sandbox_postgres.py",
    "local/test_supervisor.py",
    "agent/test_terraform_leftovers.py",
    "agent/test_terraform_killed.py",
    "bench/test_accept_outage.py",
    "local/test_short.py",
    "properties/test_controls.py",
)


def longest_first(items: list[pytest.Item]) -> None:
    """After the long ones come files with many tests; the tests of a file stay together, in their order."""
    rank = {HERE / name: n for n, name in enumerate(LONGEST)}
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (rank.get(item.path, len(rank)), -tests[item.path], item.path))
