"""The delivery log: what failed is listed, what is asked for again is the same, and nothing is forgotten."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from tests.local.hub.conftest import Receiver, Running, Work

HOOKS = "/repos/acme/stacks/hooks"


async def test_a_failed_delivery_comes_again_only_when_asked_and_under_its_guid(
    hub: "Running", receiver: "Receiver", work: "Work"
) -> None:
    hook = await hub.hooked(receiver)
    await receiver.wait(1)
    receiver.answers = [503]
    await work.commit({"x": "1"})
    await work.push("main")
    failed = (await hub.deliveries(hook, 2))[0]
    assert (failed["status"], failed["status_code"]) == ("Invalid HTTP Response: 503", 503)
    assert (failed["redelivery"], failed["event"]) == (False, "push")
    assert len(await receiver.quiet()) == 2  # no retry by itself

    answer = await hub.client.post(f"{HOOKS}/{hook}/deliveries/{failed['id']}/attempts")
    assert answer.status_code == 202
    again = (await hub.deliveries(hook, 3))[0]
    assert (again["guid"], again["redelivery"], again["status"]) == (failed["guid"], True, "OK")
    assert again["id"] != failed["id"]
    first, second = receiver.got[1:]
    assert (first.guid, first.body) == (second.guid, second.body)
    assert second.genuine

    detail = await hub.json("GET", f"{HOOKS}/{hook}/deliveries/{again['id']}")
    assert detail["request"]["payload"] == json.loads(second.body)
    assert detail["request"]["headers"]["X-GitHub-Delivery"] == second.guid
    assert detail["response"]["payload"] == "thanks"


async def test_the_headers_are_githubs(hub: "Running", receiver: "Receiver") -> None:
    hook = await hub.hooked(receiver)
    (ping,) = await receiver.wait(1)
    repo = await hub.json("GET", "/repos/acme/stacks")
    assert ping.headers["user-agent"].startswith("GitHub-Hookshot/")
    assert ping.headers["content-type"] == "application/json"
    assert ping.headers["x-github-hook-id"] == str(hook)
    assert ping.headers["x-github-hook-installation-target-type"] == "repository"
    assert ping.headers["x-github-hook-installation-target-id"] == str(repo["id"])
    assert ping.headers["x-hub-signature"].startswith("sha1=")
    data = json.loads(ping.body)
    assert (data["hook_id"], data["hook"]["config"]["secret"]) == (hook, "********")


async def test_one_event_has_one_guid_for_all_hooks(hub: "Running", receiver: "Receiver", work: "Work") -> None:
    await hub.hooked(receiver)
    url, receiver.url = receiver.url, receiver.url + "?second"
    await hub.hooked(receiver)
    receiver.url = url
    await work.commit({"x": "1"})
    await work.push("main")
    pushes = [g for g in await receiver.wait(4) if g.event == "push"]
    assert len(pushes) == 2
    assert len({g.guid for g in pushes}) == 1


async def test_pages_follow_the_cursor_newest_first(hub: "Running", receiver: "Receiver") -> None:
    hook = await hub.hooked(receiver)
    for _ in range(4):
        await hub.client.post(f"{HOOKS}/{hook}/pings")
    everything = [d["id"] for d in await hub.deliveries(hook, 5)]
    assert everything == sorted(everything, reverse=True)
    seen: list[int] = []
    url: str | None = f"{HOOKS}/{hook}/deliveries?per_page=2"
    while url:
        answer = await hub.client.get(url)
        seen += [d["id"] for d in answer.json()]
        url = answer.links.get("next", {}).get("url")
    assert seen == everything
    assert (await hub.client.get(f"{HOOKS}/{hook}/deliveries?cursor=x")).status_code == 422
    assert (await hub.client.get(f"{HOOKS}/{hook}/deliveries?per_page=101")).status_code == 422


async def test_a_dead_receiver_fails_and_does_not_hold_up_the_push(
    hub: "Running", receiver: "Receiver", work: "Work"
) -> None:
    receiver.url = "http://127.0.0.1:9/nobody"
    hook = await hub.hooked(receiver)
    await work.commit({"x": "1"})
    await work.push("main")
    assert {d["status"] for d in await hub.deliveries(hook, 2)} == {"failed to connect to host"}


async def test_a_changed_secret_signs_what_follows(hub: "Running", receiver: "Receiver", work: "Work") -> None:
    hook = await hub.hooked(receiver)
    await receiver.wait(1)
    answer = await hub.json("PATCH", f"{HOOKS}/{hook}/config", json={"secret": "next"})
    assert answer["secret"] == "********"
    await work.commit({"x": "1"})
    await work.push("main")
    assert not (await receiver.wait(2))[1].genuine


async def test_an_inactive_or_removed_hook_hears_nothing(hub: "Running", receiver: "Receiver", work: "Work") -> None:
    hook = await hub.hooked(receiver)
    await receiver.wait(1)
    await hub.json("PATCH", f"{HOOKS}/{hook}", json={"active": False})
    await work.commit({"x": "1"})
    await work.push("main")
    assert (await hub.client.delete(f"{HOOKS}/{hook}")).status_code == 204
    await work.push("main:other")
    assert len(await receiver.quiet()) == 1


class Process:
    """The hub as users run it."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.port, self.url = home, port, f"http://127.0.0.1:{port}"

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stackly.local.hub", "--home", str(self.home), "--port", str(self.port)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        async with httpx.AsyncClient() as client:
            for _ in range(600):
                try:
                    if (await client.get(f"{self.url}/healthz")).status_code == 200:
                        return
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
        pytest.fail("the hub did not start")

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


async def test_what_was_on_its_way_when_the_hub_died_is_listed_as_failed(
    tmp_path: Path, receiver: "Receiver", unused_port: int
) -> None:
    hub = Process(tmp_path / "home", unused_port)
    await hub.start()
    # A hub that is started by itself makes its own key.
    signed = {"Authorization": f"Bearer {(tmp_path / 'home' / 'hub-token').read_text().strip()}"}
    async with httpx.AsyncClient(base_url=hub.url, headers=signed) as client:
        repo = (await client.post("/orgs/acme/repos", json={"name": "stacks"})).json()
        receiver.delay_s = 60
        config = {"url": receiver.url, "content_type": "json", "secret": "s3cret"}
        hook = (await client.post(HOOKS, json={"config": config})).json()["id"]
        assert (await client.get(f"{HOOKS}/{hook}/deliveries")).json() == []
        await asyncio.sleep(0.2)
        await hub.kill()
        receiver.delay_s = 0
        await hub.start()
        try:
            listed: list[dict[str, Any]] = (await client.get(f"{HOOKS}/{hook}/deliveries")).json()
            assert [(d["event"], d["status_code"]) for d in listed] == [("ping", 502)]
            assert "stopped" in listed[0]["status"]
            assert (await client.get("/repos/acme/stacks")).json()["id"] == repo["id"]
            await client.post(f"{HOOKS}/{hook}/deliveries/{listed[0]['id']}/attempts")
            (got,) = await receiver.wait(1)
            assert got.guid == listed[0]["guid"]
        finally:
            await hub.kill()
