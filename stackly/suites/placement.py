"""Which machines a test gets, with which addresses. Pure and deterministic: the same input gives equal bytes."""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stackly.errors import Invalid
from stackly.suites import jsonform
from stackly.suites.model import Node, ResolvedTest

POSTGRES_PORT = 5432
_FIRST_HOST = 2  # .0 is the network, .1 the gateway of a container network
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class NetworkPool:
    """Where a target's blocks come from. Shape: `number` is the pool's in `leases`."""

    number: int
    supernet: str
    prefix: int


NETWORKS: Mapping[str, NetworkPool] = {
    "local": NetworkPool(1, "127.64.0.0/10", 28),
    "docker": NetworkPool(2, "10.213.0.0/16", 24),
}


@dataclass(frozen=True, slots=True)
class Machine:
    name: str
    ip: str
    cores: int
    memory_gb: int
    disk_gb: int
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """Shape: `database` and `load` are names of machines; `admit` the addresses that clients appear from."""

    target: str
    cidr: str
    machines: tuple[Machine, ...]
    database: str
    load: str
    database_port: int
    admit: tuple[str, ...]

    def machine(self, name: str) -> Machine:
        return next(m for m in self.machines if m.name == name)

    def to_json(self) -> dict[str, Any]:
        body: dict[str, Any] = jsonform.to_json(self)
        return body

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Placement":
        return jsonform.from_json(Placement, data)


def place(test: ResolvedTest, cidr: str, target: str) -> Placement:
    """Machines in the file's order, addresses from the block's third on.

    Shape: a node of count 1 is a machine of its name, of count N the machines `name-1` to `name-N`.
    Raises: Invalid when the block is too small, or no machine is the database or the load.
    """
    hosts = _hosts(cidr)
    machines = tuple(_machine(node, name, hosts, cidr) for node in test.topology.nodes for name in _names(node))
    database, load = _with_role(machines, "postgres"), _with_role(machines, "generator")
    # Loopback connections carry 127.0.0.1 whatever address they go to; elsewhere the machine's own.
    admit = (_LOOPBACK,) if target == "local" else ()
    return Placement(
        target=target,
        cidr=cidr,
        machines=machines,
        database=database.name,
        load=load.name,
        database_port=POSTGRES_PORT,
        admit=tuple(dict.fromkeys((load.ip, database.ip, *admit))),
    )


def _names(node: Node) -> Iterator[str]:
    return (f"{node.name}-{i}" for i in range(1, node.count + 1)) if node.count > 1 else iter((node.name,))


def _machine(node: Node, name: str, hosts: Iterator[str], cidr: str) -> Machine:
    ip = next(hosts, None)
    if ip is None:
        raise Invalid(f"The block {cidr} has too few addresses for this topology; use fewer machines.")
    return Machine(name, ip, node.cores, node.memory_gb, node.disk_gb, node.roles)


def _hosts(cidr: str) -> Iterator[str]:
    block = ipaddress.ip_network(cidr)
    return (str(block[i]) for i in range(_FIRST_HOST, block.num_addresses - 1))


def _with_role(machines: tuple[Machine, ...], role: str) -> Machine:
    for machine in machines:
        if role in machine.roles:
            return machine
    raise Invalid(f"No machine has role {role}; give it to a node of the topology.")
