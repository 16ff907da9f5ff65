"""One running platform for all tests of this folder, with a Stroppy-shaped recorder as its Stroppy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stackly.local import platform as local_platform
from tests.e2e.house import House
from tests.e2e.recorder import install


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The whole platform on free ports; it is wiped at the end."""
    place = tmp_path_factory.mktemp("platform")
    for directory in (place, *place.parents[:2]):
        directory.chmod(0o711)  # Postgres under its own uid walks through
    house = House(place / "home", place / "recorder")
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("TF_CLI_CONFIG_FILE", raising=False)
        environment.setenv("STACKLY_STROPPY", str(install(house.recorder)))
        house.start()
    yield house
    local_platform.down(house.home, wipe=True)


@pytest.fixture
def clones(tmp_path: Path) -> Path:
    """Where this test's clones lie."""
    return tmp_path / "clones"
