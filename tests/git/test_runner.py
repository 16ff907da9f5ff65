import asyncio
import base64
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stackly.errors import Faulty, Invalid, Unavailable
from stackly.git.runner import Runner, failure

if TYPE_CHECKING:
    from tests.git.conftest import Repository


def program(tmp_path: Path, script: str) -> str:
    """A git that does what a test wants."""
    path = tmp_path / "git"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c id",
        "ssh://-oProxyCommand=id/x",
        "git://example.invalid/x",
        "http://example.invalid/x",
        "file:///etc",
        "https://user:pass@example.invalid/x",
        "https://token@example.invalid/x",
        "--upload-pack=id",
        "/etc",
        "https:///x",
        "https://example.invalid/x\ny",
        "https://[::1/x",
        "",
    ],
)
async def test_only_plain_https_is_a_remote(tmp_path: Path, url: str) -> None:
    with pytest.raises(Invalid):
        await Runner().run(tmp_path, "ls-remote", "--end-of-options", url, url=url)


def test_protocols_are_of_a_closed_list() -> None:
    with pytest.raises(Invalid):
        Runner(protocols=frozenset({"ext"}))


# Twice: what is inherited can be read again.
_MINE, _OTHERS = "https://example.invalid:8443/a/b.git", "https://example.invalid/a/b.git"
_ASK = "; ".join(f"git config --get-urlmatch http.extraHeader {url}" for url in (_MINE, _OTHERS, _MINE)) + "; true"


async def test_git_itself_refuses_protocols_when_the_check_is_passed_by(tmp_path: Path, repo: "Repository") -> None:
    repo.commit({"x": "1"})
    marker = tmp_path / "ran"
    for url in (repo.url, str(repo.path), f"ext::sh -c 'touch {marker}'"):
        with pytest.raises((Invalid, Faulty)):
            await Runner().run(tmp_path, "ls-remote", "--end-of-options", url)
    assert not marker.exists()


async def test_the_environment_is_clean_and_the_token_is_neither_there_nor_in_argv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    git = program(tmp_path, 'env; echo "argv: $*"\n')
    url = "https://example.invalid:8443/a/b.git"
    text = (await Runner(program=git).run(tmp_path, "fetch", url, url=url, token="t0ken")).out.decode()
    assert "canary" not in text
    assert "GIT_DIR=" not in text
    assert "GIT_ALLOW_PROTOCOL=https" in text
    assert "t0ken" not in text
    assert base64.b64encode(b"x-access-token:t0ken").decode() not in text


@pytest.mark.parametrize(("token", "presented"), [("t0ken", True), (None, False)])
async def test_the_token_is_for_its_host_alone_and_a_child_of_git_knows_it_too(
    tmp_path: Path, token: str | None, presented: bool
) -> None:
    git = program(tmp_path, f'exec git -c alias.child="!{_ASK}" "$@"\n')
    url = "https://example.invalid:8443/a/b.git"
    asked = (await Runner(program=git).run(tmp_path, "child", url=url, token=token)).out.decode().splitlines()
    secret = "Authorization: Basic " + base64.b64encode(b"x-access-token:t0ken").decode()
    assert asked == ([secret, secret] if presented else [])


async def test_a_hanging_git_and_its_children_are_dead_in_time(tmp_path: Path) -> None:
    git = program(tmp_path, f"sleep 300 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/self; wait\n")
    with pytest.raises(Faulty, match="did not end"):
        await Runner(program=git, timeout=1.5).run(tmp_path, "log")
    for name in ("child", "self"):
        assert not alive(int((tmp_path / name).read_text()))
    url = "https://example.invalid/x"
    with pytest.raises(Unavailable):
        await Runner(program=git, timeout=0.5).run(tmp_path, "fetch", url, url=url)


async def test_a_cancelled_call_leaves_no_process(tmp_path: Path) -> None:
    git = program(tmp_path, f"echo $$ > {tmp_path}/self.tmp; mv {tmp_path}/self.tmp {tmp_path}/self; exec sleep 300\n")
    task = asyncio.create_task(Runner(program=git).run(tmp_path, "log"))
    while not (tmp_path / "self").exists():  # noqa: ASYNC110 - a process makes the file, no event of ours
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(int((tmp_path / "self").read_text()))


async def test_a_child_that_outlives_its_git_is_dead_at_the_end(tmp_path: Path) -> None:
    git = program(tmp_path, f"sleep 300 >/dev/null 2>&1 </dev/null & echo $! > {tmp_path}/child\n")
    for _ in range(10):
        await Runner(program=git).run(tmp_path, "log")
        assert not alive(int((tmp_path / "child").read_text()))


async def test_endless_output_is_cut(tmp_path: Path) -> None:
    git = program(tmp_path, "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done\n")
    with pytest.raises(Faulty, match="printed more"):
        await Runner(program=git, output_cap=100_000).run(tmp_path, "log")


async def test_endless_errors_are_cut_and_masked(tmp_path: Path) -> None:
    git = program(tmp_path, "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 3\n")
    with pytest.raises(Faulty) as caught:
        await Runner(program=git).run(tmp_path, "log")
    assert len(caught.value.detail) < 1000
    secret = program(tmp_path, "echo 'fatal: https://u:hunter2@example.invalid' >&2; exit 3\n")
    with pytest.raises(Faulty) as masked:
        await Runner(program=secret).run(tmp_path, "log")
    assert "hunter2" not in masked.value.detail


async def test_a_missing_git_says_so() -> None:
    with pytest.raises(Faulty, match="installed"):
        await Runner(program="/nonexistent/git").run(Path("/"), "version")


async def test_limits_hold_for_the_process(tmp_path: Path) -> None:
    git = program(tmp_path, "sleep 0.3; cat /proc/self/limits\n")
    result = await Runner(program=git, memory_cap=512 * 1024**2).run(tmp_path, "log")
    limits = {line[:20].strip(): line for line in result.out.decode().splitlines()}
    assert str(512 * 1024**2) in limits["Max address space"]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("fatal: unable to access 'https://x/': Could not resolve host: x", Unavailable),
        ("fatal: unable to access 'http://x/': The requested URL returned error: 503", Unavailable),
        ("fatal: repository 'http://x/' not found", Unavailable),
        ("error: object 1f: hasDotdot: contains '..'\nfatal: fsck error in packed object", Invalid),
        ("fatal: transport 'ext' not allowed", Invalid),
        ("fatal: bad object 1f", Faulty),
        ("", Faulty),
    ],
)
def test_gits_words_become_kinds(said: str, kind: type[Exception]) -> None:
    assert type(failure("fetch", 128, said)) is kind


async def test_nothing_of_the_callers_environment_is_needed(tmp_path: Path) -> None:
    result = await Runner(path=os.environ["PATH"]).run(tmp_path, "version")
    assert result.out.startswith(b"git version")
