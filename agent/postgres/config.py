"""What the server is told, and whether it listened. Pure."""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stackly.errors import Invalid

# Ours: who may connect, where, and how it is proven. A suite that sets one of these is refused by name.
MANAGED = frozenset(
    {
        *("listen_addresses", "port", "unix_socket_directories", "data_directory", "config_file", "hba_file"),
        *("ident_file", "external_pid_file", "password_encryption", "ssl", "logging_collector", "log_destination"),
        *("archive_command", "restore_command"),
    }
)
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*(\.[a-zA-Z_][a-zA-Z0-9_]*)?")
_SOCKET_LIMIT = 90  # sun_path holds 107 bytes, the file's name included


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens and whom it admits."""

    listen: str
    port: int
    admit: tuple[str, ...]
    socket_dir: Path | None


def socket_dir(directory: Path) -> Path | None:
    """None where the path is too long for a unix socket: TCP is enough."""
    return directory if len(str(directory)) <= _SOCKET_LIMIT else None


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def check_settings(settings: Mapping[str, str]) -> None:
    """Raises: Invalid naming every setting that is ours to make or cannot be written."""
    ours = sorted(n for n in settings if n.lower() in MANAGED)
    bad = sorted(n for n, v in settings.items() if not _NAME.fullmatch(n) or "\n" in v or "\0" in v)
    if ours:
        raise Invalid(f"Stackly sets {', '.join(ours)} itself; remove it from database.settings.", settings=ours)
    if bad:
        raise Invalid(f"{', '.join(bad)} cannot be written to postgresql.conf.", settings=bad)


def postgresql_conf(place: Place, settings: Mapping[str, str]) -> str:
    check_settings(settings)
    base = {
        "listen_addresses": place.listen,
        "port": str(place.port),
        "unix_socket_directories": str(place.socket_dir or ""),
        "password_encryption": "scram-sha-256",
        "ssl": "off",
        "max_connections": "200",
        "log_destination": "stderr",
        "logging_collector": "off",
        "log_timezone": "UTC",
        "timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "log_checkpoints": "on",
    }
    lines = [f"{name} = {_quoted(value)}" for name, value in base.items()]
    lines += [f"{name} = {_quoted(value)}" for name, value in settings.items()]
    return "# Written by Stackly before every start; edit database.settings in the suite instead.\n" + (
        "\n".join(lines) + "\n"
    )


def _network(address: str) -> str:
    return str(ipaddress.ip_network(address, strict=False))


def pg_hba(place: Place) -> str:
    """SCRAM for whom the test admits and for ourselves; everybody else is told so."""
    own = [place.listen, *(["127.0.0.1"] if ipaddress.ip_address(place.listen).is_loopback else [])]
    networks = dict.fromkeys(_network(a) for a in [*place.admit, *own])
    rows = ["local all all scram-sha-256", *(f"host all all {n} scram-sha-256" for n in networks)]
    rows += [f"host replication all {n} scram-sha-256" for n in networks]
    return "\n".join([*rows, "host all all all reject", ""])


@dataclass(frozen=True, slots=True)
class Reported:
    """A row of pg_settings."""

    name: str
    setting: str
    unit: str | None
    vartype: str
    pending_restart: bool


_BYTES = {"B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
_MILLIS = {"us": 0.001, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_TRUE = ("on", "true", "yes", "1", "t", "tr", "tru", "y", "ye")


def _amount(text: str, unit: str | None) -> float | None:
    """In bytes or milliseconds where there is a unit, else the plain number; None when it is no number."""
    found = re.fullmatch(r"\s*([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*([a-zA-Z]*)\s*", text)
    if found is None:
        return None
    number, own = float(found[1]), found[2]
    base = re.fullmatch(r"(\d*)(B|kB|MB|GB|TB|us|ms|s|min|h|d)", unit or "")
    if number < 0 and not own:
        return number  # -1 means "choose": it has no unit
    if own:
        scale = _BYTES.get(own) or _MILLIS.get(own)
        return None if scale is None or base is None else number * scale
    if base is None:
        return number
    return number * float(base[1] or 1) * (_BYTES.get(base[2]) or _MILLIS[base[2]])


def in_effect(wanted: str, got: Reported) -> bool:
    """Whether the server runs with what was asked, units and spelling apart.

    Numbers may differ by one unit of the server's own, which rounds; -1 is a wish the server fills in.
    """
    if got.pending_restart:
        return False
    if got.vartype == "bool":
        return (wanted.strip().lower() in _TRUE) == (got.setting == "on")
    if got.vartype in ("integer", "real"):
        asked, has = _amount(wanted, got.unit), _amount(got.setting, got.unit)
        if asked is None or has is None:
            return wanted.strip() == got.setting
        step = _amount("1", got.unit) or 1.0
        return asked == -1 or abs(asked - has) < (step if got.unit else 1e-9)
    # Blanks at the ends are part of a text, unless the server takes them off.
    return got.setting.lower() in (wanted.lower(), wanted.strip().lower())


def not_in_effect(wanted: Mapping[str, str], reported: Iterable[Reported]) -> list[str]:
    """Shape: one sentence for each setting that is missing or different."""
    rows = {r.name.lower(): r for r in reported}
    wrong = []
    for name, value in wanted.items():
        row = rows.get(name.lower())
        if row is None:
            wrong.append(f"{name}: the server knows no such setting")
        elif not in_effect(value, row):
            wrong.append(f"{name}: asked for {value}, in effect {row.setting}{' ' + row.unit if row.unit else ''}")
    return wrong
