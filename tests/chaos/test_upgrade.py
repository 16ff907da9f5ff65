"""A home of the release before this one, with runs under way, goes on under this one and ends them well.

It was killed, or taken down, or runs still: `up` of this release alone is an upgrade.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from stackly.local import machines, platform
from tests.chaos.bench import Bench
from tests.chaos.earlier import Earlier, archived
from tests.chaos.test_homes import end_everything
from tests.e2e.house import House, Repository, plain

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.real, pytest.mark.timeout(900)]

_PROD = """policy "second_look" {
  environment = "prod"

  approval {
    required       = true
    min_approvers  = 1
    allowed_groups = ["platform-admins"]
  }
}
"""
_SLOW = """
resource "terraform_data" "slow" {
  provisioner "local-exec" {
    command = "sleep 20"
  }
}

output "made" {
  value = "slow"
}
"""


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory, require: Callable[[object, str], None]) -> Iterator[Earlier]:
    archive = archived()
    require(archive, "this clone lacks the earlier release's commit: git fetch --unshallow")
    assert archive is not None
    place = Path(tempfile.mkdtemp(prefix="stackly-earlier-"))
    place.chmod(0o711)
    yield Earlier.unpacked(archive, place)
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def home(earlier: Earlier) -> Iterator[Path]:
    """A home that the earlier release made and runs; whatever runs at the end is wiped."""
    place = Path(tempfile.mkdtemp(prefix="stackly-upgraded-"))
    place.chmod(0o711)
    home = place / "home"
    try:
        earlier.stackly(home, "up")
        yield home
    finally:
        platform.down(home, wipe=True)
        shutil.rmtree(place, ignore_errors=True)


def _connected(house: House, clone: Path) -> Repository:
    """As the earlier release's hub asked for no key."""
    hub = house.endpoints["hub_url"]
    httpx.post(f"{hub}/user/repos", json={"name": "kept"}, trust_env=False).raise_for_status()
    url = f"{hub}/developer/kept.git"
    return Repository(house, "kept", url, clone, house.post("repos", {"url": url})["id"]).begin()


def _of(bench: Bench, stack: str) -> str:
    rows: Any = bench.until(lambda: bench.house.runs(stack=stack), bool, 90)
    return str(rows[0]["id"])


def _running(bench: Bench, run: str, step: str) -> None:
    query = "SELECT 1 FROM steps WHERE operation = $1 AND step = $2 AND status = 'running'"
    bench.until(lambda: bench.rows(query, run, step), bool, 90)


@pytest.mark.parametrize(
    "end", ["runs", pytest.param("killed", marks=pytest.mark.nightly), pytest.param("down", marks=pytest.mark.nightly)]
)
def test_runs_under_way_end_well_under_this_release(earlier: Earlier, home: Path, tmp_path: Path, end: str) -> None:
    house = House(home, tmp_path, platform.endpoints(home))
    bench = Bench(house, _connected(house, tmp_path / "clone"))
    bench.repository.push({"policies/second_look.hcl": _PROD}, "policies")
    asked = plain("asked", '  policies = ["second_look"]\n  variables {\n    environment = "prod"\n  }\n')
    variable = 'variable "environment" {\n  type = string\n}\n'
    bench.repository.push({"asked/main.tf": variable + _SLOW, "asked/stackly.hcl": asked}, "add asked")
    waits = _of(bench, "asked")
    bench.until(lambda: house.get(f"runs/{waits}")["status"], lambda s: s == "awaiting_approval", 90)
    digest = house.get(f"runs/{waits}")["digest"]
    measures = bench.begin("measured", seconds=25)
    bench.until_loaded(measures)
    bench.repository.push({"slow/main.tf": _SLOW, "slow/stackly.hcl": plain("slow")}, "add slow")
    applies = _of(bench, "slow")
    _running(bench, applies, "apply")

    if end == "down":
        earlier.stackly(home, "down")
    elif end == "killed":
        assert end_everything(bench) > 10
    started = platform.up(home)
    house.endpoints = started.endpoints
    assert started.replaced == (end == "runs")

    # The approval that was open is for the same plan, and applies it.
    assert house.get(f"runs/{waits}")["digest"] == digest
    house.post(f"approvals/{waits}/approve", {"digest": digest})
    assert bench.ended(waits, 240)["status"] == "succeeded"
    # A polite stop of the earlier release ends what it applies as cancelled, before this release is there.
    assert bench.ended(applies, 240)["status"] == ("cancelled" if end == "down" else "succeeded")
    # Its machines and its agents were of the earlier release: what they measured does not count.
    measured = bench.ended(measures, 300)
    assert (measured["status"], measured["verdict"]) in {("failed", "invalid"), ("succeeded", "pass")}, measured
    if end == "runs":
        assert machines.REPLACED in str(measured), measured
    bench.until_empty(120)
    # And the home works as a new one does.
    bench.repository.url = str(house.get(f"repos/{bench.repository.id}")["clone_url"])
    bench.repository.git("remote", "set-url", "origin", bench.repository.url)
    bench.repository.push({"slow/main.tf": _SLOW.replace("sleep 20", "true")}, "quicker")
    newer = bench.until(lambda: _of(bench, "slow"), lambda run: run != applies, 90)
    assert bench.ended(newer)["status"] == "succeeded"
