"""What the edge tests share: a step context that keeps what it is given, secrets, a replaying Stroppy."""

import asyncio
import json
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from agent.edge import EdgeWork
from agent.sandbox import part as parts
from agent.sandbox.box import Kind
from agent.sandbox.isolation import Isolation, find
from agent.sandbox.part import Part
from stackly.engine.contracts.edge import DatabaseInput, DatabaseOutcome, Endpoint, WorkloadSpec
from stackly.temporal.steps import StepKey

KEY = StepKey(run="r1", test="t1", step="s", attempt=1, epoch=1)

# Where a server's major changes nothing: that of every day, and the others at night.
ONE_MAJOR = pytest.mark.parametrize("running", ["18", pytest.param("16", marks=pytest.mark.nightly)], indirect=True)


@dataclass
class Secrets:
    superuser: str = "stackly"
    superuser_password: str = "sup3r-Secret-word"
    user: str = "load"
    user_password: str = "l0ad-Secret:word\\x"
    database: str = "bench"


@dataclass
class KeptContext:
    """A StepContext that keeps logs, points and artifacts in memory."""

    key: StepKey = KEY
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    logs: list[tuple[str, str]] = field(default_factory=list)
    points: list[dict[str, Any]] = field(default_factory=list)
    artifacts: dict[str, bytes] = field(default_factory=dict)

    def log(self, text: str, level: str = "info") -> None:
        self.logs.append((level, text))

    def point(self, **point: Any) -> None:
        self.points.append(point)

    async def read_tree(self) -> bytes:
        return b""

    async def read_state(self) -> bytes:
        return b""

    async def write_state(self, state: bytes) -> tuple[bool, str]:
        return True, ""

    async def put_artifact(self, name: str, path: Path, media_type: str = "") -> str:
        self.artifacts[name] = await asyncio.to_thread(path.read_bytes)
        return f"key/{name}"

    async def issue_enrolment(self, machine: str) -> Any:
        raise AssertionError("an edge step enrols nobody")


def unboxed(directory: Path) -> Part:
    """Without a sandbox: for programs of the tests that read and write beside themselves."""
    return parts.of(Isolation(Kind.NONE), directory, "load")


def boxed(directory: Path) -> Part:
    """As an edge agent would: in the best sandbox there is."""
    return parts.of(find(directory), directory, "load")


def free_port_now() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Running:
    work: EdgeWork
    endpoint: Endpoint
    given: DatabaseInput
    outcome: DatabaseOutcome


RUNS = Path(__file__).with_name("stroppy_runs")


RECORDER = """#!/usr/bin/env python3
import json, os, pathlib, signal, sys, time
plan = json.loads(pathlib.Path(__file__).with_name("plan.json").read_text())
here = pathlib.Path(__file__).parent
args = sys.argv[1:]
with (here / "calls.jsonl").open("a") as out:
    passfile = os.environ.get("PGPASSFILE", "")
    mode = oct(os.stat(passfile).st_mode & 0o777) if passfile else ""
    given = pathlib.Path(passfile).read_text() if passfile else ""
    config = [pathlib.Path(args[i + 1]).read_text() for i, a in enumerate(args) if a == "-f"]
    called = {"name": sys.argv[0], "args": args, "env": dict(os.environ), "passfile_mode": mode, "passfile": given}
    out.write(json.dumps({**called, "config": config, "pid": os.getpid(), "pgid": os.getpgid(0)}) + "\\n")
if args[:1] == ["version"]:
    print(json.dumps(plan["version"]))
    sys.exit(0)
phase = "prepare" if "--no-steps" in args else "measure"
step = plan.get(phase, {})
if step.get("ignore_signals"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)):
    if step.get(name):
        stream.write(pathlib.Path(step[name]).read_text())
if step.get("say"):
    sys.stderr.write(step["say"])
sys.stdout.flush(); sys.stderr.flush()
for a in args:
    if a.startswith("--summary-export=") and step.get("summary"):
        pathlib.Path(a.partition("=")[2]).write_text(pathlib.Path(step["summary"]).read_text())
time.sleep(step.get("sleep", 0))
sys.exit(step.get("code", 0))
"""


GO = {"pgx": "v5.10.0", "stroppy": "unknown"}


K6 = {"k6": "v1.8.0", "pgx": "v5.10.0", "stroppy": "v5.7.3"}


class Recorder:
    """A program shaped like Stroppy that replays what the real ones printed, and writes down how it was called."""

    def __init__(self, home: Path) -> None:
        self.path = home / "stroppy"
        self.path.write_text(RECORDER)
        self.path.chmod(0o755)
        self.plan(GO)

    def plan(self, version: dict[str, str], **phases: dict[str, Any]) -> "Recorder":
        (self.path.parent / "plan.json").write_text(json.dumps({"version": version, **phases}))
        return self

    def replay(self, version: dict[str, str], name: str, **more: Any) -> "Recorder":
        step: dict[str, Any] = {"sleep": 0, **more}
        for stream, ending in (("stdout", "stdout"), ("stderr", "stderr"), ("summary", "summary.json")):
            if (RUNS / f"{name}.{ending}").exists():
                step[stream] = str(RUNS / f"{name}.{ending}")
        return self.plan(version, measure=step)

    def calls(self) -> list[dict[str, Any]]:
        text = (self.path.parent / "calls.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]


class MakeWorkload(Protocol):
    def __call__(self, **changed: Any) -> WorkloadSpec: ...


class MakeInput(Protocol):
    def __call__(self, **changed: Any) -> DatabaseInput: ...


class MakeContext(Protocol):
    def __call__(self) -> KeptContext: ...
