"""One running platform for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.house import House


@pytest.fixture
def platform(whole_platform: House) -> House:
    """The whole platform: every part runs when a test begins, whatever a test before it ended."""
    return whole_platform.start()


@pytest.fixture
def clones(tmp_path: Path) -> Path:
    """Where this test's clones lie."""
    return tmp_path / "clones"
