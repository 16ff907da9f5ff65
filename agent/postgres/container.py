"""A standalone server as a container inside a machine's network; its image holds programs only."""

import asyncio
import contextlib
import io
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.context import Cancelled, Credentials
from agent.postgres import image
from agent.postgres.binaries import Binaries
from agent.postgres.config import Place, check_settings, pg_hba, postgresql_conf
from agent.postgres.connection import Address, Door
from agent.postgres.evidence import ready
from stackly import clock
from stackly.engine.contracts.edge import DatabaseInput
from stackly.errors import Faulty, Unavailable

HOME = "/stackly"
# Shell builtins only: a small image has no other programs. The password file is emptied before the server starts.
START = f"""set -eu
umask 077
cd {HOME}
if [ ! -s data/PG_VERSION ]; then
  read -r superuser < superuser
  initdb -D data -U "$superuser" --auth=scram-sha-256 --encoding=UTF8 --locale=C --no-sync --pwfile=initial
  : > initial
fi
exec postgres -D data -c config_file={HOME}/postgresql.conf -c hba_file={HOME}/pg_hba.conf
"""


class ContainerServer:
    """Shape: `machine` is the id of the container whose network namespace the server joins."""

    def __init__(
        self,
        directory: Path,
        machine: str,
        credentials: Credentials,
        labels: Mapping[str, str],
        binaries: Binaries | None,
    ) -> None:
        self.directory = directory
        self.log = directory / "server.log"
        self._machine = machine
        self._credentials = credentials
        self._labels = dict(labels)
        self._binaries = binaries
        self._container: Any = None
        self._image = ""

    @property
    def image(self) -> dict[str, str]:
        """What the server was started from. Shape: `image` as it was named, `image_id` the content's own."""
        return {"image": self._image, "image_id": str(self._container.attrs["Image"])}

    async def start(self, given: DatabaseInput, cancelled: asyncio.Event) -> tuple[str, dict[str, str]]:
        """Raises: Faulty with the server's own words; Cancelled."""
        check_settings(given.settings)
        deadline = clock.monotonic() + given.timeout_s
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self.stop()
        await asyncio.to_thread(self._create, given)
        try:
            return await self._ready(given, deadline, cancelled)
        except Unavailable as error:
            raise Faulty(f"Postgres was not ready in {given.timeout_s:g} s: {error.detail}\n{self._said()}") from error
        except Cancelled:
            await self.stop()
            raise

    @property
    def _name(self) -> str:
        return f"stackly-{self._machine[:12]}-postgres"

    def _create(self, given: DatabaseInput) -> None:
        client = docker_client()
        self._image = given.image or image.ensure(client, self._required_binaries())
        container = self._made(client)
        self._container = container
        container.put_archive("/", self._archive(given, client, _uid_of(container)))
        container.start()

    def _made(self, client: Any) -> Any:
        import docker.errors  # late: see docker_client

        try:
            return self._made_of(client)
        except docker.errors.ImageNotFound as error:
            why = "it was deleted since the run got it; run it again"
            raise Faulty(f"Image {self._image} is not on this machine any more: {why}.") from error

    def _made_of(self, client: Any) -> Any:
        return client.containers.create(
            self._image,
            entrypoint=["/bin/sh", f"{HOME}/start.sh"],
            command=[],
            user="postgres",
            name=self._name,
            network_mode=f"container:{self._machine}",
            labels=self._labels,
            shm_size="256m",
            working_dir="/",
            stop_signal="SIGINT",
        )

    def _required_binaries(self) -> Binaries:
        if self._binaries is None:
            raise Faulty("There are no Postgres binaries here to make an image of; name one in database.image.")
        return self._binaries

    def _archive(self, given: DatabaseInput, client: Any, uid: int) -> bytes:
        admit = (*given.admit, *_gateways(client, self._machine))
        place = Place(given.listen, given.port, admit, None)
        files = {
            "start.sh": START,
            "superuser": self._credentials.superuser + "\n",
            "initial": self._credentials.superuser_password + "\n",
            "postgresql.conf": postgresql_conf(place, given.settings),
            "pg_hba.conf": pg_hba(place),
        }
        return _archive(files, uid)

    async def _ready(
        self, given: DatabaseInput, deadline: float, cancelled: asyncio.Event
    ) -> tuple[str, dict[str, str]]:
        door = Door(Address(given.listen, given.port), self._credentials)
        answering = asyncio.ensure_future(ready(door, given, self._credentials, deadline, cancelled))
        try:
            while not answering.done():
                await asyncio.wait({answering}, timeout=0.5)
                if not answering.done() and await asyncio.to_thread(self._exited):
                    raise Faulty(f"Postgres ended while starting: {self._said()}")
            return answering.result()
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)

    def _exited(self) -> bool:
        self._container.reload()
        return self._container.status in ("exited", "dead")

    def _said(self) -> str:
        return str(self._container.logs(tail=12).decode("utf-8", "replace"))

    async def save_log(self) -> None:
        """The container's output so far, to `log`."""
        text = await asyncio.to_thread(lambda: self._found().logs())
        self.log.write_bytes(text)
        self.log.chmod(0o600)

    def _found(self) -> Any:
        return self._container or docker_client().containers.get(self._name)

    async def stop(self) -> None:
        """Fast shutdown and away with it; again is the same. Also one that an earlier agent made."""
        await asyncio.to_thread(self._remove)
        self._container = None

    def _remove(self) -> None:
        import docker.errors  # late: see docker_client

        with contextlib.suppress(docker.errors.NotFound):
            found = docker_client().containers.get(self._name)
            with contextlib.suppress(docker.errors.APIError):
                found.stop(timeout=20)
            found.remove(force=True, v=True)


def docker_client() -> Any:
    """Raises: Unavailable when no daemon answers."""
    import docker  # late: only target docker needs it, and its import is slow
    import docker.errors

    try:
        client = docker.from_env()
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise Unavailable(f"No Docker daemon answers: {error}") from error
    return client


def network_launcher(machine: str) -> tuple[str, ...]:
    """What goes before a command so that it runs inside the machine's network."""
    pid = docker_client().containers.get(machine).attrs["State"]["Pid"]
    return ("nsenter", f"--net=/proc/{pid}/ns/net", "--")


def _gateways(client: Any, machine: str) -> list[str]:
    """Where the agent itself appears from."""
    networks = client.containers.get(machine).attrs["NetworkSettings"]["Networks"]
    return [n["Gateway"] for n in networks.values() if n.get("Gateway")]


def _uid_of(container: Any) -> int:
    """The image's own postgres user: it must own what only it may read."""
    chunks, _ = container.get_archive("/etc/passwd")
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        content = archive.extractfile("passwd")
        text = content.read().decode() if content else ""
    found = re.search(r"^postgres:[^:]*:(\d+):", text, re.MULTILINE)
    if found is None:
        raise Faulty("The image has no user named postgres.")
    return int(found[1])


def _archive(files: Mapping[str, str], uid: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        home = tarfile.TarInfo(HOME.lstrip("/"))
        home.type, home.mode, home.uid, home.gid = tarfile.DIRTYPE, 0o700, uid, uid
        archive.addfile(home)
        for name, text in files.items():
            member = tarfile.TarInfo(f"{home.name}/{name}")
            member.size, member.mode, member.uid, member.gid = len(text.encode()), 0o600, uid, uid
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()
