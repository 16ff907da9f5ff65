"""A platform for all tests of this folder, and a second one for those that end a whole platform."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stackly.local import platform as local_platform
from tests.chaos.bench import Bench
from tests.e2e.house import House


def _started(place: Path) -> Iterator[House]:
    for directory in (place, *place.parents[:2]):
        directory.chmod(0o711)  # Postgres under its own uid walks through
    house = House(place / "home", place / "recorder")
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("TF_CLI_CONFIG_FILE", raising=False)
        house.start()
    try:
        yield house
    finally:
        local_platform.down(house.home, wipe=True)


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The whole platform on free ports; it is wiped at the end."""
    yield from _started(tmp_path_factory.mktemp("chaos"))


@pytest.fixture(scope="session")
def neighbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Another platform on the same machine."""
    yield from _started(tmp_path_factory.mktemp("neighbour"))


@pytest.fixture(scope="session")
def bench(platform: House, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(platform, platform.repository("chaos", tmp_path_factory.mktemp("clones")))


@pytest.fixture(scope="session")
def neighbours_bench(neighbour: House, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(neighbour, neighbour.repository("beside", tmp_path_factory.mktemp("clones")))


@pytest.fixture(autouse=True)
def _whole_before(platform: House) -> None:
    """Every part runs when a test begins: what the test before ended has come back."""
    platform.start()
