"""What an agent is told from outside: its enrolment file, its home, and a few variables of its environment."""

import argparse
import json
import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import metadata
from pathlib import Path

from stackly.errors import Invalid, NotFound
from stackly.temporal.steps import RENEW_EVERY, STEP_GRACE, STEP_MARGIN, STEP_TTL

ROLES = ("site", "edge")


@dataclass(frozen=True, slots=True)
class Timings:
    """Units: seconds."""

    renew_s: float = RENEW_EVERY.total_seconds()
    ttl_s: float = STEP_TTL.total_seconds()
    grace_s: float = (STEP_GRACE + STEP_MARGIN).total_seconds()
    beat_s: float = 3.0
    call_s: float = 5.0
    throttle: timedelta = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class EnrolmentFile:
    """What `create_site_agent`, `boot` or cloud-init wrote. Shape: `more` holds what only some targets give."""

    token: str = field(repr=False)
    enrol_address: str
    ca_pem: bytes
    agent_id: str
    internal_ip: str = ""
    container: str | None = None
    more: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AgentSettings:
    role: str
    home: Path
    enrolment: Path | None
    timings: Timings = Timings()
    site_slots: int = 16
    teardown_slots: int = 8
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


def version() -> str:
    try:
        return metadata.version("stackly")
    except metadata.PackageNotFoundError:
        return "0"


def read_enrolment(path: Path) -> EnrolmentFile:
    """Raises: NotFound, Invalid; both say which file."""
    try:
        told = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise NotFound(f"There is no enrolment file {path}.") from None
    except ValueError as e:
        raise Invalid(f"{path} is not JSON: {e}") from e
    try:
        known = {k: str(told.pop(k)) for k in ("token", "enrol_address", "ca_pem", "agent_id")}
    except (KeyError, AttributeError) as e:
        raise Invalid(f"{path} has no {e}.") from e
    return EnrolmentFile(
        token=known["token"],
        enrol_address=known["enrol_address"],
        ca_pem=known["ca_pem"].encode(),
        agent_id=known["agent_id"],
        internal_ip=str(told.pop("internal_ip", "")),
        container=told.pop("container", None) or None,
        more={str(k): str(v) for k, v in told.items()},
    )


def parse_arguments(argv: Sequence[str]) -> AgentSettings:
    """`site --home DIR [--enrolment FILE]` or `edge --home DIR --enrolment FILE`. Exits with 2 on others."""
    parser = argparse.ArgumentParser(prog="stackly-agent", description="The hands of Stackly on one machine.")
    roles = parser.add_subparsers(dest="role", required=True)
    for role, about in (("site", "Terraform and machines of a target"), ("edge", "databases or load of one machine")):
        one = roles.add_parser(role, help=about)
        one.add_argument("--home", type=Path, required=True, help="directory of this agent's own")
        one.add_argument("--enrolment", type=Path, required=role == "edge", help="JSON file with a one-time token")
    given = parser.parse_args(argv)
    home = given.home.absolute()
    return AgentSettings(given.role, home, given.enrolment, environment=dict(os.environ))


def isolation_required(settings: AgentSettings) -> bool:
    """Raises: Invalid."""
    word = settings.environment.get("STACKLY_ISOLATION", "")
    if word not in ("", "best", "required"):
        raise Invalid(f"STACKLY_ISOLATION is {word!r}; it is `best` (the strongest that works) or `required`.")
    return word == "required"


DOCKER_SOCKET = "/var/run/docker.sock"
_PATIENCE_S = 0.5


def usable_targets(targets: Sequence[str], docker: str = DOCKER_SOCKET) -> list[str]:
    """Docker counts while somebody listens at its socket: it may be started, and stopped, while an agent lives."""
    return [t for t in targets if t != "docker" or _listens(docker)]


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(_PATIENCE_S)
        try:
            door.connect(path)
        except OSError:
            return False
    return True


def capabilities(role: str, targets: Sequence[str]) -> dict[str, object]:
    """What the control plane may count on."""
    if role == "edge":
        return {}
    return {"targets": sorted(usable_targets(targets)), "terraform": shutil.which("terraform") is not None}
