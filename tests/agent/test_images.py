"""Finding and getting images, with a daemon that says what it is told to; the real one is in test_images_real.py."""

import asyncio
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from agent.context import Cancelled
from agent.postgres.binaries import for_server, installed
from agent.targets.images import Here, Images, Progress, Refused, kind_of_answer, pinned, registry_of
from agent.targets.local import LocalTarget
from agent.targets.target import TargetSite
from stackly.engine.contracts.site import ImageOutcome
from stackly.errors import Denied, Faulty, Invalid, NotFound
from tests.agent.site_parts import FakeContext, key

DIGEST = "sha256:" + "a" * 64
OWN_ID = "sha256:" + "c" * 64
NAME = "acme/postgres:abc"
PINNED = f"acme/postgres@{DIGEST}"


@dataclass
class FakeDaemon:
    """Shape: `answers` to looks, one after the other, the last goes on; `pulls` likewise, an exception or events."""

    answers: list[str | Refused] = field(default_factory=lambda: [DIGEST])
    images: dict[str, Here] = field(default_factory=dict)
    pulls: list[Refused | list[dict[str, Any]]] = field(default_factory=lambda: [[]])
    asked: list[str] = field(default_factory=list)
    silent: threading.Event | None = None  # a pull says nothing until this is set
    closed: threading.Event = field(default_factory=threading.Event)

    def digest_of(self, name: str) -> str:
        self.asked.append(name)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Refused):
            raise found
        return found

    def here(self, name: str) -> Here | None:
        return self.images.get(name)

    def pull(self, name: str) -> Generator[Mapping[str, Any], None, None]:
        self.asked.append(f"pull {name}")
        found = self.pulls.pop(0) if len(self.pulls) > 1 else self.pulls[0]
        if isinstance(found, Refused):
            raise found
        try:
            for event in found:
                yield event
                if self.silent is not None:
                    self.silent.wait(20)
            self.images[name] = Here(OWN_ID, (name,))
        finally:
            self.closed.set()


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
def images(daemon: FakeDaemon) -> Images:
    return Images(daemon, pauses=(0.01,), tell_every_s=0.01)


@pytest.fixture
def context() -> FakeContext:
    return FakeContext(key())


def downloading(layer: str, current: int, total: int) -> dict[str, Any]:
    return {"id": layer, "status": "Downloading", "progressDetail": {"current": current, "total": total}}


# -- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (404, "manifest unknown: manifest unknown", "absent"),
        (404, "manifest for acme/postgres:abc not found: manifest unknown", "absent"),
        (404, "name unknown: repository name not known to registry", "absent"),
        (None, "manifest unknown", "absent"),
        (401, "Head https://r/v2/x/manifests/y: unauthorized", "denied"),
        (403, "denied: requested access to the resource is denied", "denied"),
        (500, 'Head "https://ghcr.io/v2/a/b/manifests/c": denied', "denied"),
        (
            404,
            "pull access denied for acme/postgres, repository does not exist or may require 'docker login'",
            "denied",
        ),
        (500, 'Head "http://127.0.0.1:5000/v2/pg/manifests/x": no basic auth credentials', "denied"),
        (500, "authorization failed: insufficient_scope", "denied"),
        (500, "dial tcp 10.0.0.1:443: connect: connection refused", "away"),
        (500, "dial tcp: lookup registry.invalid: no such host", "away"),
        (503, "service unavailable", "away"),
        (429, "toomanyrequests: You have reached your pull rate limit", "away"),
        (None, "context deadline exceeded", "away"),
        (400, "invalid reference format", "wrong"),
    ],
)
def test_what_a_registry_means(status: int | None, said: str, kind: str) -> None:
    assert kind_of_answer(status, said) == kind


@pytest.mark.parametrize(
    ("name", "repository", "registry"),
    [
        ("pg:17", "pg", ""),
        ("acme/postgres:17", "acme/postgres", ""),
        ("127.0.0.1:5000/pg:abc", "127.0.0.1:5000/pg", "127.0.0.1:5000"),
        ("localhost/pg:abc", "localhost/pg", "localhost"),
        (f"r.example.com/a/b:17@sha256:{'b' * 64}", "r.example.com/a/b", "r.example.com"),
        (f"r.example.com:5000/a@sha256:{'b' * 64}", "r.example.com:5000/a", "r.example.com:5000"),
    ],
)
def test_a_pinned_name_is_the_repository_with_the_digest(name: str, repository: str, registry: str) -> None:
    assert pinned(name, DIGEST) == f"{repository}@{DIGEST}"
    assert registry_of(name) == registry


def test_progress_sums_layers_that_said_how_large_they_are() -> None:
    progress = Progress()
    assert str(progress) == "0.0 of 0.0 MB"
    for event in (
        {"status": "Pulling from acme/postgres", "id": "abc"},
        downloading("l1", 1_000_000, 4_000_000),
        downloading("l2", 500_000, 1_000_000),
        downloading("l1", 3_000_000, 4_000_000),
        {"id": "l2", "status": "Download complete", "progressDetail": {}},
        {"id": "l3", "status": "Already exists", "progressDetail": {}},
    ):
        progress.heard(event)
    assert str(progress) == "4.0 of 5.0 MB"


# -- a look ----------------------------------------------------------------------------------------------------------


async def test_absent_then_there(daemon: FakeDaemon, images: Images, context: FakeContext) -> None:
    daemon.answers = [Refused("absent", "manifest unknown."), DIGEST]
    assert await images.find(NAME, context) == ImageOutcome("absent", reason="manifest unknown")
    assert await images.find(NAME, context) == ImageOutcome("there", PINNED)
    assert "not there yet: manifest unknown" in context.text


async def test_unreachable_then_there(daemon: FakeDaemon, images: Images, context: FakeContext) -> None:
    daemon.answers = [Refused("away", "connection refused"), DIGEST]
    assert await images.find(NAME, context) == ImageOutcome("away", reason="connection refused")
    assert (await images.find(NAME, context)).status == "there"


async def test_unauthorized_is_an_error_that_says_how_to_log_in(
    daemon: FakeDaemon, images: Images, context: FakeContext
) -> None:
    daemon.answers = [Refused("denied", "no basic auth credentials")]
    with pytest.raises(Denied, match=r"refuses image r\.example\.com/pg:1: no basic .* `docker login r\.example\.com`"):
        await images.find("r.example.com/pg:1", context)
    with pytest.raises(Denied, match="`docker login`"):
        await images.find(NAME, context)


async def test_a_name_docker_does_not_take(daemon: FakeDaemon, images: Images, context: FakeContext) -> None:
    daemon.answers = [Refused("wrong", "invalid reference format")]
    with pytest.raises(Invalid, match=r"Correct database\.image"):
        await images.find(NAME, context)


@pytest.mark.parametrize("kind", ["absent", "away", "denied"])
async def test_an_image_that_was_built_here_is_taken_by_its_id(
    daemon: FakeDaemon, images: Images, context: FakeContext, kind: str
) -> None:
    daemon.answers, daemon.images[NAME] = [Refused(kind, "no")], Here(OWN_ID, ())
    assert await images.find(NAME, context) == ImageOutcome("there", OWN_ID)


async def test_an_image_of_a_registry_that_cannot_be_asked_is_waited_for(
    daemon: FakeDaemon, images: Images, context: FakeContext
) -> None:
    """The tag may have moved since it came here."""
    daemon.answers, daemon.images[NAME] = [Refused("away", "no")], Here(OWN_ID, (PINNED,))
    assert (await images.find(NAME, context)).status == "away"
    daemon.images[NAME] = Here(DIGEST, (PINNED,))
    assert (await images.find(NAME, context)).status == "away"
    daemon.answers = [Refused("absent", "no")]
    assert await images.find(NAME, context) == ImageOutcome("there", DIGEST)


async def test_the_registry_comes_before_what_is_here(daemon: FakeDaemon, images: Images, context: FakeContext) -> None:
    daemon.images[NAME] = Here(OWN_ID, ())
    assert (await images.find(NAME, context)).pinned == PINNED


async def test_cancel_leaves_a_look_at_once(images: Images, daemon: FakeDaemon, context: FakeContext) -> None:
    gate = threading.Event()

    def slow(name: str) -> str:
        gate.wait(20)
        return DIGEST

    daemon.digest_of = slow  # type: ignore[method-assign]
    looking = asyncio.create_task(images.find(NAME, context))
    await asyncio.sleep(0.05)
    context.cancelled.set()
    with pytest.raises(Cancelled):
        await asyncio.wait_for(looking, 5)
    gate.set()


# -- a pull ----------------------------------------------------------------------------------------------------------


async def test_a_pull_tells_how_far_it_is(daemon: FakeDaemon, images: Images, context: FakeContext) -> None:
    daemon.pulls, daemon.silent = [[downloading("l1", 1_000_000, 4_000_000)]], threading.Event()
    pulling = asyncio.create_task(images.bring(PINNED, context, 20))
    while "1.0 of 4.0 MB" not in context.text:  # noqa: ASYNC110 - another thread writes it
        await asyncio.sleep(0.01)
    daemon.silent.set()
    assert await pulling
    assert context.lines[-1][1].startswith(f"image {PINNED} is here after")


async def test_what_is_here_is_not_pulled(daemon: FakeDaemon, images: Images, context: FakeContext) -> None:
    daemon.images[PINNED] = Here(OWN_ID, (PINNED,))
    assert not await images.bring(PINNED, context, 20)
    assert daemon.asked == []


async def test_a_pull_is_tried_again_while_the_registry_is_away(
    daemon: FakeDaemon, images: Images, context: FakeContext
) -> None:
    lost = [downloading("l1", 1, 2), {"error": "unexpected EOF"}]
    daemon.pulls = [Refused("away", "connection refused"), lost, []]
    assert await images.bring(PINNED, context, 20)
    assert daemon.asked == [f"pull {PINNED}"] * 3
    assert "unexpected EOF; tried again" in context.text


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Refused("denied", "unauthorized"), Denied),
        (Refused("absent", "manifest unknown"), NotFound),
        ([{"error": "manifest unknown: deleted"}], NotFound),
    ],
)
async def test_a_pull_that_no_waiting_mends(
    daemon: FakeDaemon, images: Images, context: FakeContext, answer: Any, error: type[Exception]
) -> None:
    daemon.pulls = [answer]
    with pytest.raises(error, match=PINNED):
        await images.bring(PINNED, context, 20)
    assert len(daemon.asked) == 1


async def test_an_image_without_a_registry_that_is_gone(
    images: Images, daemon: FakeDaemon, context: FakeContext
) -> None:
    with pytest.raises(NotFound, match="on one machine only"):
        await images.bring(OWN_ID, context, 20)
    assert daemon.asked == []


async def test_a_pull_has_a_deadline_of_its_own_though_the_daemon_says_nothing(
    daemon: FakeDaemon, images: Images, context: FakeContext
) -> None:
    daemon.pulls, daemon.silent = [[downloading("l1", 1_000_000, 4_000_000)] * 2], threading.Event()
    with pytest.raises(Faulty, match=r"not pulled within its deadline; it got 1\.0 of 4\.0 MB"):
        await images.bring(PINNED, context, 0.2)
    daemon.silent.set()
    assert await asyncio.to_thread(daemon.closed.wait, 5), "and the daemon is told to end it"
    assert PINNED not in daemon.images


async def test_a_registry_that_stays_away_ends_at_the_deadline(daemon: FakeDaemon, context: FakeContext) -> None:
    daemon.pulls = [Refused("away", "connection refused")]
    with pytest.raises(Faulty, match="was not pulled within 5 s: connection refused"):
        await Images(daemon, pauses=(0.01, 6.0)).bring(PINNED, context, 5)
    assert len(daemon.asked) >= 2


async def test_cancel_leaves_a_pull_at_once(daemon: FakeDaemon, images: Images, context: FakeContext) -> None:
    daemon.pulls, daemon.silent = [[downloading("l1", 1, 2)] * 2], threading.Event()
    pulling = asyncio.create_task(images.bring(PINNED, context, 20))
    while not context.lines:  # noqa: ASYNC110 - another thread begins it
        await asyncio.sleep(0.01)
    context.cancelled.set()
    with pytest.raises(Cancelled):
        await asyncio.wait_for(pulling, 5)
    daemon.silent.set()
    assert await asyncio.to_thread(daemon.closed.wait, 5)


@pytest.mark.parametrize("version", ["14", "15.4", "16", "17", "18", "19"])
def test_a_server_of_an_image_is_loaded_by_the_nearest_newer_pgbench(version: str) -> None:
    here, wanted = sorted(installed()), int(version.partition(".")[0])
    newer = [major for major in here if major >= wanted]
    assert for_server(version).major == (newer or here[-1:])[0]


async def test_a_target_without_images_says_so(tmp_path: Any, context: FakeContext) -> None:
    local = LocalTarget(TargetSite(tmp_path, "a"))
    with pytest.raises(Invalid, match="use target docker"):
        await local.find_image(NAME, context)
    with pytest.raises(Invalid, match="use target docker"):
        await local.pull_image(PINNED, context, 1)
