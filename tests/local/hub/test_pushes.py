"""Real pushes, and what the receiver hears of them."""

import asyncio
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackly.git.payloads import ZERO, read

if TYPE_CHECKING:
    from tests.local.hub.conftest import Got, Receiver, Running, Work


def payload(got: "Got") -> dict[str, Any]:
    """The body of a signed push that our own reader understands; GitHub's schema of it is checked by the receiver."""
    assert (got.event, got.genuine) == ("push", True)
    data: dict[str, Any] = json.loads(got.body)
    assert read("push", got.body).kind == "push"
    return data


async def pushed(hub: "Running", receiver: "Receiver", work: "Work", *args: str) -> list[dict[str, Any]]:
    """Push, and give what was said about it."""
    before = len(receiver.got)
    await work.push(*args)
    return [payload(got) for got in (await receiver.quiet())[before:]]


async def test_every_kind_of_push(hub: "Running", receiver: "Receiver", work: "Work") -> None:  # noqa: PLR0915 - one story of one repository
    await hub.hooked(receiver)
    (ping,) = await receiver.wait(1)
    assert (ping.event, ping.genuine) == ("ping", True)
    assert read("ping", ping.body).kind == "ping"

    one = await work.commit({"a/stackly.hcl": "1", "a/main.tf": "1"}, "one\n\nbody")
    (said,) = await pushed(hub, receiver, work, "main")
    assert (said["ref"], said["before"], said["after"]) == ("refs/heads/main", ZERO, one)
    assert (said["created"], said["deleted"], said["forced"], said["base_ref"]) == (True, False, False, None)
    assert said["head_commit"]["added"] == ["a/main.tf", "a/stackly.hcl"]
    assert said["head_commit"]["message"] == "one\n\nbody"
    assert said["head_commit"]["author"] == {"name": "Ada", "email": "ada@example.invalid"}
    assert said["repository"]["full_name"] == "acme/stacks"
    assert said["compare"] == f"{hub.url}/acme/stacks/compare/main"

    two = await work.commit({"a/main.tf": "2"}, "two")
    three = await work.commit({"b/stackly.hcl": "x"}, "three")
    (said,) = await pushed(hub, receiver, work, "main")
    assert [c["id"] for c in said["commits"]] == [two, three]
    assert [(c["added"], c["modified"]) for c in said["commits"]] == [([], ["a/main.tf"]), (["b/stackly.hcl"], [])]
    assert (said["before"], said["created"], said["forced"]) == (one, False, False)
    assert all(c["distinct"] for c in said["commits"])
    assert said["compare"].endswith(f"/compare/{one[:12]}...{three[:12]}")

    await work.git("mv", "a", "c")
    moved = await work.commit({}, "move")
    (said,) = await pushed(hub, receiver, work, "main")
    assert said["head_commit"]["removed"] == ["a/main.tf", "a/stackly.hcl"]
    assert said["head_commit"]["added"] == ["c/main.tf", "c/stackly.hcl"]

    await work.git("reset", "-q", "--hard", two)
    rewritten = await work.commit({"z": "z"}, "rewrite")
    (said,) = await pushed(hub, receiver, work, "-f", "main")
    assert (said["forced"], said["before"], said["after"]) == (True, moved, rewritten)
    assert [c["id"] for c in said["commits"]] == [rewritten]

    (said,) = await pushed(hub, receiver, work, "main:refs/heads/feat/x")
    assert (said["created"], said["commits"], said["base_ref"]) == (True, [], "refs/heads/main")
    assert said["head_commit"]["id"] == rewritten
    assert said["head_commit"]["distinct"] is False

    (said,) = await pushed(hub, receiver, work, ":refs/heads/feat/x")
    assert (said["deleted"], said["after"], said["head_commit"], said["commits"]) == (True, ZERO, None, [])

    await work.git("tag", "-am", "v1", "v1")
    (said,) = await pushed(hub, receiver, work, "v1")
    assert said["after"] == await work.git("rev-parse", "v1")
    assert said["after"] != said["head_commit"]["id"] == rewritten
    assert said["base_ref"] == "refs/heads/main"

    for n in range(4):
        await work.git("tag", f"t{n}")
    assert await pushed(hub, receiver, work, "--tags") == []
    for n in range(3):
        await work.git("tag", f"u{n}")
    assert len(await pushed(hub, receiver, work, "--tags")) == 3


async def test_merges_list_what_they_brought_to_the_branch(hub: "Running", receiver: "Receiver", work: "Work") -> None:
    await hub.hooked(receiver)
    await work.commit({"x": "1"})
    await work.push("main")
    await receiver.wait(2)
    await work.git("checkout", "-q", "-b", "side")
    await work.commit({"side": "1"})
    await work.git("checkout", "-q", "main")
    await work.commit({"y": "1"})
    await work.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    (said,) = await pushed(hub, receiver, work, "main")
    assert len(said["commits"]) == 3
    assert said["head_commit"]["added"] == ["side"]


async def test_many_commits_are_cut_at_githubs_number(hub: "Running", receiver: "Receiver", work: "Work") -> None:
    await hub.hooked(receiver)
    await receiver.wait(1)
    lines = "".join(
        f"commit refs/heads/main\ncommitter A <a@x> {1_700_000_000 + n} +0000\ndata 1\n{n % 10}\n"
        f"M 644 inline f\ndata {len(str(n))}\n{n}\n"
        for n in range(2060)
    )
    (work.path / "stream").write_text(lines)
    await work.git("-c", "alias.imp=!git fast-import --quiet < stream", "imp")
    (work.path / "stream").unlink()
    (said,) = await pushed(hub, receiver, work, "main")
    assert len(said["commits"]) == 2048
    assert said["commits"][-1]["id"] == said["head_commit"]["id"] == said["after"]


async def test_a_large_push_and_a_clone_go_through(
    hub: "Running", receiver: "Receiver", work: "Work", tmp_path: Path
) -> None:
    await hub.hooked(receiver)
    (work.path / "noise").write_bytes(random.Random(1).randbytes(8 * 1024 * 1024))
    head = await work.commit({})
    (said,) = await pushed(hub, receiver, work, "main")
    assert said["after"] == head
    await work.git("clone", "-q", hub.remote(), str(tmp_path / "clone"))
    assert (tmp_path / "clone/noise").read_bytes() == (work.path / "noise").read_bytes()
    await work.git("clone", "-q", "--bare", "--filter=blob:none", hub.remote(), str(tmp_path / "thin"))


async def test_who_pushes_is_read_from_the_key_never_from_the_user_name(
    hub: "Running", receiver: "Receiver", work: "Work"
) -> None:
    await hub.hooked(receiver)
    await work.commit({"x": "1"})
    await work.git("push", "-q", hub.remote(key="key-of-lin").replace("anybody", "developer"), "main")
    said = payload((await receiver.wait(2))[1])
    assert said["pusher"]["name"] == said["sender"]["login"] == "lin"


async def test_the_first_branch_of_an_empty_repository_is_its_default(
    hub: "Running", receiver: "Receiver", work: "Work"
) -> None:
    await hub.hooked(receiver)
    await work.commit({"x": "1"})
    (said,) = (await pushed(hub, receiver, work, "main:refs/heads/trunk"))[-1:]
    assert said["repository"]["default_branch"] == "trunk"
    assert (await hub.json("GET", "/repos/acme/stacks"))["default_branch"] == "trunk"


async def test_pushes_at_once_are_each_announced_once(hub: "Running", receiver: "Receiver", work: "Work") -> None:
    await hub.hooked(receiver)
    await work.commit({"x": "1"})
    await asyncio.gather(*(work.push(f"main:refs/heads/b{n}") for n in range(6)))
    got = await receiver.wait(7)
    assert sorted(payload(g)["ref"] for g in got[1:]) == [f"refs/heads/b{n}" for n in range(6)]
