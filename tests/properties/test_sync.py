"""The claim: however deliveries travel, one look at the repository ends in the same registry and the same runs."""

import asyncio
import os
import sys

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.conftest import Begin
from tests.properties.machine import SyncMachine
from tests.properties.platform_parts import Making, Platform

DAILY_SEED = 4
DAILY_STEPS = 300
NIGHTLY_STEPS = 10_000
STEPS_AN_EXAMPLE = 50


def run(
    platform: Platform,
    loop: asyncio.AbstractEventLoop,
    *,
    chance: int,
    steps: int,
    length: int = STEPS_AN_EXAMPLE,
    phases: tuple[Phase, ...] = (Phase.generate, Phase.shrink),
) -> int:
    """Carry out at least so many steps. Returns how many. The same `chance` takes the same ones."""

    class OfThisTest(SyncMachine):
        steps = 0

    OfThisTest.platform, OfThisTest.loop = platform, loop
    chosen = settings(
        database=None,
        deadline=None,
        stateful_step_count=length,
        max_examples=max(1, steps // length),
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.normal,
    )
    while OfThisTest.steps < steps:
        seed(chance)(OfThisTest)
        run_state_machine_as_test(OfThisTest, settings=chosen)
        chance += 1
    return OfThisTest.steps


def test_the_registry_follows_git(begin: Begin, loop: asyncio.AbstractEventLoop) -> None:
    chance = int(os.environ.get("STACKLY_SEED", DAILY_SEED))
    steps = run(begin(Making()), loop, chance=chance, steps=DAILY_STEPS)
    sys.stderr.write(f"seed {chance}: {steps} steps\n")
    assert steps >= DAILY_STEPS
