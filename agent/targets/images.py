"""Images on a Docker daemon: what a name means just now, and how the image comes here.

The registry is asked through the daemon, with the credentials of this agent's user (`docker login`). An image that was
built on this machine and never was in a registry is taken by its id.
"""

import asyncio
import threading
from collections.abc import Awaitable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from agent.context import Cancelled, StepContext
from stackly import clock
from stackly.engine.contracts.site import ImageOutcome
from stackly.errors import Denied, Faulty, Invalid, NotFound, StacklyError

T = TypeVar("T")
_PAUSES_S = (1.0, 2.0, 5.0, 15.0)
_TELL_EVERY_S = 10.0
_SAID_LONGEST = 500
# The daemon passes refusals on as errors of its own (500), and their words are all that tells.
_DENIED = ("denied", "unauthorized", "authentication required", "auth credentials", "insufficient_scope")


class Refused(Exception):  # noqa: N818 - an answer, not an error of ours
    """What came instead of an image. Shape: `kind` absent, away, denied, wrong."""

    def __init__(self, kind: str, said: str) -> None:
        super().__init__(said)
        self.kind = kind
        self.said = " ".join(said.split()).rstrip(".")[:_SAID_LONGEST]


@dataclass(frozen=True, slots=True)
class Here:
    """An image on this machine. Shape: `digests` are those of registries, repository@sha256:…"""

    id: str
    digests: tuple[str, ...]

    @property
    def is_own(self) -> bool:
        """No registry gave it another digest than the one it has here."""
        return all(d.endswith(f"@{self.id}") for d in self.digests)


class Daemon(Protocol):
    """Every call blocks. Raises: Refused."""

    def digest_of(self, name: str) -> str:
        """What the registry says that the name means. Shape: sha256:…"""
        ...

    def here(self, name: str) -> Here | None: ...

    def pull(self, name: str) -> Generator[Mapping[str, Any], None, None]:
        """The daemon's events. Closing it ends the pull."""
        ...


def kind_of_answer(status: int | None, said: str) -> str:
    """What a registry's refusal means, as the daemon passes it on: its status, or its words where it has none."""
    text = said.lower()
    if status in {401, 403} or any(word in text for word in _DENIED):
        return "denied"
    if status == 404 or "manifest unknown" in text or "name unknown" in text or "not found" in text:
        return "absent"
    return "wrong" if status == 400 else "away"


def pinned(name: str, digest: str) -> str:
    """The repository of a name, with a digest instead of its tag."""
    before, slash, last = name.partition("@")[0].rpartition("/")
    return f"{before}{slash}{last.partition(':')[0]}@{digest}"


def registry_of(name: str) -> str:
    """As `docker login` takes it; '' is Docker's own."""
    first, slash, _ = name.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else ""


class Images:
    """Shape: `pauses` between tries of a pull, the last goes on. Units: seconds."""

    def __init__(
        self, daemon: Daemon, *, pauses: Sequence[float] = _PAUSES_S, tell_every_s: float = _TELL_EVERY_S
    ) -> None:
        self._daemon = daemon
        self._pauses = pauses
        self._tell_every_s = tell_every_s

    async def find(self, name: str, context: StepContext) -> ImageOutcome:
        """One look. Raises: Denied, Invalid, for what no waiting mends; Cancelled."""
        try:
            digest = await _or_cancelled(asyncio.to_thread(self._daemon.digest_of, name), context)
        except Refused as e:
            return await self._without_registry(name, e, context)
        found = pinned(name, digest)
        context.log(f"image {name} is {found}")
        return ImageOutcome("there", found)

    async def _without_registry(self, name: str, answer: Refused, context: StepContext) -> ImageOutcome:
        """An image of this machine only counts, unless it may be a registry's that just cannot be asked."""
        here = await self._here(name, context)
        if here is not None and (not here.digests or (here.is_own and answer.kind != "away")):
            context.log(f"image {name} is on this machine only: {here.id} (registry: {answer.said})")
            return ImageOutcome("there", here.id)
        if answer.kind in {"denied", "wrong"}:
            raise _told(name, answer)
        context.log(f"image {name} is not there yet: {answer.said}")
        return ImageOutcome(answer.kind, reason=answer.said)

    async def _here(self, name: str, context: StepContext) -> Here | None:
        try:
            return await _or_cancelled(asyncio.to_thread(self._daemon.here, name), context)
        except Refused:
            return None

    async def bring(self, name: str, context: StepContext, timeout_s: float) -> bool:
        """Have the image on this machine. True when it was pulled. Shape: `name` by digest, or an image's id.

        Raises: Denied, NotFound, Faulty past its deadline; Cancelled.
        """
        deadline = clock.monotonic() + timeout_s
        if await self._here(name, context) is not None:
            return False
        if "@" not in name:
            raise NotFound(f"Image {name} was on one machine only, and is there no more; build it again, and push.")
        tries = 0
        while True:
            try:
                await self._pull(name, context, deadline)
            except Refused as e:
                if e.kind != "away":
                    raise _told(name, e) from e
                pause = self._pauses[min(tries, len(self._pauses) - 1)]
                if clock.monotonic() + pause >= deadline:
                    raise Faulty(f"Image {name} was not pulled within {timeout_s:.0f} s: {e.said}.") from e
                context.log(f"image {name}: {e.said}; tried again in {pause:g} s", "warning")
                await _or_cancelled(asyncio.sleep(pause), context)
                tries += 1
            else:
                return True

    async def _pull(self, name: str, context: StepContext, deadline: float) -> None:
        began = clock.monotonic()
        pull = Pull(self._daemon, name)
        done = pull.start()
        try:
            while not done.done():
                left = deadline - clock.monotonic()
                if left <= 0:
                    raise Faulty(
                        f"Image {name} was not pulled within its deadline; it got {pull.progress}. "
                        "Make it smaller, or the way to its registry faster, and run it again."
                    )
                await _or_cancelled(asyncio.wait({done}, timeout=min(left, self._tell_every_s)), context)
                if not done.done():
                    context.log(f"image {name}: {pull.progress}")
            done.result()
        finally:
            pull.stop()
        context.log(f"image {name} is here after {clock.monotonic() - began:.1f} s: {pull.progress}")


@dataclass(slots=True)
class Progress:
    """What a pull got so far, by layer. Written by its thread, read by ours."""

    layers: dict[str, tuple[int, int]] = field(default_factory=dict)

    def heard(self, event: Mapping[str, Any]) -> None:
        detail = event.get("progressDetail") or {}
        layer, total = str(event.get("id", "")), int(detail.get("total") or 0)
        if event.get("status") == "Downloading" and total > 0:
            self.layers[layer] = (int(detail.get("current") or 0), total)
        elif event.get("status") in {"Download complete", "Pull complete"} and layer in self.layers:
            self.layers[layer] = (self.layers[layer][1],) * 2

    def __str__(self) -> str:
        known = tuple(self.layers.values())
        got, total = sum(k[0] for k in known), sum(k[1] for k in known)
        return f"{got / 1e6:.1f} of {total / 1e6:.1f} MB"


class Pull:
    """A pull in a thread of its own: a daemon that says nothing must not hold who waits for it."""

    def __init__(self, daemon: Daemon, name: str) -> None:
        self.progress = Progress()
        self._daemon = daemon
        self._name = name
        self._over = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()

    def start(self) -> "asyncio.Future[None]":
        threading.Thread(target=self._carry_out, name=f"pull {self._name}", daemon=True).start()
        return self._done

    def stop(self) -> None:
        """The thread ends with the daemon's next word; nobody waits for it."""
        self._over.set()
        self._done.cancel()

    def _carry_out(self) -> None:
        failure: BaseException | None = None
        try:
            self._listen()
        except Exception as e:  # noqa: BLE001 - whatever it is, it is told where the pull is waited for
            failure = e
        if not self._over.is_set():
            self._loop.call_soon_threadsafe(self._end, failure)

    def _listen(self) -> None:
        with closing(self._daemon.pull(self._name)) as events:
            for event in events:
                if self._over.is_set():
                    return
                if said := event.get("error"):
                    raise Refused(kind_of_answer(None, str(said)), str(said))
                self.progress.heard(event)
        if self._daemon.here(self._name) is None:
            raise Refused("away", "the daemon's pull ended without the image")

    def _end(self, failure: BaseException | None) -> None:
        if self._done.done():
            return
        if failure is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(failure)


def _told(name: str, answer: Refused) -> StacklyError:
    """The answer as an error that says what to do."""
    if answer.kind == "denied":
        login = f"docker login {registry_of(name)}".strip()
        return Denied(
            f"The registry refuses image {name}: {answer.said}. See whether the name is right; if it is private, run "
            f"`{login}` as the agent's user; then run it again."
        )
    if answer.kind == "wrong":
        return Invalid(f"Docker takes no image of this name, {name}: {answer.said}. Correct database.image.")
    return NotFound(f"Image {name} is in its registry no more: {answer.said}. Push it again, or start a new run.")


async def _or_cancelled(work: Awaitable[T], context: StepContext) -> T:
    """Raises: Cancelled, and what was waited for is left behind."""
    task, told = asyncio.ensure_future(work), asyncio.ensure_future(context.cancelled.wait())
    try:
        await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Cancelled
        return task.result()
    finally:
        task.cancel()
        told.cancel()
