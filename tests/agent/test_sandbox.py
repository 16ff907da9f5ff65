"""One command in a box: what its end, a stop and the agent's death mean, alike in every kind of isolation."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent import workdir
from agent.sandbox import isolation, launch
from agent.sandbox import users as users_room
from agent.sandbox.box import Box, Kind
from agent.sandbox.isolation import Isolation
from agent.sandbox.launch import Order, Running
from agent.sandbox.users import Users
from stackly import uids
from stackly.errors import Exhausted, Unavailable
from tests.agent.sandboxes import SEPARATING, isolated, open_directory

PATH = "/usr/bin:/bin"
OURS = Path("/proc/self/oom_score_adj").read_text()
MOST_PROCESSES = Path("/proc/sys/kernel/pid_max").read_text()
INTERPRETER = os.path.realpath(sys.executable)


@dataclass
class Room:
    """One box's directory, and the file that its output goes to."""

    home: Path
    isolation: Isolation

    @property
    def directory(self) -> Path:
        return self.home / "work"

    def box(self, *readable: Path) -> Box:
        uid = self.isolation.uid(self.directory)
        return Box(self.directory, (self.directory,), {"PATH": PATH}, readable, uid)

    async def start(self, *argv: str, lasting: bool = False, grace_s: float = 30.0, **more: object) -> Running:
        box = more.get("box") or self.box()
        assert isinstance(box, Box)
        with (self.home / "out").open("wb") as out:
            order = Order(argv, box, grace_s=grace_s, lasting=lasting)
            return await launch.start(self.isolation.kind, order, stdout=out, stderr=out)

    async def says(self, text: str) -> None:
        while text not in self.said:  # noqa: ASYNC110 - another process writes
            await asyncio.sleep(0.01)

    @property
    def said(self) -> str:
        return (self.home / "out").read_text()


@pytest.fixture(params=list(Kind))
def room(request: pytest.FixtureRequest) -> Iterator[Room]:
    with open_directory() as home:
        made = Room(home, isolated(request.param, home))
        made.directory.mkdir(mode=0o700)
        (home / "out").touch()
        workdir.give(made.directory, made.isolation.uid(made.directory))
        yield made


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill $$", 143)])
async def test_the_exit_code_is_the_commands_own(room: Room, script: str, code: int) -> None:
    running = await room.start("sh", "-c", script)
    assert await running.wait() == code


async def test_a_command_that_is_not_there_is_its_own_failure(room: Room) -> None:
    running = await room.start("no-such-program")
    assert await running.wait() == 127
    assert "no-such-program" in room.said


@pytest.mark.parametrize("room", [Kind.BUBBLEWRAP], indirect=True)
async def test_a_sandbox_that_cannot_be_made_is_told_apart_from_the_command(room: Room) -> None:
    running = await room.start("true", box=room.box(room.home / "absent"))
    with pytest.raises(Unavailable, match="could not be made"):
        await running.wait()
    assert "absent" in room.said


async def test_a_stop_is_one_sigterm_to_the_command_alone(room: Room) -> None:
    """Providers must finish what they create: they are not signalled beside Terraform."""
    inner = "sh -c 'trap \"echo inner got it\" TERM; echo ready; while true; do sleep 0.05; done' &"
    running = await room.start("sh", "-c", f"trap 'echo outer got it; exit 3' TERM; {inner} wait")
    await room.says("ready")
    assert await running.stop(20) == 3
    assert "outer got it" in room.said
    assert "inner got it" not in room.said
    await workdir.end_occupants(room.directory)


async def test_who_does_not_heed_it_is_ended_after_the_grace_with_all_it_started(room: Room) -> None:
    running = await room.start(
        "sh", "-c", "trap '' TERM; setsid sleep 9876543 & echo ready; while true; do sleep 1; done"
    )
    await room.says("ready")
    assert await running.stop(0.1) == 137
    await workdir.end_occupants(room.directory)
    assert workdir.occupants(room.directory) == []


async def test_a_signal_of_ones_own_first(room: Room) -> None:
    running = await room.start(
        "sh", "-c", "trap 'exit 4' INT; trap 'exit 5' TERM; echo ready; while true; do sleep 0.05; done"
    )
    await room.says("ready")
    assert await running.stop(20, first=signal.SIGINT) == 4


AGENT = """
import asyncio, os, sys
from pathlib import Path
from agent.sandbox import launch
from agent.sandbox.box import Box, Kind
from agent.sandbox.launch import Order

async def main():
    kind, directory, uid, lasting, script = sys.argv[1:]
    box = Box(Path(directory), (Path(directory),), {"PATH": "/usr/bin:/bin"}, (), int(uid))
    out = os.open(Path(directory).parent / "out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    order = Order(["sh", "-c", script], box, grace_s=0.3, lasting=lasting == "yes")
    running = await launch.start(Kind(kind), order, stdout=out, stderr=out)
    await asyncio.Event().wait()
    running.close()

asyncio.run(main())
"""


async def agent(room: Room, *, lasting: bool, script: str) -> asyncio.subprocess.Process:
    box = room.box()
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", AGENT, str(room.isolation.kind), str(room.directory), str(box.uid)),
        *("yes" if lasting else "no", script),
        cwd=Path(__file__).parents[2],
    )


async def test_with_the_agents_death_the_command_gets_its_sigterm(room: Room) -> None:
    dying = await agent(
        room, lasting=False, script="trap 'echo wrote its state; exit 0' TERM; echo ready; sleep 600 & wait"
    )
    await room.says("ready")
    dying.kill()
    await dying.wait()
    await room.says("wrote its state")
    await workdir.end_occupants(room.directory)


async def test_with_the_agents_death_one_that_does_not_heed_it_ends_after_the_grace(room: Room) -> None:
    dying = await agent(room, lasting=False, script="trap '' TERM; echo ready; while true; do sleep 0.05; done")
    await room.says("ready")
    assert workdir.occupants(room.directory)
    dying.kill()
    await dying.wait()
    assert await workdir.await_empty(room.directory, 30)


async def test_a_lasting_command_outlives_the_agent_and_is_found_by_its_directory(room: Room) -> None:
    dying = await agent(
        room, lasting=True, script="trap 'echo signalled' TERM INT; echo ready; while true; do sleep 0.05; done"
    )
    await room.says("ready")
    dying.kill()
    await dying.wait()
    assert not await workdir.await_empty(room.directory, 0.6), "longer than the grace"
    assert "signalled" not in room.said
    assert await workdir.end_occupants(room.directory)


@pytest.mark.parametrize("room", SEPARATING, indirect=True)
async def test_inside_there_is_no_right_and_no_new_namespace(room: Room) -> None:
    running = await room.start("sh", "-c", "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; unshare -Ur id")
    await running.wait()
    words = room.said.split()
    assert words[1] == "0000000000000000"
    assert words[words.index("NoNewPrivs:") + 1] == "1"
    if room.isolation.kind is Kind.BUBBLEWRAP:
        assert "uid=0" not in room.said


@pytest.mark.parametrize("room", SEPARATING, indirect=True)
async def test_where_the_machine_runs_out_the_box_goes_before_the_platform(room: Room) -> None:
    running = await room.start("sh", "-c", "cat /proc/self/oom_score_adj; cat /proc/self/limits | grep processes")
    assert await running.wait() == 0
    goes_first, _, _, soft, hard, _ = room.said.split()
    assert int(goes_first) > int(OURS)
    assert int(soft) == int(hard) <= int(MOST_PROCESSES) // 2


@pytest.mark.parametrize("room", [Kind.BUBBLEWRAP], indirect=True)
async def test_inside_bubblewrap_there_are_no_kernel_keyrings(room: Room) -> None:
    asks = "import ctypes; c = ctypes.CDLL(None, use_errno=True); print(c.syscall(250, 0, -3, 1), ctypes.get_errno())"
    running = await room.start(INTERPRETER, "-I", "-c", asks)
    assert await running.wait() == 0
    assert room.said.split() == ["-1", "1"]


@pytest.mark.parametrize("room", SEPARATING, indirect=True)
async def test_what_was_found_is_started_whatever_our_path_is(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    running = await room.start("true")
    assert await running.wait() == 0


# -- what is found -----------------------------------------------------------------------------------------------------


def test_the_best_kind_is_found_by_trying_it() -> None:
    with open_directory() as home:
        found = isolation.find(home)
        assert found.kind is isolated(Kind.BUBBLEWRAP, home).kind
        assert found.why == ""
        assert list(home.glob(".sandbox-*")) == []


def test_without_bubblewrap_root_gives_users_and_another_has_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives users of its own")
    monkeypatch.setattr(isolation, "bubblewrap", lambda *_: "bubblewrap is not installed")
    with open_directory() as home:
        found = isolation.find(home)
        assert (found.kind, found.why) == (Kind.USER, "bubblewrap is not installed")
        home.chmod(0o700)
        closed = isolation.find(home / "agent")
        assert closed.kind is Kind.NONE
        assert f"{home} is closed to other users" in closed.why
        assert "NOT isolated" in closed.sentence()


def test_where_a_sandbox_is_required_there_must_be_one() -> None:
    with pytest.raises(Unavailable, match=r"STACKLY_ISOLATION=required.*nothing works"):
        isolation.required(Isolation(Kind.NONE, "nothing works"), must=True)
    found = Isolation(Kind.NONE, "nothing works")
    assert isolation.required(found, must=False) is found


def test_a_home_that_every_sandbox_would_see_is_not_called_separated() -> None:
    assert "which every sandbox sees" in isolation.bubblewrap(Path("/usr/local/stackly"), None, ())


# -- users -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def users(tmp_path: Path) -> Users:
    return Users(tmp_path / "users", range(1_900_000_000, 1_900_000_003))


def test_a_directory_keeps_its_user_and_parts_have_their_own(users: Users, tmp_path: Path) -> None:
    one = users.claim(tmp_path, "database")
    assert users.claim(tmp_path, "database") == one
    assert users.claim(tmp_path, "load") != one


def test_a_user_is_given_back_when_its_directory_is_gone(users: Users, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
        users.claim(tmp_path / name)
    with pytest.raises(Exhausted, match="All 3 users"):
        users.claim(tmp_path)
    (tmp_path / "b").rmdir()
    assert users.claim(tmp_path) == 1_900_000_001


async def test_a_user_is_never_given_again_while_anything_of_it_lives(users: Users, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives users of its own")
    gone = tmp_path / "gone"
    gone.mkdir()
    uid = users.claim(gone)
    living = await asyncio.create_subprocess_exec("sleep", "600", user=uid, cwd="/")
    try:
        gone.rmdir()
        assert uid in uids.alive()
        assert uid not in {users.claim(tmp_path, part) for part in "ab"}
        with pytest.raises(Exhausted):
            users.claim(tmp_path, "c")
    finally:
        living.kill()
        await living.wait()
    assert users.claim(tmp_path, "c") == uid


def test_while_a_directorys_users_are_ended_nobody_is_given_them(
    users: Users, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what another run starts as that user would be ended with them."""
    gone = tmp_path / "gone"
    gone.mkdir()
    uid = users.claim(gone)
    gone.rmdir()
    given: list[int] = []
    claims = threading.Thread(target=lambda: given.append(users.claim(tmp_path)))
    ended: list[tuple[int, list[int]]] = []

    def end_user(number: int) -> None:
        claims.start()
        claims.join(0.5)
        ended.append((number, list(given)))

    monkeypatch.setattr(users_room, "end_user", end_user)
    users.end(gone)
    claims.join()
    assert ended == [(uid, [])]
    assert given == [uid]


def test_the_range_is_chosen_once_and_is_nobodys(tmp_path: Path) -> None:
    users = Users(tmp_path / "users")
    first = users.claim(tmp_path, "a")
    assert Users(tmp_path / "users").claim(tmp_path, "a") == first
    assert first > 65535 or 20_000 <= first < 60_000
    assert (tmp_path / "users").stat().st_mode & 0o777 == 0o700
