"""A run that waits for approval: nobody gets anything of it applied, and what was approved is what is applied."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from agent.gateway import Begun, Gateway, Identity
from stackly.temporal.steps import StepKey, run_workflow_id, site_queue, teardown_queue
from tests.attack.conftest import Stranger, site_identity
from tests.e2e.house import House, plain

pytestmark = [pytest.mark.e2e, pytest.mark.real, pytest.mark.timeout(420)]

_POLICY = """policy "one_look" {
  approval {
    required      = true
    min_approvers = 1
  }
}
"""
_NAME = "attack-approval"
_MODULE = """resource "terraform_data" "thing" {
  input = "approved"
}

output "thing" {
  value = terraform_data.thing.output
}
"""


@dataclass
class Waiting:
    """A run that awaits approval, and the site agent whose work it is."""

    platform: House
    run: str
    before: str

    @property
    def shown(self) -> dict[str, Any]:
        found: dict[str, Any] = self.platform.get(f"runs/{self.run}")
        return found

    @property
    def site(self) -> Identity:
        return site_identity(self.platform)

    def check(self) -> None:
        """Still waiting, and nothing was made."""
        assert self.shown["status"] == "awaiting_approval"
        assert [s["status"] for s in self.platform.stack(_NAME)["states"]] == [self.before], "nothing was made"


@pytest.fixture(scope="module")
def waiting(platform: House) -> Iterator[Waiting]:
    with tempfile.TemporaryDirectory() as place:
        repo = platform.repository(_NAME, Path(place))
        stack = plain(_NAME, '  policies = ["one_look"]\n')
        repo.push({"policies/one_look.hcl": _POLICY, "a/stackly.hcl": stack, "a/main.tf": _MODULE}, "to be approved")
        (run,) = platform.until(lambda: platform.runs(stack=_NAME), bool)
        platform.until(lambda: platform.get(f"runs/{run['id']}"), lambda r: r["status"] == "awaiting_approval", 120)
        (state,) = platform.stack(_NAME)["states"]
        yield Waiting(platform, run["id"], state["status"])


def _key(run: str, step: str, attempt: int = 1, epoch: int = 1) -> dict[str, Any]:
    return {"run": run, "test": "", "step": step, "attempt": attempt, "epoch": epoch}


def test_an_own_activity_on_the_sites_queue_does_nothing(waiting: Waiting, stranger: Stranger) -> None:
    address = waiting.platform.endpoints["temporal_address"]
    inputs: list[list[Any]] = [[_key(waiting.run, step)] for step in ("apply", "destroy", "plan")]
    inputs += [[], [None], ["apply"], [{"plan": "evil", **_key(waiting.run, "apply")}, "evil"]]
    for queue in (site_queue(waiting.site.agent_id), teardown_queue(waiting.site.agent_id)):
        said = stranger.run("acts", temporal=address, queue=queue, activity="step", inputs=inputs)
        assert [s for s in said if not s.startswith("refused")] == []
    waiting.check()


def test_an_own_activity_of_the_control_plane_does_nothing(waiting: Waiting, stranger: Stranger) -> None:
    address = waiting.platform.endpoints["temporal_address"]
    for activity in ("run.gate", "run.expect", "run.record_plan"):
        given = [[waiting.run], [_key(waiting.run, "apply")]]
        said = stranger.run("acts", temporal=address, queue="control", activity=activity, inputs=given)
        assert [s for s in said if not s.startswith("refused")] == [], activity
    waiting.check()


def test_what_was_sealed_for_its_workflow_is_not_obeyed_in_another(waiting: Waiting, stranger: Stranger) -> None:
    """Read from its history by anybody, and sent to the site's queue."""
    said = stranger.run(
        "replays",
        temporal=waiting.platform.endpoints["temporal_address"],
        queue=site_queue(waiting.site.agent_id),
        activity="step",
        workflow_id=run_workflow_id(waiting.run),
    )
    assert said, "its plan was asked for by an activity with a sealed key"
    assert [s for s in said if not s.startswith("refused")] == []
    waiting.check()


def test_the_right_agent_begins_no_apply_before_its_time(waiting: Waiting) -> None:
    """In the wrong status, as another attempt, under other epochs, under names of its own."""

    async def tries() -> list[tuple[str, str]]:
        gateway = Gateway(waiting.site)
        said = []
        try:
            for step in ("apply", "destroy", "plan anew", "rescue", "x" * 10_000, "apply\0", "plan"):
                for attempt, epoch in ((1, 1), (2, 1), (1, 2), (2**31 - 1, 2**31 - 1), (0, 0), (-1, -1)):
                    said.append((step[:20], await _begun(gateway, _key(waiting.run, step, attempt, epoch))))
        finally:
            await gateway.close()
        return said

    said = asyncio.run(tries())
    assert {verdict for _, verdict in said} <= {"REFUSED", "GONE", "DONE", "Invalid", "NotFound"}, said
    assert {verdict for step, verdict in said if step != "plan"} <= {"REFUSED", "Invalid", "NotFound"}, said
    waiting.check()
    told = waiting.platform.get("events", subject=f"agent/{waiting.site.agent_id}", name="step_refused")["items"]
    refused = [e["payload"] for e in told if e["payload"]["run"] == waiting.run]
    assert {"apply", "destroy"} <= {e["step"] for e in refused}, "each refusal is an audit event"


async def _begun(gateway: Gateway, key: dict[str, Any]) -> str:
    try:
        begun: Begun = await gateway.begin_step(StepKey(**key), "attacker")
    except Exception as e:  # noqa: BLE001 - whatever it is called
        return type(e).__name__
    return begun.verdict


def test_its_workflow_is_not_worth_ending(waiting: Waiting, stranger: Stranger) -> None:
    """A client of Temporal's port ends, starts, signals and deletes; the row still says what it is."""
    address = waiting.platform.endpoints["temporal_address"]
    said = stranger.run("meddles", temporal=address, workflow_id=run_workflow_id(waiting.run))
    ends = {said["terminate"], said["end again"], said["delete"]}
    assert "done" in ends, "Temporal lets it: that is why nothing rests on it"
    assert "protected" in said["delete namespace"]
    waiting.check()


def test_a_revoked_key_ends_its_open_streams(waiting: Waiting) -> None:
    platform = waiting.platform
    made = platform.post("tokens", {"name": "attacker"})
    with _listening(platform, waiting.run, made["token"]) as listener:
        platform.post(f"tokens/{made['id']}/revoke")
        listener.join(60)
        assert not listener.is_alive(), "the stream goes on"
    signed = {"Authorization": f"Bearer {made['token']}"}
    got = platform.http.get(f"{platform.endpoints['api_url']}/api/v1/me", headers=signed)
    assert got.status_code == 401


@contextmanager
def _listening(platform: House, run: str, token: str) -> Iterator[threading.Thread]:
    url, begun = f"{platform.endpoints['api_url']}/api/v1/runs/{run}/stream", threading.Event()

    def listen() -> None:
        signed = {"Authorization": f"Bearer {token}"}
        with httpx.stream("GET", url, headers=signed, timeout=60) as answer:
            for _ in answer.iter_lines():
                begun.set()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    assert begun.wait(60)
    yield listener


def test_a_bundle_that_was_changed_in_storage_is_not_what_is_applied(waiting: Waiting) -> None:
    """The last test: the run is approved, and what it makes is what was approved."""
    platform = waiting.platform
    told = platform.settings["s3"]
    keys = {"aws_access_key_id": told["access_key"], "aws_secret_access_key": told["secret_key"]}
    client = boto3.client("s3", endpoint_url=told["endpoint"], region_name="us-east-1", **keys)
    bucket = client.list_buckets()["Buckets"][0]["Name"]
    stored = [o["Key"] for page in _pages(client, bucket) for o in page.get("Contents", [])]
    kept = {k: client.get_object(Bucket=bucket, Key=k)["Body"].read() for k in stored if not k.startswith("state/")}
    assert kept
    try:
        for key in kept:
            client.put_object(Bucket=bucket, Key=key, Body=b"evil" * 100)
        digest = waiting.shown["digest"]
        platform.post(f"approvals/{waiting.run}/approve", {"digest": digest, "reason": "looked"})
        ended = platform.ended(waiting.run)
    finally:
        for key, body in kept.items():
            client.put_object(Bucket=bucket, Key=key, Body=body)
    assert ended["status"] == "succeeded", ended["reason"]
    assert ended["changed"] is True, "what was approved, and not what stands in storage now"


def _pages(client: Any, bucket: str) -> list[dict[str, Any]]:
    return list(client.get_paginator("list_objects_v2").paginate(Bucket=bucket))
