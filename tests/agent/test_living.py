"""engine rule 26 in the agent: a full disk, or a look that fails unforeseen, ends neither a step nor a beat."""

import asyncio
import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent import main
from agent.context import StepContext
from agent.main import Life
from agent.outbox import Outbox
from agent.settings import Timings
from agent.spool import Spool
from agent.steps import Steps
from stackly.temporal.steps import StepKey
from stackly.wire import gateway_pb2 as wire
from tests.agent.test_runtime_steps import QUICK, FakeGateway, Heard, Out

KEY = StepKey("r", "t", "apply", 1, 1)
FULL = OSError(errno.ENOSPC, "No space left on device")


class FullOutbox(Outbox):
    def put(self, key: StepKey, incarnation: str, outcome_json: str) -> Path:
        raise FULL


async def test_an_outcome_that_cannot_be_kept_is_stored_all_the_same(tmp_path: Path) -> None:
    gateway = FakeGateway()

    async def work(_: Mapping[str, Any], __: StepContext) -> Out:
        return Out(1)

    steps = Steps(gateway, Heard(), FullOutbox(tmp_path / "outbox"), "life", QUICK)
    await steps.execute(KEY, work)
    assert gateway.outcome == {"ok": True, "value": {"n": 1}}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EDQUOT])
async def test_what_a_machine_lacks_is_told_as_an_outage(tmp_path: Path, number: int) -> None:
    gateway = FakeGateway()

    async def work(_: Mapping[str, Any], __: StepContext) -> Out:
        raise OSError(number, "short", "/somewhere")

    await Steps(gateway, Heard(), Outbox(tmp_path / "outbox"), "life", QUICK).execute(KEY, work)
    assert gateway.outcome["kind"] == "Unavailable"
    assert "/somewhere" in gateway.outcome["detail"]


@dataclass
class Beats:
    """Hears beats, and ends the life after three that came with the targets' inventory."""

    over: asyncio.Event
    seen: list[Any] = field(default_factory=list)

    async def heartbeat(self, *_: Any, inventory: Any = None, **__: Any) -> tuple[bool, bool]:
        self.seen.append(inventory)
        return False, len([s for s in self.seen if s is not None]) >= 3


@pytest.mark.parametrize("error", [KeyError("x"), FULL, RuntimeError("docker"), ValueError()])
async def test_beats_go_on_whatever_a_look_raises(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(main, "LOOK_AROUND_S", 0.0)
    raised: list[Exception] = [error] * 3
    over = asyncio.Event()
    beats = Beats(over)

    async def look() -> dict[str, object]:
        if raised:
            raise raised.pop()
        return {"local": []}

    async def nothing() -> None:
        """The disk is fine here."""

    life = SimpleNamespace(
        over=over,
        look_around=look,
        tidy=nothing,
        gateway=beats,
        incarnation="i",
        able=dict,
        identity=SimpleNamespace(role="edge"),
        steps=SimpleNamespace(running=[]),
        settings=SimpleNamespace(timings=Timings(beat_s=0.01)),
    )
    polling = cast(Any, SimpleNamespace(look=nothing, is_polling=True))
    await asyncio.wait_for(main._beat(cast(Life, life), polling), 20)
    assert beats.seen == [None] * 3 + [{"local": []}] * 3


async def test_the_spool_goes_on_after_its_disk_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got = asyncio.Event()

    async def take(_: wire.AppendRequest) -> None:
        got.set()

    spool = Spool(tmp_path, take, retry_s=0.01)
    segments, failures = spool._segments, [FULL, FULL]

    def listed() -> list[Path]:
        if failures:
            raise failures.pop()
        return segments()

    monkeypatch.setattr(spool, "_segments", listed)
    spool.start()
    spool.line(("r", "t", "s"), 1, "2026-11-21T10:00:00Z", "info", "x")
    await asyncio.wait_for(got.wait(), 20)
    await spool.close()
