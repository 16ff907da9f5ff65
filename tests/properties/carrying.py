"""Carrying out a number of a machine's steps, the same ones for the same seed."""

import asyncio

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.machine import SyncMachine
from tests.properties.platform_parts import Platform

STEPS_A_REPOSITORY = 30
FIND: tuple[Phase, ...] = (Phase.generate,)
FIND_AND_SHORTEN: tuple[Phase, ...] = (Phase.generate, Phase.shrink)


def carry_out(
    platform: Platform,
    loop: asyncio.AbstractEventLoop,
    *,
    chance: int,
    steps: int,
    phases: tuple[Phase, ...] = FIND_AND_SHORTEN,
) -> int:
    """At least so many steps, on a fresh repository every few dozen. Returns how many they were."""

    class Machine(SyncMachine):
        steps = 0

    Machine.platform, Machine.loop = platform, loop
    while (left := steps - Machine.steps) > 0:
        chosen = settings(
            database=None,
            deadline=None,
            stateful_step_count=STEPS_A_REPOSITORY,
            max_examples=-(-left // STEPS_A_REPOSITORY),
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        seed(chance)(Machine)
        run_state_machine_as_test(Machine, settings=chosen)
        chance += 1
    return Machine.steps
