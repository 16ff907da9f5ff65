import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from agent.processes import Capture, Redactor, clean_environment, run, spawn
from stackly.errors import NotFound
from stackly.log import MASK


def script(text: str) -> list[str]:
    return [sys.executable, "-c", text]


async def test_a_child_leads_its_own_group_in_a_clean_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_TOKEN", "stk_secret_value")
    out = tmp_path / "out"
    ended = await run(
        script("import os; print(os.getpgid(0) == os.getpid(), os.getcwd(), sorted(os.environ))"),
        cwd=tmp_path,
        stdout=Capture(out),
        env={"GIVEN": "1"},
    )
    text = out.read_text()
    assert ended.code == 0
    assert text.startswith(f"True {tmp_path}")
    assert "'GIVEN'" in text
    assert "AGENT_TOKEN" not in text
    assert out.stat().st_mode & 0o777 == 0o600


async def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no-such-program"):
        await spawn(["no-such-program"], cwd=tmp_path)


STUBBORN = (
    "import os, signal, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "if os.fork() == 0:\n    time.sleep(600)\n"
    "print('ready', flush=True); time.sleep(600)\n"
)


async def _group(child: int) -> list[psutil.Process]:
    return [p for p in psutil.process_iter() if _pgid(p) == child and p.status() != psutil.STATUS_ZOMBIE]


def _pgid(process: psutil.Process) -> int:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return -1


async def test_a_child_that_ignores_signals_is_killed_with_its_children(tmp_path: Path) -> None:
    ready = asyncio.Event()
    capture = Capture(tmp_path / "out", on_line=lambda _: ready.set())
    child = await spawn(script(STUBBORN), cwd=tmp_path, stdout=capture)
    await asyncio.wait_for(ready.wait(), 20)
    assert len(await _group(child.pid)) == 2
    ended = await child.stop(grace=0.2)
    assert ended.code == 128 + signal.SIGKILL
    for _ in range(100):
        if not await _group(child.pid):
            break
        await asyncio.sleep(0.05)
    assert not await _group(child.pid)


@pytest.mark.parametrize("how", ["cancelled", "timeout"])
async def test_cancel_and_timeout_end_it_and_say_which(tmp_path: Path, how: str) -> None:
    cancelled = asyncio.Event()
    if how == "cancelled":
        asyncio.get_running_loop().call_later(0.3, cancelled.set)
    ended = await run(["sleep", "600"], cwd=tmp_path, cancelled=cancelled, timeout=0.5 if how == "timeout" else None)
    assert ended.stopped == how
    assert ended.code == 128 + signal.SIGTERM


async def test_a_cancelled_task_leaves_no_child(tmp_path: Path) -> None:
    child = await spawn(["sleep", "600"], cwd=tmp_path)
    waiting = asyncio.create_task(child.wait())
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not child.running()


async def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import asyncio, os, signal, sys, pathlib\n"
        f"sys.path.insert(0, {str(Path.cwd())!r})\n"
        "from agent.processes import spawn\n"
        "async def main() -> None:\n"
        "    child = await spawn(['sleep', '600'], cwd=pathlib.Path('.'), die_with_parent=signal.SIGTERM)\n"
        "    await asyncio.sleep(0.5)\n"  # setpriv must have had its turn
        "    print(child.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    ended = await run(script(code), cwd=tmp_path, stdout=Capture(tmp_path / "out"))
    assert ended.code == 128 + signal.SIGKILL
    pid = int((tmp_path / "out").read_text())
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        await asyncio.sleep(0.05)
    pytest.fail("the child outlived its parent")


async def test_output_keeps_its_head_and_its_newest_part_within_the_cap(tmp_path: Path) -> None:
    seen: list[str] = []
    out = tmp_path / "out"
    await run(
        script("for i in range(20000): print(f'line {i:06d}')"),
        cwd=tmp_path,
        stdout=Capture(out, cap=20_000, on_line=seen.append),
    )
    text = out.read_text()
    assert len(seen) == 20000
    assert len(text) < 21_000
    assert text.startswith("line 000000\n")
    assert text.endswith("line 019999\n")
    assert "bytes left out" in text


async def test_secrets_are_masked_before_they_are_seen_or_stored(tmp_path: Path) -> None:
    seen: list[str] = []
    redactor = Redactor(["pass/word:1"])
    text = "a pass/word:1 b pass%2Fword%3A1 c postgres://u:other@h/d"
    await run(
        script(f"print({text!r})"), cwd=tmp_path, stdout=Capture(tmp_path / "o", redactor=redactor, on_line=seen.append)
    )
    wanted = f"a {MASK} b {MASK} c postgres://u:{MASK}@h/d"
    assert seen == [wanted]
    assert (tmp_path / "o").read_text() == wanted + "\n"


def test_a_clean_environment_has_a_path_and_a_home(tmp_path: Path) -> None:
    env = clean_environment(tmp_path)
    assert env["HOME"] == str(tmp_path)
    assert env["TMPDIR"] == str(tmp_path), "a child in a temporary directory is still below the machine's"
    assert set(env) == {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"}
