"""Images of a real registry on a real Docker daemon, and a database that starts from one."""

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agent.edge import EdgeSettings, EdgeWork
from agent.postgres import image
from agent.postgres.binaries import of_major
from agent.postgres.container import docker_client
from agent.site import SiteWork
from stackly.engine.contracts.site import ImageInput, ImageOutcome, PullInput
from stackly.errors import Denied, Faulty, NotFound
from tests.agent.edge_parts import MakeContext, MakeInput, Secrets
from tests.agent.oci_registry import Registry, saved, serving
from tests.agent.site_parts import FakeContext, key

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("docker_needed")]

SHA = "9f3c1ab" + "0" * 33


@dataclass(frozen=True, slots=True)
class Place:
    """A machine of target docker."""

    work: EdgeWork
    address: str


@pytest.fixture(scope="module")
def stocked() -> Iterator[tuple[Registry, list[str]]]:
    """A registry that holds two builds of our own image, without a tag. Shape: it, and their digests."""
    client = docker_client()
    registry = Registry()
    with saved(client, image.ensure(client, of_major("16"))) as path:
        digests = [registry.add(path, f"build {n}") for n in (1, 2)]
    with serving(registry):
        yield registry, digests
        for digest in digests:
            name = f"{registry.place}/pg@{digest}"
            for found in client.images.list(filters={"reference": f"{registry.place}/pg"}):
                if name in found.attrs["RepoDigests"]:
                    client.images.remove(found.id, force=True)
    client.close()


@pytest.fixture
def registry(stocked: tuple[Registry, list[str]]) -> Iterator[Registry]:
    found = stocked[0]
    found.asked.clear()
    yield found
    found.tags.clear()
    found.login = ""


@pytest.fixture
def builds(stocked: tuple[Registry, list[str]]) -> list[str]:
    return stocked[1]


@pytest.fixture
def site(tmp_path: Path) -> SiteWork:
    return SiteWork(tmp_path / "home", "agent-1")


@pytest.fixture
def context() -> FakeContext:
    return FakeContext(key())


async def look(site: SiteWork, name: str, context: FakeContext) -> ImageOutcome:
    return await site.find_image(ImageInput(context.key, "docker", name), context)


async def pull(site: SiteWork, name: str, context: FakeContext, timeout_s: float = 120) -> bool:
    return (await site.pull_image(PullInput(context.key, "docker", name, timeout_s), context)).pulled


@pytest.fixture
async def place(tmp_path: Path, secrets_of_test: Secrets) -> AsyncIterator[Place]:
    """A machine as target docker makes them, a container that only holds a network, and its edge agent's work."""
    client = docker_client()
    holder = await asyncio.to_thread(
        client.containers.run,
        image.ensure(client, of_major("16")),
        ["/bin/sh", "-c", "while read -r line; do :; done"],
        detach=True,
        stdin_open=True,
        labels={"stackly.test": "images"},
    )
    holder.reload()
    address = next(iter(holder.attrs["NetworkSettings"]["Networks"].values()))["IPAddress"]
    work = EdgeWork(tmp_path / "m", secrets_of_test, "db", holder.id, EdgeSettings(cache=tmp_path))
    yield Place(work, address)
    await work.close()
    holder.remove(force=True)
    client.close()


async def test_a_database_starts_from_what_the_tag_meant_when_it_appeared(
    stocked: tuple[Registry, list[str]],
    registry: Registry,
    site: SiteWork,
    context: FakeContext,
    place: Place,
    new_context: MakeContext,
    database_input: MakeInput,
) -> None:
    builds = stocked[1]
    name = f"{registry.place}/pg:{SHA}"
    seen = await look(site, name, context)
    assert (seen.status, seen.pinned) == ("absent", "")
    assert "manifest unknown" in seen.reason

    registry.tags[f"pg:{SHA}"] = builds[0]
    seen = await look(site, name, context)
    assert seen == ImageOutcome("there", f"{registry.place}/pg@{builds[0]}")
    registry.tags[f"pg:{SHA}"] = builds[1]
    assert await pull(site, seen.pinned, context)
    assert "MB" in context.lines[-1][1]
    assert not await pull(site, seen.pinned, context), "it is here already"

    given = database_input(listen=place.address, admit=[place.address], image=seen.pinned)
    outcome = await place.work.start_database(given, new_context())
    assert outcome.server_version.startswith("16.")
    config = json.loads(registry.manifests[builds[0]])["config"]["digest"]
    assert (outcome.fingerprint["image"], outcome.fingerprint["image_id"]) == (seen.pinned, config)
    with pytest.raises(Faulty, match="asks for Postgres 17, and the server says it is 16"):
        await place.work.start_database(replace(given, version="17"), new_context())


async def test_an_image_that_went_between_pull_and_start_says_so(
    place: Place, new_context: MakeContext, database_input: MakeInput
) -> None:
    gone = f"127.0.0.1:9/pg@sha256:{'0' * 64}"
    with pytest.raises(Faulty, match="is not on this machine any more"):
        await place.work.start_database(database_input(image=gone), new_context())


async def test_a_registry_that_wants_a_login(
    registry: Registry,
    builds: list[str],
    site: SiteWork,
    context: FakeContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.login, registry.tags["pg:private"] = "ada:lovelace", builds[1]
    name = f"{registry.place}/pg:private"
    with pytest.raises(Denied, match=f"refuses image {name}.*`docker login {registry.place}`"):
        await look(site, name, context)
    with pytest.raises(Denied):
        await pull(site, f"{registry.place}/pg@{builds[1]}", context)
    secret = base64.b64encode(b"ada:lovelace").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.place: {"auth": secret}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    seen = await look(site, name, context)
    assert seen.pinned == f"{registry.place}/pg@{builds[1]}"
    assert await pull(site, seen.pinned, context)
    assert "lovelace" not in context.text


async def test_a_registry_that_nobody_answers_at(site: SiteWork, context: FakeContext) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        nowhere = f"127.0.0.1:{taken.getsockname()[1]}"
        seen = await look(site, f"{nowhere}/pg:{SHA}", context)
        assert seen.status == "away"
        assert "refused" in seen.reason
        with pytest.raises(Faulty, match="was not pulled within"):
            await pull(site, f"{nowhere}/pg@sha256:{'0' * 64}", context, 0.5)


async def test_what_was_deleted_from_the_registry_is_not_waited_for(
    registry: Registry, site: SiteWork, context: FakeContext
) -> None:
    with pytest.raises(NotFound, match="in its registry no more"):
        await pull(site, f"{registry.place}/pg@sha256:{'0' * 64}", context)


async def test_an_image_of_this_machine_only_is_taken_by_its_id(site: SiteWork, context: FakeContext) -> None:
    client = docker_client()
    own = image.ensure(client, of_major("16"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        name = f"127.0.0.1:{taken.getsockname()[1]}/own:{SHA}"
        found = client.images.get(own)
        found.tag(name)
        try:
            assert await look(site, name, context) == ImageOutcome("there", found.id)
            assert not await pull(site, found.id, context)
        finally:
            client.images.remove(name)
            client.close()
