"""Log lines and points on disk until the gateway has them. A step never waits for it; the server drops repetitions."""

import asyncio
import contextlib
import errno
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import IO, Any

from stackly import clock, log
from stackly.errors import StacklyError, Unavailable, reason_of
from stackly.wire import gateway_pb2 as wire

_log = log.get("agent.spool")

CAP_BYTES = 64 * 1024 * 1024
LINE_CAP = 8 * 1024
_BATCH = 500
_BATCH_BYTES = 512 * 1024
_LOOK_S = 0.25
_RETRY_S = 1.0

Send = Callable[[wire.AppendRequest], Awaitable[None]]


class Spool:
    """Segments `<n>.jsonl` in a directory, oldest first. What an earlier life left is sent first."""

    def __init__(self, directory: Path, send: Send, *, cap_bytes: int = CAP_BYTES, retry_s: float = _RETRY_S) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._send = send
        self._cap = cap_bytes
        self._retry_s = retry_s
        self._size = sum(p.stat().st_size for p in self._segments())
        self._next = max((int(p.stem) for p in self._segments()), default=0) + 1
        self._open: IO[bytes] | None = None
        self._dropped: Counter[tuple[str, str]] = Counter()  # (run, test) -> records
        self._task: asyncio.Task[None] | None = None

    def _segments(self) -> list[Path]:
        return sorted(self._directory.glob("*.jsonl"), key=lambda p: int(p.stem))

    def line(self, place: tuple[str, str, str], n: int, at: str, level: str, text: str) -> None:
        """Shape: `place` is (run, test, source); `n` counts within it."""
        self._add({"p": place, "n": n, "at": at, "level": level, "text": text[:LINE_CAP]})

    def point(self, place: tuple[str, str, str], **point: Any) -> None:
        self._add({"p": place, "point": point})

    def _add(self, record: dict[str, Any]) -> None:
        data = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        about = (record["p"][0], record["p"][1])
        if self._size + len(data) > self._cap:
            self._dropped[about] += 1
            return
        try:
            if self._open is None:
                self._open = (self._directory / f"{self._next}.jsonl").open("ab", buffering=0)
                self._next += 1
            self._write(self._open, data)
        except OSError as e:  # a full disk must not end a measurement
            self._dropped[about] += 1
            self._close()  # it may end in half a line: the next one begins a segment of its own
            _log.warning("spool.write_failed", reason=str(e))

    def _write(self, out: IO[bytes], data: bytes) -> None:
        """Raises: OSError also where only a part found room."""
        written = out.write(data)
        self._size += written
        if written < len(data):
            raise OSError(errno.ENOSPC, "only a part of it found room")

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="spool")

    async def close(self, *, within_s: float = 5.0) -> None:
        """Send what can be sent soon; the rest stays on disk."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._drain()
        self._close()

    def _close(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            with contextlib.suppress(OSError):
                opened.close()

    async def _run(self) -> None:
        while True:
            try:
                done = await self._drain()
            except Exception as e:  # noqa: BLE001 - whatever the disk does, what comes later is sent
                _log.warning("spool.failed", reason=reason_of(e), exc_info=not isinstance(e, OSError))
                done = False
            await asyncio.sleep(_LOOK_S if done else self._retry_s)

    async def _drain(self) -> bool:
        """Send every whole segment. False when the gateway does not answer."""
        self._close()
        for segment in self._segments():
            size = segment.stat().st_size
            if not await self._send_segment(segment):
                return False
            segment.unlink()
            self._size -= size
        return await self._say_dropped()

    async def _say_dropped(self) -> bool:
        """One line in the log of each test that something is missing of. False when the gateway does not answer."""
        for (run, test), records in list(self._dropped.items()):
            text = (
                f"{records:,} lines or points were not kept: the agent's disk or spool ({self._cap:,} bytes) was full"
            )
            _log.warning("spool.dropped", run=run, test=test, records=records)
            at = clock.now()
            request = wire.AppendRequest(run=run, test=test, source="spool")
            request.lines.add(n=int(at.timestamp() * 1000), at=clock.iso(at), level="warning", text=text)
            if not await self._sent(request):
                return False
            self._dropped[run, test] -= records  # more may have been dropped meanwhile
            self._dropped = +self._dropped
        return True

    async def _send_segment(self, segment: Path) -> bool:
        for request in _requests(segment):
            if not await self._sent(request):
                return False
        return True

    async def _sent(self, request: wire.AppendRequest) -> bool:
        try:
            await self._send(request)
        except Unavailable:
            return False
        except StacklyError as e:  # the run is not ours any more: nobody will ever take it
            _log.warning("spool.refused", run=request.run, reason=e.detail)
        return True


def _requests(segment: Path) -> Iterator[wire.AppendRequest]:
    """Batches of one source each, in order."""
    for place, records in groupby(_records(segment), key=lambda r: tuple(r["p"])):
        request, count, size = _request(place), 0, 0
        for record in records:
            _put(request, record)
            count, size = count + 1, size + len(record.get("text", "")) + 64
            if count >= _BATCH or size >= _BATCH_BYTES:
                yield request
                request, count, size = _request(place), 0, 0
        if count:
            yield request


def _request(place: tuple[str, ...]) -> wire.AppendRequest:
    run, test, source = place
    return wire.AppendRequest(run=run, test=test, source=source)


def _put(request: wire.AppendRequest, record: dict[str, Any]) -> None:
    if "point" in record:
        request.points.add(**record["point"])
    else:
        request.lines.add(n=record["n"], at=record["at"], level=record["level"], text=record["text"])


def _records(segment: Path) -> Iterator[dict[str, Any]]:
    with segment.open("rb") as file:
        for line in file:
            with contextlib.suppress(ValueError, KeyError):  # the last line of a life that was killed
                record = json.loads(line)
                if len(record["p"]) == 3:
                    yield record
