"""The claim: however deliveries travel, one look at the repository ends in the same registry and the same runs."""

import asyncio
import os
import sys

import pytest

from tests.properties.carrying import carry_out
from tests.properties.conftest import Begin
from tests.properties.platform_parts import Making

DAILY_SEED = 4
DAILY_STEPS = 300
NIGHTLY_STEPS = 10_000


def _seed(usual: int) -> int:
    """STACKLY_SEED takes the steps of a failure again."""
    return int(os.environ.get("STACKLY_SEED", usual))


@pytest.mark.timeout(900)  # what fails is made short first, and that takes a while
def test_the_registry_follows_git(begin: Begin, loop: asyncio.AbstractEventLoop) -> None:
    steps = carry_out(begin(Making()), loop, chance=_seed(DAILY_SEED), steps=DAILY_STEPS)
    assert steps >= DAILY_STEPS


@pytest.mark.nightly
@pytest.mark.timeout(3 * 3600)
def test_the_registry_follows_git_for_long(
    begin: Begin, loop: asyncio.AbstractEventLoop, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = _seed(int.from_bytes(os.urandom(4), "big"))
    with capsys.disabled():
        sys.stdout.write(f"\nSTACKLY_SEED={chance} takes these steps again\n")
    steps = carry_out(begin(Making()), loop, chance=chance, steps=NIGHTLY_STEPS)
    assert steps >= NIGHTLY_STEPS
