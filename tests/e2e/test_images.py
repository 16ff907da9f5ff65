"""A suite that measures an image of its own commit: pushed first, built later, the same when it is run again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.postgres import image
from agent.postgres.binaries import of_major
from agent.postgres.container import docker_client
from stackly.errors import Unavailable
from tests.agent.oci_registry import Registry, saved, serving
from tests.conftest import Require
from tests.e2e.house import House, Refused

pytestmark = [pytest.mark.e2e, pytest.mark.real, pytest.mark.timeout(420)]

_SHORTER = {"warmup: 5s, duration: 10s": "warmup: 0s, duration: 5s", "scale_factor: 2": "scale_factor: 1"}


@pytest.fixture
def registry(require: Require) -> Iterator[tuple[Registry, list[str]]]:
    """With two builds, under no tag. Shape: it, and their digests."""
    try:
        client = docker_client()
    except Unavailable as error:
        require(None, str(error))
        raise
    found = Registry()
    with saved(client, image.ensure(client, of_major("16"))) as path:
        builds = [found.add(path, f"e2e {n}") for n in (1, 2)]
    with serving(found):
        yield found, builds
        for each in client.images.list(filters={"reference": f"{found.place}/pg"}):
            client.images.remove(each.id, force=True)
    client.close()


def _fingerprint(run: dict[str, Any]) -> dict[str, Any]:
    (test,) = run["tests"]
    found: dict[str, Any] = test["result"]["fingerprint"]
    return found


def test_a_run_waits_for_its_commit_s_image_and_a_rerun_measures_the_same(
    platform: House, clones: Path, registry: tuple[Registry, list[str]]
) -> None:
    there, builds = registry
    repo = platform.repository("own-image", clones)
    named = f'version: "16", image: "{there.place}/pg:${{commit}}"'
    repo.example("pg-docker", "bench", stack="own-image", changed=_SHORTER | {'version: "16"': named})
    commit = repo.push({}, "measure what this commit builds")
    name = f"{there.place}/pg:{commit}"

    def waiting(run: dict[str, Any]) -> str:
        return str((run["waiting"] or {}).get("reason"))

    found = platform.until(lambda: [r for r in platform.runs(stack="own-image") if r["commit"] == commit], bool)
    seen = platform.until(lambda: platform.get(f"runs/{found[0]['id']}"), lambda r: "not there yet" in waiting(r))
    assert (seen["status"], seen["waiting"]["blocker"]) == ("running", "image")
    assert waiting(seen) == f"{name} is not there yet, 0 of 30 min"
    assert [t["status"] for t in seen["tests"]] == ["waiting"]

    there.tags[f"pg:{commit}"] = builds[0]
    ended = platform.ended(seen["id"])
    assert ended["status"] == "succeeded", ended["reason"]
    pinned = f"{there.place}/pg@{builds[0]}"
    assert _fingerprint(ended)["image"] == pinned
    assert ended["phases"][0]["name"] == "image"
    assert ended["phases"][0]["detail"] == f"{name} is {pinned}"

    there.tags[f"pg:{commit}"] = builds[1]
    again = platform.ended(platform.post(f"runs/{ended['id']}/rerun")["id"])
    assert again["status"] == "succeeded", again["reason"]
    assert (_fingerprint(again)["image"], _fingerprint(again)["image_id"]) == (
        pinned,
        _fingerprint(ended)["image_id"],
    )


def test_on_target_local_the_push_is_refused_at_its_line(platform: House, clones: Path) -> None:
    repo = platform.repository("local-image", clones)
    named = {'version: "16"': 'version: "16", image: "acme/postgres:${commit}"'}
    repo.example("pg-standalone", "local-image", changed=named)
    repo.push({}, "an image where there are none")

    def errors() -> list[dict[str, Any]]:
        try:
            return list(platform.stack("local-image")["errors"])
        except Refused:
            return []

    (found,) = platform.until(errors, bool)
    assert found["file"] == "local-image/suite.yaml"
    assert 'write `target = "docker"` in stackly.hcl, or delete `image`' in found["message"]
