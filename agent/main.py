"""`stackly-agent site|edge`: enrol, beat, work, until the end of the process or of the test."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509

from agent.gateway import Gateway, Identity
from agent.identity import identify
from agent.outbox import Outbox, patiently
from agent.sandbox.isolation import Isolation, find, record, required
from agent.sandbox.users import Users
from agent.settings import (
    AgentSettings,
    EnrolmentFile,
    capabilities,
    isolation_required,
    parse_arguments,
    read_enrolment,
    usable_targets,
    version,
)
from agent.spool import Spool
from agent.steps import Steps
from agent.workdir import write_private
from agent.worker import Polling, connect, edge_workers, polling, site_workers
from stackly import clock, log
from stackly.errors import StacklyError, Unavailable, of_os, reason_of
from stackly.ids import new_id

if TYPE_CHECKING:
    from agent.site import SiteWork

_log = log.get("agent")
LookAround = Callable[[], Awaitable[Mapping[str, object]]]
LOOK_AROUND_S = 10.0
# A certificate this near its end is exchanged: the process ends when it is idle, and its supervisor starts it anew.
_RETIRE_BEFORE = timedelta(hours=11)


@dataclass(frozen=True, slots=True)
class Life:
    """What one life of the agent runs on."""

    settings: AgentSettings
    identity: Identity
    incarnation: str
    able: Callable[[], dict[str, object]]
    gateway: Gateway
    spool: Spool
    steps: Steps
    over: asyncio.Event
    isolation: Isolation
    # What a site agent sees on its targets; an edge agent looks at nothing.
    look_around: LookAround | None = None
    tidy: Callable[[], Awaitable[None]] | None = None


async def _beat(life: Life, now_polling: Polling) -> None:
    """Heartbeats until the control plane says that this agent is not wanted any more.

    Whatever a look at the targets or at the disk raises costs that look: a silent agent would count as lost.
    """
    failing, looked_at = False, -LOOK_AROUND_S
    while not life.over.is_set():
        seen = None
        try:
            await now_polling.look()
            if clock.monotonic() - looked_at >= LOOK_AROUND_S:
                looked_at = clock.monotonic()
                seen = await _look_around(life)
            if _should_retire(life):
                _log.info("agent.retires", reason="its certificate ends soon")
                life.over.set()
            failing = await _beat_once(life, now_polling, seen, failing=failing)
        except Exception:  # noqa: BLE001 - see above
            _log.exception("beat.failed")
        await _until(life.over, life.settings.timings.beat_s)


async def _look_around(life: Life) -> Mapping[str, object] | None:
    """None where there is nothing to look at, or the look failed: the last one is as good as there is."""
    if life.look_around is None:
        return None
    try:
        return await life.look_around()
    except Exception as e:  # noqa: BLE001 - what is looked at is not ours
        _log.warning("targets.not_seen", reason=reason_of(e), exc_info=not isinstance(e, StacklyError | OSError))
        return None
    finally:
        if life.tidy is not None:
            await life.tidy()


async def _beat_once(life: Life, now_polling: Polling, seen: Mapping[str, object] | None, *, failing: bool) -> bool:
    """Whether the gateway is away."""
    try:
        able = await asyncio.to_thread(life.able)  # asked anew: Docker may have come, or gone
        revoked, test_over = await life.gateway.heartbeat(
            life.incarnation, version(), able, polling=now_polling.is_polling, inventory=seen
        )
    except Unavailable as e:
        if not failing:
            _log.warning("gateway.away", reason=e.detail)
        return True
    except StacklyError as e:
        _log.error("agent.refused", reason=e.detail)
        life.over.set()
    else:
        if revoked or test_over:
            _log.info("agent.not_wanted", revoked=revoked, test_over=test_over)
            life.over.set()
    return False


def _should_retire(life: Life) -> bool:
    if life.identity.role != "site" or life.steps.running:
        return False
    until = x509.load_pem_x509_certificate(life.identity.certificate_pem).not_valid_after_utc
    return until - clock.now() < _RETIRE_BEFORE


async def _until(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


@asynccontextmanager
async def _health(home: Path, now_polling: Polling) -> AsyncIterator[None]:
    """`GET /healthz` on a free loopback port, which `healthz.port` of the home names: 200 only while polling."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(2):
                await reader.readuntil(b"\r\n")
                told = b"200 OK" if now_polling.is_polling else b"503 Service Unavailable"
                writer.write(b"HTTP/1.1 " + told + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        write_private(home / "healthz.port", str(server.sockets[0].getsockname()[1]).encode())
    except OSError as e:  # nobody finds it then: no reason to do no work
        _log.warning("health.not_told", reason=reason_of(e))
    try:
        yield
    finally:
        server.close()
        (home / "healthz.port").unlink(missing_ok=True)


async def _begin_life(life: Life, before_reap: Callable[[], Awaitable[None]] | None) -> list[tuple[str, str]]:
    """What must not be reaped. Outcomes and states of the earlier life go first, then its steps are gone (rule 13)."""
    await Outbox(life.settings.home / "outbox").send_leftovers(life.gateway)
    if before_reap is not None:
        await before_reap()
    owners = await patiently(lambda: life.gateway.report_gone(life.incarnation), life.over)
    return [(run, test) for run, test, _ in owners]


async def _site(life: Life) -> None:
    from agent.site import SiteSettings, SiteWork  # late: an edge agent starts without Terraform's half

    hands = SiteWork(life.settings.home, life.identity.agent_id, SiteSettings(**_site_settings(life)))

    async def upload_states() -> None:
        for left in await hands.unfinished():
            try:
                accepted, rescued, why = await patiently(
                    lambda left=left: life.gateway.write_state(left.run, left.test, left.epoch, left.state),  # type: ignore[misc]
                )
            except StacklyError as e:
                _log.warning("state.not_taken", run=left.run, test=left.test, reason=e.detail)
            else:
                _log.info("state.sent_late", run=left.run, accepted=accepted, rescued=rescued, reason=why)

    current = await _begin_life(life, upload_states)
    await hands.reap(current, _looked_at())
    life = replace(life, look_around=lambda: hands.look_around(_looked_at()), tidy=lambda: _tidied(life, hands))
    await _work(life, lambda client: site_workers(client, life.identity.agent_id, hands, life.steps, life.settings))


def _looked_at() -> list[str]:
    """The targets whose machines can be seen now."""
    return [t for t in usable_targets(_targets("site")) if t != "module"]


async def _tidied(life: Life, hands: "SiteWork") -> None:
    try:
        await hands.tidy(life.gateway.list_owners, lambda: life.steps.running)
    except Exception as e:  # noqa: BLE001 - they are looked at again soon
        _log.warning("directories.not_tidied", reason=reason_of(e), exc_info=not isinstance(e, StacklyError | OSError))


def _site_settings(life: Life) -> dict[str, Any]:
    environment = life.settings.environment
    told: dict[str, Any] = {"terraform": environment.get("STACKLY_TERRAFORM", "terraform")}
    told |= {"isolation": life.isolation, "readable": _paths(environment.get("STACKLY_SANDBOX_READABLE", ""))}
    mirror = environment.get("STACKLY_PLUGIN_MIRROR")
    return told | ({"plugin_mirror": Path(mirror)} if mirror else {})


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(Path(part) for part in text.split(os.pathsep) if part)


async def _edge(life: Life, given: EnrolmentFile) -> None:
    from agent.edge import EdgeSettings, EdgeWork  # late: a site agent starts without the databases' half

    assert life.identity.credentials is not None, "an edge agent's enrolment carries credentials"
    environment = life.settings.environment
    stroppy = environment.get("STACKLY_STROPPY")
    manifest = environment.get("STACKLY_STROPPY_MANIFEST")
    binaries = environment.get("STACKLY_POSTGRES_BINARIES", "")
    hands = EdgeWork(
        life.settings.home,
        life.identity.credentials,
        life.identity.machine,
        given.container,
        EdgeSettings(
            cache=Path(environment.get("STACKLY_CACHE", str(life.settings.home / "cache"))),
            postgres_binaries=_paths(binaries),
            stroppy=Path(stroppy) if stroppy else None,
            stroppy_manifest=Path(manifest) if manifest else None,
            labels=_labels(life, given),
            isolation=life.isolation,
            readable=_paths(environment.get("STACKLY_SANDBOX_READABLE", "")),
        ),
    )
    await _begin_life(life, None)
    try:
        await _work(life, lambda client: edge_workers(client, life.identity.agent_id, hands, life.steps, life.settings))
    finally:
        await hands.close()


def _labels(life: Life, given: EnrolmentFile) -> dict[str, str]:
    """So that the site agent's remove and inventory find our containers.

    Shape: our home is `<the site agent's home>/<folder>/<machine>`.
    """
    identity = life.identity
    ends = {"stackly.expires": given.more["ends_at"]} if "ends_at" in given.more else {}
    return ends | {
        "stackly.home": str(life.settings.home.parent.parent),
        "stackly.run": identity.run,
        "stackly.test": identity.test,
        "stackly.machine": identity.machine,
    }


async def _work(life: Life, make: Callable[[Any], list[Any]]) -> None:
    """Poll until it is over; then end what runs."""
    client = await patiently(lambda: connect(life.identity), life.over)
    async with polling(client, make(client)) as now_polling, _health(life.settings.home, now_polling):
        beats = asyncio.create_task(_beat(life, now_polling))
        _log.info("agent.started", agent=life.identity.agent_id, role=life.identity.role)
        await life.over.wait()
        beats.cancel()
        await life.steps.close()
    _log.info("agent.stopped", agent=life.identity.agent_id)


async def live(settings: AgentSettings) -> None:
    """One life, from enrolment to its end. Raises: StacklyError when there is no way to begin."""
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for ends in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(ends, over.set)
    given = read_enrolment(settings.enrolment) if settings.enrolment is not None else None
    isolation = await asyncio.to_thread(_isolation, settings, given)
    _log.info("agent.isolation", kind=isolation.name, reason=isolation.why)

    def able() -> dict[str, object]:
        return capabilities(settings.role, _targets(settings.role)) | isolation.told()

    identity = await identify(settings, given, able())
    if identity.deadline is not None:
        loop.call_later(max(0.0, (identity.deadline - clock.now()).total_seconds()), over.set)
    gateway = Gateway(identity, call_s=settings.timings.call_s)
    spool = Spool(settings.home / "spool", gateway.append)
    incarnation = new_id()
    steps = Steps(gateway, spool, Outbox(settings.home / "outbox"), incarnation, settings.timings)
    life = Life(settings, identity, incarnation, able, gateway, spool, steps, over, isolation)
    spool.start()
    try:
        if identity.role == "site":
            await _site(life)
        else:
            assert given is not None
            await _edge(life, given)
    finally:
        await spool.close()
        await gateway.close()


def _isolation(settings: AgentSettings, given: EnrolmentFile | None) -> Isolation:
    """Raises: Unavailable when there must be one and there is none; Invalid."""
    # Machines of one host take their users from their site agent's, which gives none twice.
    users = Users(Path(given.more["users"])) if given is not None and "users" in given.more else None
    must = isolation_required(settings)
    found = find(settings.home, users)
    record(settings.home, found)
    return required(found, must=must)


def _targets(role: str) -> Sequence[str]:
    if role != "site":
        return ()
    from agent.targets.registry import creators  # late: an edge agent has no targets

    return sorted(creators())


def main(argv: Sequence[str] | None = None) -> None:
    settings = parse_arguments(sys.argv[1:] if argv is None else argv)
    log.configure(f"agent-{settings.role}", json=True)
    try:
        asyncio.run(live(settings))
    except StacklyError as e:
        _log.error("agent.cannot_start", kind=e.slug(), reason=e.detail)
        code = 1
    except OSError as e:
        if of_os(e) is None:
            raise
        _log.error("agent.cannot_start", kind="unavailable", reason=reason_of(e))
        code = 1
    else:
        code = 0
    sys.stderr.flush()
    # The core's threads outlive the loop, and an ordinary exit beside them may abort the interpreter.
    os._exit(code)


if __name__ == "__main__":
    main()
