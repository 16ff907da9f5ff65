"""One running platform for all tests of this folder, with a Stroppy-shaped recorder as its Stroppy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.house import House, running


@pytest.fixture(scope="session")
def platform() -> Iterator[House]:
    """The whole platform, started once."""
    with running("e2e") as house:
        yield house


@pytest.fixture
def clones(tmp_path: Path) -> Path:
    """Where this test's clones lie."""
    return tmp_path / "clones"
