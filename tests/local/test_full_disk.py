"""A disk that is full for a while ends no process of ours and loses no run; work goes on when it is over."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Require
from tests.local.test_short import namespace_with_disk

pytestmark = [pytest.mark.e2e, pytest.mark.real, pytest.mark.timeout(600)]


@pytest.fixture
def small_disk(require: Require) -> Iterator[Path]:
    # Not below pytest's own directory, which every session closes to others: Postgres walks through as another user.
    place = Path(tempfile.mkdtemp(prefix="stackly-full-disk-"))
    place.chmod(0o711)
    home = place / "home"
    home.mkdir(mode=0o711)
    possible = subprocess.run(namespace_with_disk(home, "1m", ["true"]), capture_output=True, text=True, check=False)
    require(possible.returncode == 0, f"no mount namespace with a disk of its own: {possible.stderr.strip()}")
    yield home
    shutil.rmtree(place)


def test_a_platform_lives_through_a_full_disk(small_disk: Path) -> None:
    script = [sys.executable, "-m", "tests.local.full_disk", str(small_disk)]
    done = subprocess.run(
        namespace_with_disk(small_disk, "300m", script),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=560,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
