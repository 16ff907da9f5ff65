"""Machines on a Docker daemon: a private network per test, and per machine one container that is its address.

The edge agent is a process of this host, in the host's network, so that it reaches the gateway on
127.0.0.1; database and load join the machine's network namespace (`container` and `network_namespace` in the
enrolment entry). Everything carries our labels, so that remove and inventory need nothing else.
"""

import asyncio
import ipaddress
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, TypeVar

from agent.context import StepContext
from agent.targets.daemon import DockerDaemon
from agent.targets.images import Images
from agent.targets.machine import Machines
from agent.targets.pause import ensure_pause
from agent.targets.target import Resident, Target, TargetSite
from stackly import log
from stackly.engine.contracts.site import BootInput, ImageOutcome, InventoryItem, MachineSpec, ProbeOutcome
from stackly.errors import Faulty, Unavailable

T = TypeVar("T")
_log = log.get("agent.targets.docker")

HOME, RUN, TEST, MACHINE, EXPIRES = (f"stackly.{n}" for n in ("home", "run", "test", "machine", "expires"))


def connect(socket: str) -> Any:
    """Raises: Unavailable."""
    try:
        import docker  # 0.2 s: only where this target is used
        import docker.errors
    except ModuleNotFoundError as error:
        raise Unavailable("Target docker needs Docker's client: pip install 'stackly[agent]'") from error
    try:
        client = docker.DockerClient(base_url=f"unix://{socket}", version="auto", timeout=60)
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise Unavailable(f"No Docker answers at {socket}: start it; `stackly doctor` says what is missing.") from error
    return client


def gateway_of(block: ipaddress.IPv4Network, machines: list[MachineSpec]) -> str:
    """The highest address no machine has: Docker's own choice, the lowest, may be a machine's."""
    used = {m.internal_ip for m in machines}
    for number in range(int(block.broadcast_address) - 1, int(block.network_address), -1):
        if (address := str(ipaddress.IPv4Address(number))) not in used:
            return address
    raise Faulty(f"{block} has no address left for its gateway.")


class DockerTarget(Target):
    name: ClassVar[str] = "docker"
    makes_machines: ClassVar[bool] = True

    def __init__(self, site: TargetSite) -> None:
        self._site = site
        self._machines = Machines(site, "docker-machines")
        self._home = str(site.home.absolute())
        self._images = Images(DockerDaemon(partial(connect, site.docker_socket)))

    async def _call(self, work: Callable[[Any], T]) -> T:
        """Talk to the daemon in a thread, on a connection of its own. Raises: Unavailable, Faulty."""

        def whole() -> T:
            import docker.errors  # after `connect` imported it anyway

            client = connect(self._site.docker_socket)
            try:
                return work(client)
            except docker.errors.APIError as error:
                raise Faulty(f"Docker refused: {error.explanation or error}") from error
            finally:
                client.close()

        return await asyncio.to_thread(whole)

    def _labels(self, given: BootInput, **more: str) -> dict[str, str]:
        """A reaper of last resort may take what is past its end: that is the test's, as its budget says."""
        ends = {EXPIRES: given.ends_at} if given.ends_at else {}
        return {HOME: self._home, RUN: given.key.run, TEST: given.key.test, **ends, **more}

    def _filter(self, run: str, test: str) -> dict[str, list[str]]:
        wanted = [f"{HOME}={self._home}"]
        if run:
            wanted += [f"{RUN}={run}", f"{TEST}={test}"]
        return {"label": wanted}

    async def probe(self, cidr: str) -> ProbeOutcome:
        block = ipaddress.IPv4Network(cidr)
        for name, subnet in await self._call(_subnets):
            if subnet.overlaps(block):
                return ProbeOutcome(free=False, reason=f"Docker's network {name} has {subnet}.")
        return ProbeOutcome(free=True, reason="")

    async def boot(self, given: BootInput, context: StepContext) -> dict[str, str]:
        """Raises: Faulty when a part could not be made; what this call made is taken back, last first."""
        undo: list[Callable[[Any], None]] = []
        self._machines.prepare()  # before anything is made: `was_used` goes by it
        try:
            network = await self._call(lambda client: self._network(client, given, undo))
            agents = {}
            for machine in given.machines:
                make = partial(self._container, given=given, machine=machine, network=network, undo=undo)
                container, pid = await self._call(make)
                agents[machine.name] = await self._machines.boot(
                    machine,
                    context,
                    container=container,
                    network_namespace=f"/proc/{pid}/ns/net",
                    **({"ends_at": given.ends_at} if given.ends_at else {}),
                )
        except BaseException:
            if undo:
                await self._machines.remove(given.key.run, given.key.test)
                await asyncio.shield(self._call(lambda client: _undo(client, undo)))
            raise
        return agents

    def _network(self, client: Any, given: BootInput, undo: list[Callable[[Any], None]]) -> str:
        import docker.types  # after `connect` imported it anyway

        run, test = given.key.run, given.key.test
        if there := client.networks.list(filters=self._filter(run, test)):
            return str(there[0].name)
        gateway = gateway_of(ipaddress.IPv4Network(given.network_cidr), given.machines)
        pool = docker.types.IPAMPool(subnet=given.network_cidr, gateway=gateway)
        network = client.networks.create(
            f"stackly-{run}-{test}",
            driver="bridge",
            ipam=docker.types.IPAMConfig(pool_configs=[pool]),
            labels=self._labels(given),
        )
        undo.append(lambda again: again.networks.get(network.id).remove())
        return str(network.name)

    def _container(
        self, client: Any, given: BootInput, machine: MachineSpec, network: str, undo: list[Callable[[Any], None]]
    ) -> tuple[str, int]:
        """(id, pid of its only process). A machine whose container stopped is made anew."""
        run, test = given.key.run, given.key.test
        wanted = self._filter(run, test)
        wanted["label"].append(f"{MACHINE}={machine.name}")
        for there in client.containers.list(all=True, filters=wanted):
            if there.name == f"stackly-{run}-{test}-{machine.name}":
                if there.status == "running":
                    return str(there.id), int(there.attrs["State"]["Pid"])
                there.remove(force=True, v=True)
        api = client.api
        endpoint = api.create_endpoint_config(ipv4_address=machine.internal_ip)
        made = api.create_container(
            ensure_pause(client),
            name=f"stackly-{run}-{test}-{machine.name}",
            hostname=machine.name,
            labels=self._labels(given, **{MACHINE: machine.name}),
            networking_config=api.create_networking_config({network: endpoint}),
            host_config=api.create_host_config(network_mode=network, cap_drop=["ALL"], read_only=True),
        )["Id"]
        undo.append(lambda again: again.containers.get(made).remove(force=True, v=True))
        api.start(made)
        return made, int(api.inspect_container(made)["State"]["Pid"])

    async def find_image(self, name: str, context: StepContext) -> ImageOutcome:
        return await self._images.find(name, context)

    async def pull_image(self, name: str, context: StepContext, timeout_s: float) -> bool:
        return await self._images.bring(name, context, timeout_s)

    async def remove(self, run: str, test: str) -> list[str]:
        """Edge agents first, so that nobody starts a container behind us; then containers, networks, volumes."""
        removed = await self._machines.remove(run, test)
        return removed + await self._call(lambda client: _remove_labelled(client, self._filter(run, test)))

    def was_used(self) -> bool:
        return self._machines.root.is_dir()

    def residents(self) -> list[Resident]:
        return self._machines.residents()

    async def ended(self) -> list[InventoryItem]:
        return self._machines.ended()

    async def inventory(self, run: str, test: str) -> list[InventoryItem]:
        here = self._machines.inventory(run, test)
        return here + await self._call(lambda client: _labelled(client, self._filter(run, test)))


def _undo(client: Any, steps: list[Callable[[Any], None]]) -> None:
    import docker.errors  # after `connect` imported it anyway

    for step in reversed(steps):
        with suppress(docker.errors.NotFound):
            step(client)


def _subnets(client: Any) -> list[tuple[str, ipaddress.IPv4Network]]:
    found = []
    for network in client.networks.list():
        for pool in (network.attrs.get("IPAM") or {}).get("Config") or []:
            with suppress(ValueError):  # an IPv6 pool
                found.append((str(network.name), ipaddress.IPv4Network(pool.get("Subnet", ""))))
    return found


def _containers(client: Any, wanted: dict[str, list[str]]) -> list[Any]:
    """Ours by label, those that share a network namespace with ours first: they go before it."""
    labelled = client.containers.list(all=True, filters=wanted, ignore_removed=True)
    known = {c.id for c in labelled}
    joined = [
        c
        for c in client.containers.list(all=True, ignore_removed=True)
        if c.attrs["HostConfig"].get("NetworkMode", "").removeprefix("container:") in known
    ]
    ids = {c.id for c in joined}
    return joined + [c for c in labelled if c.id not in ids]


def _remove_labelled(client: Any, wanted: dict[str, list[str]]) -> list[str]:
    import docker.errors  # after `connect` imported it anyway

    removed = []
    for container in _containers(client, wanted):
        with suppress(docker.errors.NotFound):
            container.remove(force=True, v=True)
        removed.append(str(container.name))
    for kind in (client.networks, client.volumes):
        for thing in kind.list(filters=wanted):
            with suppress(docker.errors.NotFound):
                thing.remove()
            removed.append(str(thing.name))
    _log.info("docker.removed", things=removed)
    return removed


def _labelled(client: Any, wanted: dict[str, list[str]]) -> list[InventoryItem]:
    networks, volumes = client.networks.list(filters=wanted), client.volumes.list(filters=wanted)
    return [
        *(_item("container", c.id, c.name, c.labels) for c in _containers(client, wanted)),
        *(_item("network", n.id, n.name, n.attrs.get("Labels") or {}) for n in networks),
        *(_item("volume", v.name, v.name, v.attrs.get("Labels") or {}) for v in volumes),
    ]


def _item(kind: str, identity: str, name: str, labels: dict[str, str]) -> InventoryItem:
    return InventoryItem(kind, identity, labels.get(RUN, ""), labels.get(TEST, ""), name)


def create(site: TargetSite) -> Target:
    return DockerTarget(site)
