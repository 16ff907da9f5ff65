"""Machines on this host: a directory, an address of 127.64.0.0/10, and the processes that live in the directory."""

import ipaddress
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from agent.context import StepContext
from agent.targets.machine import Machines
from agent.targets.target import Resident, Target, TargetSite
from stackly.engine.contracts.site import BootInput, InventoryItem, ProbeOutcome
from stackly.errors import Invalid

POOL = ipaddress.IPv4Network("127.64.0.0/10")
_LISTEN = "0A"
_MAPPED = "0000000000000000FFFF0000"


def listening(lines: Iterable[str]) -> Iterator[tuple[ipaddress.IPv4Address, int]]:
    """IPv4 addresses in /proc/net/tcp or tcp6 that somebody listens on. Shape: words are in host byte order."""
    for line in lines:
        fields = line.split()
        if len(fields) < 4 or fields[3] != _LISTEN:
            continue
        word, _, port = fields[1].partition(":")
        if len(word) == 32 and not word.startswith(_MAPPED):
            continue
        yield ipaddress.IPv4Address(bytes.fromhex(word[-8:])[::-1]), int(port, 16)


def _sockets() -> Iterator[tuple[ipaddress.IPv4Address, int]]:
    for name in ("tcp", "tcp6"):
        path = Path("/proc/net") / name
        if path.exists():
            yield from listening(path.read_text().rstrip("\n").split("\n")[1:])


class LocalTarget(Target):
    name: ClassVar[str] = "local"
    makes_machines: ClassVar[bool] = True

    def __init__(self, site: TargetSite) -> None:
        self._machines = Machines(site, "machines")

    async def probe(self, cidr: str) -> ProbeOutcome:
        block = ipaddress.IPv4Network(cidr)
        if not block.subnet_of(POOL):
            raise Invalid(f"{cidr} is no part of {POOL}, which local machines use.")
        taken = sorted(f"{address}:{port}" for address, port in _sockets() if address in block)
        if taken:
            return ProbeOutcome(free=False, reason=f"Somebody listens on {', '.join(taken[:3])}.")
        return ProbeOutcome(free=True, reason="")

    async def boot(self, given: BootInput, context: StepContext) -> dict[str, str]:
        block = ipaddress.IPv4Network(given.network_cidr)
        for machine in given.machines:
            if ipaddress.IPv4Address(machine.internal_ip) not in block:
                raise Invalid(f"{machine.name} has the address {machine.internal_ip}, outside {block}.")
        return {m.name: await self._machines.boot(m, context) for m in given.machines}

    async def remove(self, run: str, test: str) -> list[str]:
        return await self._machines.remove(run, test)

    async def inventory(self, run: str, test: str) -> list[InventoryItem]:
        return self._machines.inventory(run, test)

    def was_used(self) -> bool:
        return self._machines.root.is_dir()

    def residents(self) -> list[Resident]:
        return self._machines.residents()

    async def ended(self) -> list[InventoryItem]:
        return self._machines.ended()


def create(site: TargetSite) -> Target:
    return LocalTarget(site)
