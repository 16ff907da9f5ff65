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
    "local/test_down.py",
    "engine/test_outages.py",
    "properties/test_sync.py",
    "engine/test_images.py",
    "agent/test_terraform.py",
    "web/test_pages.py",
    "agent/test_sandbox_terraform.py",
    "agent/test_runtime.py",
    "agent/test_pgbench.py",
    "local/test_services.py",
    "properties/test_controls.py",
    "agent/test_terraform_verdicts.py",
    "local/test_supervisor.py",
    "engine/test_numbers.py",
    "engine/test_workflows.py",
    "local/test_short.py",
    "agent/test_sandbox_postgres.py",
    "api/grpc/test_relay_work.py",
    "test_bounded.py",
    "engine/test_registration_text.py",
    "bench/test_accept_outage.py",
    "engine/test_interrupted.py",
    "agent/test_terraform_killed.py",
    "engine/test_strangers.py",
    "engine/test_announced.py",
    "agent/test_sandbox.py",
    "local/test_replacing.py",
    "git/test_hostile.py",
    "engine/test_registration_terraform.py",
    "bench/test_accept_kill.py",
    "agent/test_stroppy.py",
    "engine/test_loose.py",
    "api/test_references.py",
    "local/hub/test_pushes.py",
)


def longest_first(items: list[pytest.Item]) -> None:
    """After the long ones come files with many tests; the tests of a file stay together, in their order."""
    rank = {HERE / name: n for n, name in enumerate(LONGEST)}
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (rank.get(item.path, len(rank)), -tests[item.path], item.path))
