"""Real repositories, made by a git of its own configuration."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from stackly.git.mirrors import Mirror
from stackly.git.runner import Runner

# A shared machine is slow at times; that is no finding of these tests.
settings.register_profile("git", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
settings.load_profile("git")

_ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.invalid",
    "GIT_COMMITTER_NAME": "Lin",
    "GIT_COMMITTER_EMAIL": "lin@example.invalid",
    "GIT_AUTHOR_DATE": "2026-01-02T03:04:05+02:00",
    "GIT_COMMITTER_DATE": "2026-01-02T03:04:06+02:00",
    "GIT_ALLOW_PROTOCOL": "file:http",
}


@dataclass(frozen=True)
class Repository:
    """A work tree that people would push from."""

    path: Path

    def git(self, *args: str, stdin: bytes | None = None) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.path), "-c", "protocol.file.allow=always", *args],
            check=True,
            capture_output=True,
            env=_ENV,
            input=stdin,
        )
        return done.stdout.decode("utf-8", "replace").strip()

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def commit_object(self, parent: str, about: bytes, message: bytes) -> str:
        """A commit on main of exactly these bytes, with its parent's tree."""
        tree = self.git("rev-parse", f"{parent}^{{tree}}")
        body = f"tree {tree}\nparent {parent}\n".encode() + about + b"\n" + message + b"\n"
        made = self.git("hash-object", "-t", "commit", "--literally", "-w", "--stdin", stdin=body)
        self.git("update-ref", "refs/heads/main", made)
        return made

    def commit(self, files: dict[str, str] | None = None, message: str = "change") -> str:
        self.write(files or {})
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def tree(self, *entries: tuple[str, bytes, str]) -> str:
        """A tree object of (mode, name, object id), unchecked."""
        raw = b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(oid) for mode, name, oid in entries)
        return self.git("hash-object", "-t", "tree", "--literally", "-w", "--stdin", stdin=raw)

    def blob(self, content: bytes = b"x") -> str:
        return self.git("hash-object", "-w", "--stdin", stdin=content)

    def commit_tree(self, tree: str) -> str:
        """Make a tree the only branch's head."""
        body = f"tree {tree}\nauthor A <a@x> 1 +0000\ncommitter A <a@x> 1 +0000\n\nhostile\n".encode()
        commit = self.git("hash-object", "-t", "commit", "--literally", "-w", "--stdin", stdin=body)
        self.git("update-ref", "refs/heads/main", commit)
        return commit

    @property
    def url(self) -> str:
        return f"file://{self.path}"


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "upstream")
    made.path.mkdir()
    made.git("init", "-q", "-b", "main")
    return made


@pytest.fixture
def runner() -> Runner:
    return Runner(protocols=frozenset({"file"}), timeout=20)


@pytest.fixture
def mirror(tmp_path: Path, repo: Repository, runner: Runner) -> Mirror:
    return Mirror(tmp_path / "mirrors", "r1", repo.url, runner)
