"""A platform for all tests of this folder, and a second one for those that end a whole platform."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stackly.local import platform as local_platform
from tests.chaos.bench import Bench
from tests.e2e.house import House


@contextmanager
def _started(kind: str) -> Iterator[House]:
    """A platform in a directory that no other session of pytest tidies away."""
    place = Path(tempfile.mkdtemp(prefix=f"stackly-{kind}-"))
    place.chmod(0o711)  # Postgres under its own uid walks through
    house = House(place / "home", place / "recorder")
    try:
        with pytest.MonkeyPatch.context() as environment:
            environment.delenv("TF_CLI_CONFIG_FILE", raising=False)
            house.start()
        yield house
    finally:
        local_platform.down(house.home, wipe=True)
        shutil.rmtree(place)


@pytest.fixture(scope="session")
def platform() -> Iterator[House]:
    """The whole platform on free ports; it is wiped at the end."""
    with _started("chaos") as house:
        yield house


@pytest.fixture(scope="module")
def neighbour() -> Iterator[House]:
    """Another platform on the same machine."""
    with _started("neighbour") as house:
        yield house


@pytest.fixture(scope="session")
def bench(platform: House, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(platform, platform.repository("chaos", tmp_path_factory.mktemp("clones")))


@pytest.fixture(scope="module")
def neighbours_bench(neighbour: House, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(neighbour, neighbour.repository("beside", tmp_path_factory.mktemp("clones")))


@pytest.fixture(autouse=True)
def _whole_before(platform: House) -> None:
    """Every part runs when a test begins: what the test before ended has come back."""
    platform.start()
