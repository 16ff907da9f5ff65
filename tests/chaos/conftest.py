"""A platform for all tests of this folder, and a second one for those that end a whole platform."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.bench import Bench
from tests.e2e.house import House, running


@pytest.fixture(scope="module")
def neighbour() -> Iterator[House]:
    """Another platform on the same machine."""
    with running("neighbour") as house:
        yield house


@pytest.fixture(scope="session")
def bench(whole_platform: House, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(whole_platform, whole_platform.repository("chaos", tmp_path_factory.mktemp("clones")))


@pytest.fixture(scope="module")
def neighbours_bench(neighbour: House, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(neighbour, neighbour.repository("beside", tmp_path_factory.mktemp("clones")))


@pytest.fixture(autouse=True)
def _whole_before(request: pytest.FixtureRequest) -> None:
    """Every part runs when a test begins: what the test before ended has come back."""
    if "bench" in request.fixturenames:
        request.getfixturevalue("whole_platform").start()
