"""Another user of this computer, without any key, at everything that listens and at every file: nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import pytest

from stackly.local import processes
from tests.attack.conftest import Stranger
from tests.e2e import sinks
from tests.e2e.house import House

pytestmark = [pytest.mark.e2e, pytest.mark.real, pytest.mark.timeout(420)]

# Programs of others, which every machine under test runs as its own user. Whatever else can be read is a finding.
_OPEN = ("agent/cache/",)


def _pids(platform: House) -> list[int]:
    """Processes of the platform itself, not of Postgres, which is a user that may look at its own."""
    return [p.pid for p in processes.below(platform.home)]


def _address(platform: House, name: str) -> str:
    return f"127.0.0.1:{_ports(platform)[name]}"


def _ports(platform: House) -> dict[str, int]:
    ports: dict[str, int] = json.loads((platform.home / "config.json").read_text())["ports"]
    return ports


def _secrets(platform: House) -> dict[str, bytes]:
    """Everything that opens something."""
    told = {f"config {k}": v.encode() for k, v in platform.secrets.items()}
    files = ("token", "hub-token", "agent/identity.json", "ca/authority.pem", "keyring.json")
    return told | {name: (platform.home / name).read_bytes().strip()[-200:] for name in files}


def test_files_of_the_home_are_closed(platform: House, stranger: Stranger) -> None:
    """By listing, and by the paths that anybody knows from the source."""
    known = [str(p) for p in platform.home.rglob("*") if "postgres/data" not in str(p)]
    assert len(known) > 30
    found = stranger.run("looks", roots=[str(platform.home.parent)], known=known)
    below = [str(Path(p).relative_to(platform.home)) for p in found["readable"] if platform.home in Path(p).parents]
    assert [p for p in below if not p.startswith(_OPEN)] == []
    assert [p for p in found["writable"] if str(platform.home) in p] == []


def test_nothing_of_the_platform_lies_open_in_the_places_of_all(platform: House, stranger: Stranger) -> None:
    """/tmp, /dev/shm and /var/tmp: what the platform's processes keep open there, and what carries a secret."""
    roots = [p for p in ("/tmp", "/dev/shm", "/var/tmp", "/run/lock") if Path(p).is_dir()]
    found = stranger.run("looks", roots=roots, known=[])
    held = {os.path.realpath(f.path) for pid in _pids(platform) for f in psutil.Process(pid).open_files()}
    beside = {p for p in held if str(platform.home) not in p}
    assert beside & set(found["readable"] + found["writable"]) == set()
    assert list(Path.cwd().glob("core*")) + list(platform.home.rglob("core.[0-9]*")) == []


def test_proc_gives_nothing_away(platform: House, stranger: Stranger) -> None:
    pids = _pids(platform)
    assert len(pids) >= 9
    seen = stranger.run("spies", pids=pids)
    assert seen["opened"] == []
    lines = [(f"cmdline {n}", line.encode()) for n, line in enumerate(seen["cmdlines"])]
    assert len(lines) >= 9
    assert sinks.found(_secrets(platform), lines) == []
    assert stranger.run("kills", pids=pids) == []


def test_postgres_asks_for_its_password(platform: House, stranger: Stranger) -> None:
    attempts = [
        {"user": user, "password": password, "database": database}
        for user in ("stackly", "postgres", "root")
        for password in ("", "stackly", None)
        for database in ("stackly", "postgres")
    ]
    said = stranger.run("signs_in", host="127.0.0.1", port=_ports(platform)["postgres"], attempts=attempts)
    assert len(said) == len(attempts)
    assert "in" not in said, said
    sockets = [str(p) for p in (platform.home / "postgres").glob(".s.PGSQL.*") if not p.name.endswith(".lock")]
    assert sockets
    assert set(stranger.run("connects", sockets=sockets).values()) == {"PermissionError"}


def test_no_unix_socket_lets_a_stranger_in(platform: House, stranger: Stranger) -> None:
    mine = {str(i) for pid in _pids(platform) for i in _inodes(pid)}
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    named = [parts[7] for parts in lines if len(parts) > 7 and parts[6] in mine and not parts[7].startswith("@")]
    abstract = [parts[7] for parts in lines if len(parts) > 7 and parts[6] in mine and parts[7].startswith("@")]
    assert abstract == [], "anybody may call an abstract one"
    assert set(stranger.run("connects", sockets=named).values()) <= {"PermissionError"}, named


def _inodes(pid: int) -> list[str]:
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            found.append(target[8:-1])
    return found


# Each answers a request without a key; none may do more than read a count, a word or the names of repositories.
ASKED = [
    ("GET", "/api/v1/runs"),
    ("GET", "/api/v1/repos"),
    ("GET", "/api/v1/whoami"),
    ("GET", "/api/v1/events"),
    ("POST", "/api/v1/runs"),
    ("POST", "/api/v1/repos"),
    ("POST", "/api/v1/github/hook"),
    ("GET", "/api/v1/nothing"),
    ("GET", "/login?key=x"),
    ("GET", "/login?key="),
    ("GET", "/..%2f..%2ftoken"),
    ("GET", "/assets/..%2f..%2f..%2ftoken"),
    ("GET", "/problems/..%2f..%2ftoken"),
    ("GET", "/_faults"),
    ("PUT", "/_faults"),
    ("POST", "/user/repos"),
    ("GET", "/user/repos"),
    ("GET", "/app"),
    ("GET", "/developer/x.git/info/refs?service=git-receive-pack"),
    ("POST", "/webhooks/github/x"),
    ("GET", "/dir/status"),
    ("GET", "/stackly"),
    ("PUT", "/stackly/evil"),
    ("GET", "/debug/pprof/"),
    ("GET", "/stats/memory"),
    ("GET", "/ui/index.html"),
    ("TRACE", "/"),
]


def test_http_of_every_port_gives_no_secret_and_no_right(platform: House, stranger: Stranger) -> None:
    requests: list[dict[str, str]] = [
        {"method": verb, "url": f"http://{_address(platform, name)}{path}"}
        for name in _ports(platform)
        for verb, path in ASKED
    ]
    answers = stranger.run("asks", requests=requests)
    pieces = [(f"{r['method']} {r['url']}", a["body"].encode()) for r, a in zip(requests, answers, strict=True)]
    assert sinks.found(_secrets(platform), pieces) == []
    done = [
        (r["method"], r["url"], a["status"])
        for r, a in zip(requests, answers, strict=True)
        if r["method"] not in {"GET", "TRACE"} and 200 <= a["status"] < 300
    ]
    assert done == [], "a stranger changed something"
    api = f"http://{_address(platform, 'api')}/api/v1/"
    asked = [a["status"] for r, a in zip(requests, answers, strict=True) if r["url"].startswith(api)]
    assert set(asked) == {401, 404}, asked
    assert {a["cors"] for a in answers} == {None}


METHODS = [
    "/stackly.gateway.v1.AgentGateway/Heartbeat",
    "/stackly.gateway.v1.AgentGateway/BeginStep",
    "/stackly.gateway.v1.AgentGateway/Enrol",
    "/temporal.api.workflowservice.v1.WorkflowService/ListNamespaces",
    "/filer_pb.SeaweedFiler/ListEntries",
    "/master_pb.Seaweed/Statistics",
    "/volume_server_pb.VolumeServer/VolumeDelete",
    "/iam_pb.SeaweedIdentityAccessManagement/GetConfiguration",
]


def test_grpc_without_a_certificate_is_no_call(platform: House, stranger: Stranger) -> None:
    """But for Temporal's own ports: docs/security.md says what can be done there."""
    names = [n for n in _ports(platform) if not n.startswith("temporal")]
    for name in names:
        said = stranger.run("calls", address=_address(platform, name), methods=METHODS)
        assert "OK" not in said.values(), (name, said)
