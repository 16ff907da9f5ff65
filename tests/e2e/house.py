"""The whole platform of one home, as a person and as GitHub meet it: HTTP, git, and nothing behind them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from stackly import ids
from stackly.local import platform
from stackly.local.home import Home, configured
from tests.e2e import recorder

T = TypeVar("T")
Json = dict[str, Any]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# An open loop: the load takes its time, and leaves the machine to what is tested.
GENTLY = {"clients: 4}": "clients: 4, rate: 100}"}
TERMINAL = {"succeeded", "failed", "cancelled", "rejected", "superseded"}
_AUTHOR = {f"GIT_{who}_{what}": "octo" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


class Refused(AssertionError):  # noqa: N818 - it reads as what happened
    """The API said no. Shape: `status` and its problem object."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status = answer.status_code
        self.problem: Json = answer.json()
        super().__init__(f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text[:800]}")


@dataclass
class House:
    """A running platform. Shape: `recorder` is the directory of the Stroppy-shaped program it was started with."""

    home: Path
    recorder: Path
    endpoints: Mapping[str, str] = field(default_factory=dict)
    # One for all: each new one reads every root certificate. No connection is kept: what serves them may be killed.
    http: httpx.Client = field(
        default_factory=lambda: httpx.Client(
            timeout=60, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )
    )

    def start(self) -> House:
        """`stackly up`, as often as asked, each time with the same environment: what starts later inherits it."""
        with pytest.MonkeyPatch.context() as environment:
            environment.delenv("TF_CLI_CONFIG_FILE", raising=False)
            environment.setenv("STACKLY_STROPPY", str(self.recorder / "stroppy"))
            environment.setenv("STACKLY_SANDBOX_READABLE", sys.prefix)  # the recorder's libraries
            self.endpoints = platform.up(self.home).endpoints
        return self

    @property
    def token(self) -> str:
        return (self.home / "token").read_text().strip()

    @property
    def settings(self) -> Json:
        return configured(Home(self.home)).settings

    @property
    def secrets(self) -> dict[str, str]:
        return configured(Home(self.home)).secrets

    def get(self, path: str, **query: Any) -> Any:
        return self._asked("GET", path, params=query)

    def post(self, path: str, body: Json | None = None) -> Any:
        return self._asked("POST", path, json=body or {}, headers={"Idempotency-Key": ids.new_id()})

    def _asked(self, verb: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Any:
        signed = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        url = f"{self.endpoints['api_url']}/api/v1/{path}"
        answer = self.http.request(verb, url, headers=signed, **more)
        if answer.is_error:
            raise Refused(answer)
        return answer.json()

    def faults(self, **faults: Any) -> None:
        self.hub("PUT", "/_faults", faults)

    def hub(self, verb: str, path: str, body: Json) -> None:
        """As a script asks the hub."""
        signed = {"Authorization": f"Bearer {(self.home / 'hub-token').read_text().strip()}"}
        url = f"{self.endpoints['hub_url']}{path}"
        self.http.request(verb, url, json=body, headers=signed).raise_for_status()

    def repository(self, name: str, place: Path) -> Repository:
        """A new repository in the hub, connected to the platform."""
        self.hub("POST", "/user/repos", {"name": name})
        added = self.post("repos", {"url": f"developer/{name}"})
        return Repository(self, name, added["clone_url"], place / name, added["id"]).begin()

    def stack(self, name: str, ref: str = "") -> Json:
        found: Json = self.get(f"stacks/{name}", **({"ref": ref} if ref else {}))
        return found

    def runs(self, **query: Any) -> list[Json]:
        found: list[Json] = self.get("runs", limit=100, **query)["items"]
        return found

    def ended(self, run: str, timeout_s: float = 180) -> Json:
        """Wait for a run's end."""
        return self.until(lambda: self.get(f"runs/{run}"), lambda r: r["status"] in TERMINAL, timeout_s)

    def until(self, look: Callable[[], T], good: Callable[[T], bool], timeout_s: float = 60) -> T:
        """Look again until it is good; what was seen last is in the failure."""
        until = time.monotonic() + timeout_s
        while True:
            seen = look()
            if good(seen):
                return seen
            assert time.monotonic() < until, f"not within {timeout_s} s; last seen: {str(seen)[:3000]}"
            time.sleep(0.2)

    def processed(self, repo: Repository, **heads: str) -> Json:
        """Wait until these branches' heads are what the platform processed last."""
        wanted = {f"refs/heads/{name.replace('__', '/')}": commit for name, commit in heads.items()}
        return self.until(lambda: self.get(f"repos/{repo.id}"), lambda r: wanted.items() <= r["last_processed"].items())


@dataclass
class Repository:
    """A developer's clone of a hub repository."""

    house: House
    name: str
    url: str
    clone: Path
    id: str

    def begin(self) -> Repository:
        self.clone.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "origin", self.url)
        return self

    def git(self, *argv: str) -> str:
        environment = {**os.environ, **_AUTHOR}
        done = subprocess.run(
            ["git", "-C", str(self.clone), *argv], env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def example(self, name: str, path: str, *, stack: str = "", changed: Mapping[str, str] | None = None) -> None:
        """Copy an example to `path`, under another stack name; `changed` replaces texts in its suite."""
        shutil.copytree(EXAMPLES / name, self.clone / path)
        config, suite = self.clone / path / "stackly.hcl", self.clone / path / "suite.yaml"
        config.write_text(config.read_text().replace(f'"{name}"', f'"{stack or path}"'))
        text = suite.read_text()
        for old, new in (changed or {}).items():
            assert old in text, f"{old} is not in {suite}"
            text = text.replace(old, new)
        suite.write_text(text)

    def write(self, files: Mapping[str, str | None]) -> None:
        """None removes a file or a directory."""
        for name, text in files.items():
            path = self.clone / name
            if text is None:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def commit(self, subject: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def push(self, files: Mapping[str, str | None], subject: str, branch: str = "main") -> str:
        """Write, commit and push. Returns the commit."""
        self.write(files)
        commit = self.commit(subject)
        self.git("push", "-q", "origin", f"HEAD:refs/heads/{branch}")
        return commit


@contextmanager
def running(name: str) -> Iterator[House]:
    """The whole platform on free ports; it is wiped at the end."""
    # Not below pytest's own directory, which every session closes to others: Postgres walks through as another user.
    place = Path(tempfile.mkdtemp(prefix=f"stackly-{name}-"))
    place.chmod(0o711)
    house = House(place / "home", place / "recorder")
    try:
        recorder.install(house.recorder)
        yield house.start()
    finally:
        platform.down(house.home, wipe=True)
        shutil.rmtree(place, ignore_errors=True)


PLAIN_TF = """resource "terraform_data" "thing" {
  input = "first"
}

output "thing" {
  value = terraform_data.thing.output
}
"""


def plain(name: str, more: str = "") -> str:
    """The stackly.hcl of a plain stack."""
    return f'stack "{name}" {{\n  version = "1.0.0"\n{more}}}\n'
