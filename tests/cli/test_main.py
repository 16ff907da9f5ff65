"""The command as a whole: what it loads, whom it shows which key, and the platform beside it."""

import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from stackly.cli.main import first_word
from tests.cli.fake_api import FakeApi, Stackly, a_run

ME = {"login": "ann", "roles": ["viewer"], "groups": []}


def test_the_version_loads_no_heavy_library() -> None:
    heavy = ("typer", "httpx", "rich", "yaml", "pydantic", "sqlalchemy", "fastapi")
    code = (
        f"import sys, stackly.cli.main as m; c = m.run(['version']); print([h for h in {heavy} if h in sys.modules], c)"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.splitlines()[0].startswith("stackly ")
    assert said.splitlines()[1] == "[] 0"


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["run", "list"], "run"),
        (["--server", "http://x", "run"], "run"),
        (["--server=http://x", "run"], "run"),
        (["--help"], None),
        ([], None),
    ],
)
def test_the_first_word(argv: list[str], word: str | None) -> None:
    assert first_word(argv) == word


def test_help_names_every_command(stackly: Stackly) -> None:
    said = stackly("--help")
    assert said.code == 0
    words = "up down status logs doctor version completion demo repo stack run suite agent event inventory approval"
    assert {w for w in f"{words} approve deny explain schema login policy".split() if f" {w} " not in said.out} == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(stackly: Stackly, shell: str) -> None:
    assert "_STACKLY_COMPLETE" in stackly("completion", shell).out


def _key_sent(api: FakeApi) -> str | None:
    return api.seen("GET", "/runs/r1")[-1].headers.get("authorization")


def test_keys_are_found_in_order(api: FakeApi, stackly: Stackly, monkeypatch: pytest.MonkeyPatch) -> None:
    api.get("/runs/r1", a_run())
    api.get("/me", ME)
    stackly("run", "show", "r1")
    assert _key_sent(api) == "Bearer stk_own_secret"
    monkeypatch.setattr("sys.stdin", io.StringIO("stk_login\n"))
    assert stackly("login", "--with-token").code == 0
    stackly("run", "show", "r1")
    assert _key_sent(api) == "Bearer stk_login"
    monkeypatch.setenv("STACKLY_TOKEN", "stk_told")
    stackly("run", "show", "r1")
    assert _key_sent(api) == "Bearer stk_told"


@pytest.mark.parametrize("given", ["http://[::1", "http://[x]/", "http://a:99999", "http://a:b", "//", "x", "file:///"])
def test_what_is_no_address_is_refused_as_usage(stackly: Stackly, given: str) -> None:
    done = stackly("--server", given, "run", "list")
    assert done.code == 2
    assert "no address" in done.err


def test_the_homes_key_goes_to_the_homes_server_only(api: FakeApi, stackly: Stackly) -> None:
    other = FakeApi()
    other.start()
    try:
        other.get("/runs/r1", a_run())
        other.get("/inventory", {"leftovers": 0, "items": []})
        assert stackly("--server", other.url, "run", "show", "r1").code == 0
        assert _key_sent(other) is None
    finally:
        other.stop()


def test_a_login_is_kept_for_its_server_and_private(
    api: FakeApi, stackly: Stackly, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.get("/me", ME)
    monkeypatch.setattr("sys.stdin", io.StringIO("stk_login\n"))
    assert "stk_login" not in stackly("login", "--with-token").out
    kept = home / "logins.json"
    assert json.loads(kept.read_text()) == {api.url: "stk_login"}
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_a_refused_key_is_not_kept(api: FakeApi, stackly: Stackly, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api.get("/me", {"title": "no", "kind": "unauthenticated"}, 401)
    monkeypatch.setattr("sys.stdin", io.StringIO("stk_bad\n"))
    assert stackly("login", "--with-token").code == 4
    assert not (home / "logins.json").exists()


def test_the_platform_is_a_process_with_json_answers(stackly: Stackly, home: Path) -> None:
    said = stackly("status", "--json")
    assert (said.code, said.err) == (0, "")
    names = {c["name"] for c in said.json["components"]}
    assert names == {"postgres", "temporal", "s3", "hub", "api", "gateway", "dispatcher", "control", "agent"}
    assert {c["state"] for c in said.json["components"]} == {"stopped"}
    unknown = stackly("logs", "kitchen", "--json")
    assert (unknown.code, unknown.out) == (2, "")
    assert "no component" in json.loads(unknown.err)["detail"]
    assert stackly("logs", "api").code == 5
    (home / "logs").mkdir()
    (home / "logs" / "api.log").write_text("one\ntwo\n")
    assert stackly("logs", "api").out == "one\ntwo\n"
    assert [i["text"] for i in stackly("logs", "api", "--json").json["items"]] == ["one", "two"]


def test_a_reader_that_leaves_is_no_error(home: Path) -> None:
    argv = [sys.executable, "-m", "stackly.cli.main", "schema", "suite"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ})
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 0
