"""Each fault does what it says, and the same one each time for the same seed."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from stackly.local.hub.faults import Dice, Faults

if TYPE_CHECKING:
    from tests.local.hub.conftest import Got, Receiver, Running

HOOKS = "/repos/acme/stacks/hooks"


async def pings(hub: "Running", receiver: "Receiver", count: int, **faults: Any) -> tuple[int, "list[Got]"]:
    """Hook up without faults, switch them on, ping, and give what came of it."""
    hook = await hub.hooked(receiver)
    await receiver.wait(1)
    await hub.json("PUT", "/_faults", json=faults)
    for _ in range(count):
        await hub.client.post(f"{HOOKS}/{hook}/pings")
    return hook, (await receiver.quiet())[1:]


async def test_drop(hub: "Running", receiver: "Receiver") -> None:
    hook, got = await pings(hub, receiver, 3, drop=1)
    assert got == []
    assert len(await hub.deliveries(hook, 1)) == 1  # in no log either: only git still knows


async def test_duplicate(hub: "Running", receiver: "Receiver") -> None:
    _, got = await pings(hub, receiver, 2, duplicate=1)
    assert len(got) == 4
    assert len({g.guid for g in got}) == 2


async def test_reorder(hub: "Running", receiver: "Receiver") -> None:
    hook, got = await pings(hub, receiver, 8, reorder=8, seed=3)
    listed = [d["guid"] for d in reversed(await hub.deliveries(hook, 9))][1:]
    assert sorted(g.guid for g in got) == sorted(listed)
    assert [g.guid for g in got] != listed


async def test_delay(hub: "Running", receiver: "Receiver") -> None:
    _, got = await pings(hub, receiver, 1, delay_s=1.5)
    assert got == []
    await receiver.wait(2)


async def test_corrupt_signature_is_mended_by_redelivery(hub: "Running", receiver: "Receiver") -> None:
    hook, got = await pings(hub, receiver, 1, corrupt_signature=1)
    assert [g.genuine for g in got] == [False]
    assert len(got[0].headers["x-hub-signature-256"]) == 71
    await hub.json("PUT", "/_faults", json={})
    newest = (await hub.deliveries(hook, 2))[0]
    await hub.client.post(f"{HOOKS}/{hook}/deliveries/{newest['id']}/attempts")
    again = (await receiver.wait(3))[2]
    assert (again.genuine, again.guid) == (True, got[0].guid)


async def test_oversize(hub: "Running", receiver: "Receiver") -> None:
    hook = await hub.hooked(receiver)
    await receiver.wait(1)
    await hub.json("PUT", "/_faults", json={"oversize": 1})
    await hub.client.post(f"{HOOKS}/{hook}/pings")
    got = (await receiver.wait(2))[1]
    assert got.size > 25 * 1024 * 1024
    assert got.genuine


async def test_wrong_event(hub: "Running", receiver: "Receiver") -> None:
    _, got = await pings(hub, receiver, 1, wrong_event=1)
    assert [(g.event, g.genuine) for g in got] == [("push", True)]
    assert "zen" in json.loads(got[0].body)


async def test_status(hub: "Running", receiver: "Receiver") -> None:
    hook, got = await pings(hub, receiver, 1, status=503)
    assert got == []
    assert [d["status_code"] for d in await hub.deliveries(hook, 2)] == [503, 202]


@pytest.mark.parametrize("bad", [{"drop": 2}, {"drops": 1}, {"status": 99}, {"reorder": -1}, {"delay_s": "x"}])
async def test_senseless_faults_are_refused(hub: "Running", bad: dict[str, Any]) -> None:
    assert (await hub.client.put("/_faults", json=bad)).status_code == 422
    assert (await hub.json("GET", "/_faults")) == Faults().model_dump()


def test_the_same_seed_strikes_the_same() -> None:
    def drawn(seed: int) -> list[bool]:
        dice = Dice()
        dice.set(Faults(drop=0.5, seed=seed))
        return [dice.hits(0.5) for _ in range(64)]

    assert drawn(1) == drawn(1) != drawn(2)


async def test_a_slow_receiver_times_out_as_githubs_does(hub: "Running", receiver: "Receiver") -> None:
    api: Any = hub.server.config.app
    api.state.hub.deliveries._timeout = 0.3
    receiver.delay_s = 5
    hook = await hub.hooked(receiver)
    (item,) = await hub.deliveries(hook, 1)
    assert (item["status"], item["status_code"]) == ("timed out", 504)
    await asyncio.sleep(0)


async def test_what_is_not_named_again_is_off_again(hub: "Running", receiver: "Receiver") -> None:
    everything = {
        "drop": 1,
        "duplicate": 1,
        "reorder": 9,
        "delay_s": 1,
        "corrupt_signature": 1,
        "oversize": 1,
        "wrong_event": 1,
        "status": 500,
        "behind_s": 1,
        "seed": 7,
    }
    hook = await hub.hooked(receiver)
    await receiver.wait(1)
    assert set(everything) == set(Faults.model_fields), "a fault that no test sets"
    assert await hub.json("PUT", "/_faults", json=everything) == everything
    await hub.client.post(f"{HOOKS}/{hook}/pings")
    assert await hub.json("PUT", "/_faults", json={}) == Faults().model_dump()
    await hub.client.post(f"{HOOKS}/{hook}/pings")
    got = (await receiver.wait(2))[1]
    assert len(await receiver.quiet()) == 2
    assert (got.event, got.genuine, got.size) == ("ping", True, len(got.body))
