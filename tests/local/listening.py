"""What listens in a home, and what the documents say of it."""

import ipaddress
import re
from pathlib import Path

import psutil

from stackly.local import processes
from stackly.local.home import Home, configured

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
_LISTENS = 0x10000  # __SO_ACCEPTCON in /proc/net/unix


def documented() -> set[str]:
    """The listeners of the table. Shape: what stands in code in the first cells."""
    _, _, after = PAGE.read_text().partition("## Listeners")
    table = after.partition("\n## ")[0]
    firsts = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name for first in firsts for name in re.findall("`([^`]+)`", first)}


def listening(home: Home) -> set[str]:
    """Shape: a port's name in the home's configuration, else `COMPONENT other port`, `COMPONENT unix socket`."""
    names = {port: name for name, port in configured(home).ports.items()}
    sockets = _unix_sockets()
    found = set()
    for who in processes.below(home.path):
        component = _component(home, who.pid)
        for c in psutil.Process(who.pid).net_connections("inet"):
            if c.status == psutil.CONN_LISTEN:
                assert _is_loopback(c.laddr.ip), (component, c.laddr)
                found.add(names.get(c.laddr.port) or f"{component} other port")
        if _inodes(who.pid) & sockets:
            found.add(f"{component} unix socket")
    return found


def _is_loopback(address: str) -> bool:
    """Also where a program of both families shows an IPv4 address as an IPv6 one."""
    read = ipaddress.ip_address(address)
    return (getattr(read, "ipv4_mapped", None) or read).is_loopback


def _component(home: Home, pid: int) -> str:
    inside = Path(psutil.Process(pid).cwd()).resolve().relative_to(home.path.resolve()).parts
    return inside[1] if inside[:1] == ("run",) else inside[0] if inside else "supervisor"


def _unix_sockets() -> set[str]:
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    return {line.split()[6] for line in lines if int(line.split()[3], 16) & _LISTENS}


def _inodes(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found
