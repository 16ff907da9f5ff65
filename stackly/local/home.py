"""One home: its paths, its ports and secrets (chosen once), and the files that tell others about it."""

import contextlib
import fcntl
import json
import os
import random
import secrets
import socket
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackly.errors import Invalid, Unavailable

# Below the range from which the kernel takes ports of outgoing connections, so that a stopped home finds its own free.
_FIRST, _LAST = 20000, 32700
PORTS = (
    *("postgres", "temporal", "temporal_http", "temporal_metrics"),
    *("s3", "s3_grpc", "s3_master", "s3_master_grpc", "s3_volume", "s3_volume_grpc", "s3_filer", "s3_filer_grpc"),
    *("hub", "api", "gateway", "enrol", "gateway_health"),
)
SECRETS = ("postgres", "s3_access", "s3_secret", "hub", "hub_person", "oauth")
HUB_PERSON = "developer"


@dataclass(frozen=True, slots=True)
class Home:
    """Shape: `path` is absolute."""

    path: Path

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def tools(self) -> Path:
        return self.path / "tools"

    @property
    def supervisor(self) -> Path:
        return self.path / "supervisor"

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def endpoints(self) -> Path:
        return self.path / "endpoints.json"

    @property
    def token(self) -> Path:
        return self.path / "token"

    @property
    def hub_token(self) -> Path:
        return self.path / "hub-token"

    @property
    def enrolment(self) -> Path:
        return self.run("agent") / "enrolment.json"

    def run(self, component: str) -> Path:
        """A component's working directory: whatever still runs in it is its leftover."""
        return self.path / ("postgres" if component == "postgres" else f"run/{component}")

    def make(self) -> None:
        """Raises: Unavailable when it cannot be written."""
        # Postgres under its own uid has to walk through; everything secret in here is 0600 by itself.
        mode = 0o711 if os.geteuid() == 0 else 0o700
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.path.chmod(mode)
            for directory in (self.logs, self.tools, self.supervisor, self.path / "run"):
                directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as e:
            raise Unavailable(f"{self.path} cannot be written: {e}; set STACKLY_HOME to another directory.") from e


@dataclass(frozen=True, slots=True)
class Config:
    """What `config.json` holds: everything that is chosen once for a home."""

    ports: dict[str, int]
    secrets: dict[str, str]
    settings: dict[str, Any]

    def address(self, port: str) -> str:
        return f"127.0.0.1:{self.ports[port]}"


def configured(home: Home) -> Config:
    """The home's configuration, made at the first call; what an earlier release did not choose is chosen then too.

    Raises: Invalid when the file was damaged.
    """
    found = known(home)
    if found is not None and not _missing(found):
        return found
    home.make()
    with _alone(home):
        found = known(home)
        config = _chosen() if found is None else _completed(found)
        whole = {"ports": config.ports, "secrets": config.secrets, "settings": config.settings}
        write_private(home.config, json.dumps(whole, indent=2))
    return config


@contextlib.contextmanager
def _alone(home: Home) -> Iterator[None]:
    """Of two that choose at once, the second finds what the first chose."""
    with (home.supervisor / "config.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def known(home: Home) -> Config | None:
    """What was chosen before; None before the first `up`. Raises: Invalid when the file was damaged."""
    try:
        told = json.loads(home.config.read_text())
        return Config(told["ports"], told["secrets"], told["settings"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as e:
        raise Invalid(f"{home.config} is damaged: {e!r}; restore it, or run: stackly down --wipe") from e


def _missing(config: Config) -> list[str]:
    return [*(name for name in PORTS if name not in config.ports), *(k for k in SECRETS if k not in config.secrets)]


def _completed(config: Config) -> Config:
    if not _missing(config):
        return config
    missing = [name for name in PORTS if name not in config.ports]
    ports = config.ports | dict(zip(missing, free_ports(len(missing), config.ports.values()), strict=True))
    keys = _secrets() | config.secrets
    return Config(ports, keys, _addresses(ports) | _people(keys) | config.settings)


def _secrets() -> dict[str, str]:
    return {name: secrets.token_urlsafe(24) for name in SECRETS}


def _chosen() -> Config:
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    keys = _secrets()
    return Config(ports, keys, _settings(ports, keys))


def _settings(ports: dict[str, int], keys: dict[str, str]) -> dict[str, Any]:
    local = "127.0.0.1"
    return {
        "database_url": f"postgresql://stackly:{keys['postgres']}@{local}:{ports['postgres']}/stackly",
        "s3": {
            "endpoint": f"http://{local}:{ports['s3']}",
            "access_key": keys["s3_access"],
            "secret_key": keys["s3_secret"],
        },
        "hub_url": f"http://{local}:{ports['hub']}",
        "github_token": keys["hub"],
        "github_client_id": "stackly-local",
        "github_client_secret": keys["oauth"],
        **_addresses(ports),
        **_people(keys),
    }


def _people(keys: dict[str, str]) -> dict[str, Any]:
    """Who pushes to the home's hub, and with what key."""
    return {"hub_person": HUB_PERSON, "hub_person_token": keys["hub_person"]}


def _addresses(ports: dict[str, int]) -> dict[str, Any]:
    local = "127.0.0.1"
    return {
        "temporal_address": f"{local}:{ports['temporal']}",
        "api_port": ports["api"],
        "api_url": f"http://{local}:{ports['api']}",
        "gateway_address": f"{local}:{ports['gateway']}",
        "enrol_address": f"{local}:{ports['enrol']}",
        "gateway_health_address": f"{local}:{ports['gateway_health']}",
    }


def write_endpoints(home: Home, config: Config, login_key: str) -> dict[str, str]:
    """`endpoints.json`, with exactly the fields that scripts rely on; no password is in it. Beside it `hub-token`."""
    write_private(home.hub_token, config.secrets["hub_person"] + "\n")
    api = f"http://{config.address('api')}"
    told = {
        "api_url": api,
        "ui_url": f"{api}/login?key={login_key}",
        "hub_url": f"http://{config.address('hub')}",
        "temporal_address": config.address("temporal"),
        "gateway_address": config.address("gateway"),
        "database_url": f"postgresql://stackly@{config.address('postgres')}/stackly",
    }
    write_private(home.endpoints, json.dumps(told, indent=2) + "\n")
    return told


def write_private(file: Path, text: str) -> None:
    """Whole or not at all, 0600 from the first byte."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    draft.rename(file)


def free_ports(count: int, taken: Collection[int] = ()) -> list[int]:
    """Different ports that are free on loopback now, none of `taken`. Raises: Unavailable when there are too few."""
    found: list[int] = []
    candidates = random.SystemRandom().sample(range(_FIRST, _LAST), 2000)
    for port in candidates:
        if len(found) == count:
            return found
        if port not in taken and free(port):
            found.append(port)
    raise Unavailable(f"No {count} free TCP ports between {_FIRST} and {_LAST} on 127.0.0.1.")


def free(port: int) -> bool:
    """Whether a server could listen there now; connections of a server that just ended do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
