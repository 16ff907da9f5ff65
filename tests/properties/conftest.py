"""A loop and a platform for machines that are not coroutines themselves."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from tests.properties.platform_parts import Making, Platform

Begin = Callable[[Making], Platform]


@pytest.fixture
def quiet() -> Iterator[None]:
    """Thousands of steps would leave a log that nobody reads."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.configure(**before)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def begin(
    quiet: None, loop: asyncio.AbstractEventLoop, fresh_database: Callable[[], str], tmp_path: Path
) -> Iterator[Begin]:
    """`begin(making)`: a platform on a database of its own, with the parts that are named."""
    begun: list[Platform] = []

    def make(making: Making) -> Platform:
        platform = Platform(fresh_database(), tmp_path / f"p{len(begun)}", making)
        loop.run_until_complete(platform.start())
        begun.append(platform)
        return platform

    yield make
    for platform in begun:
        loop.run_until_complete(platform.close())
