"""Live data waits on disk, in order, and never stops a step."""

from pathlib import Path
from typing import IO, cast

from agent.spool import Spool
from stackly.errors import Denied, Unavailable
from stackly.wire import gateway_pb2 as wire

PLACE = ("r", "t", "measure.1")


class Taker:
    def __init__(self) -> None:
        self.away = False
        self.refusing = ""
        self.taken: list[wire.AppendRequest] = []

    async def __call__(self, request: wire.AppendRequest) -> None:
        if self.away:
            raise Unavailable
        if request.run == self.refusing:
            raise Denied
        self.taken.append(request)

    @property
    def numbers(self) -> list[int]:
        return [line.n for request in self.taken for line in request.lines]


def _on_disk(spool: Path) -> int:
    return sum(p.stat().st_size for p in spool.iterdir())


async def test_lines_arrive_in_order_with_their_points(tmp_path: Path) -> None:
    taker = Taker()
    spool = Spool(tmp_path, taker)
    for n in range(1, 1201):
        spool.line(PLACE, n, "2026-11-21T10:00:00Z", "info", f"line {n}")
    spool.point(PLACE, sample=1, second=2, tps=3.5, errors=0)
    spool.line(("r", "t", "other.1"), 1, "2026-11-21T10:00:00Z", "info", "x")
    assert await spool._drain()
    assert taker.numbers == [*range(1, 1201), 1]
    assert [p.tps for r in taker.taken for p in r.points] == [3.5]
    assert all(len(r.lines) <= 500 for r in taker.taken)
    assert spool._segments() == []


async def test_what_could_not_be_sent_is_sent_by_the_next_life(tmp_path: Path) -> None:
    taker = Taker()
    taker.away = True
    spool = Spool(tmp_path, taker)
    spool.line(PLACE, 1, "", "info", "one")
    assert not await spool._drain()
    spool.line(PLACE, 2, "", "info", "two")
    await spool.close(within_s=0.1)
    with (tmp_path / "2.jsonl").open("ab") as half:  # killed while it wrote
        half.write(b'{"p": ["r"')
    taker.away = False
    again = Spool(tmp_path, taker)
    again.line(PLACE, 3, "", "info", "three")
    await again.close()
    assert taker.numbers == [1, 2, 3]


async def test_a_full_spool_drops_counts_in_one_line_and_goes_on(tmp_path: Path) -> None:
    taker = Taker()
    spool = Spool(tmp_path, taker, cap_bytes=2000)
    for n in range(1, 101):
        spool.line(PLACE, n, "", "info", "x" * 100)
    spool.line(("r", "other", "measure.1"), 1, "", "info", "x" * 100)
    assert _on_disk(tmp_path) <= 2000
    assert await spool._drain()
    kept = [line.n for request in taker.taken for line in request.lines if request.source == "measure.1"]
    assert 0 < len(kept) < 20
    told = {(r.run, r.test): [line.text for line in r.lines] for r in taker.taken if r.source == "spool"}
    assert set(told) == {("r", "t"), ("r", "other")}
    assert [text.split()[0] for text in told["r", "t"]] == [str(100 - len(kept))]
    taker.taken.clear()
    spool.line(PLACE, 101, "", "info", "room again")
    assert await spool._drain()
    assert taker.numbers == [101], "what was counted is not counted again"


async def test_the_count_of_what_was_dropped_waits_for_the_gateway(tmp_path: Path) -> None:
    taker = Taker()
    spool = Spool(tmp_path, taker, cap_bytes=0)
    spool.line(PLACE, 1, "", "info", "x")
    taker.away = True
    assert not await spool._drain()
    taker.away = False
    assert await spool._drain()
    assert [(r.source, r.lines[0].text.split()[0]) for r in taker.taken] == [("spool", "1")]


class HalfFile:
    """The last blocks of a disk: a write finds room for a part, and is no error."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        return self._file.write(data[: len(data) // 2])

    def close(self) -> None:
        self._file.close()


async def test_half_a_line_spoils_no_other(tmp_path: Path) -> None:
    taker = Taker()
    spool = Spool(tmp_path, taker)
    spool.line(PLACE, 1, "", "info", "one")
    assert spool._open
    spool._open = cast(IO[bytes], HalfFile(spool._open))
    spool.line(PLACE, 2, "", "info", "two")
    spool.line(PLACE, 3, "", "info", "three")
    assert spool._size == _on_disk(tmp_path)
    assert await spool._drain()
    assert [line.n for r in taker.taken for line in r.lines if r.source == "measure.1"] == [1, 3]


async def test_what_is_refused_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    taker = Taker()
    taker.refusing = "old"
    spool = Spool(tmp_path, taker)
    spool.line(("old", "t", "s"), 1, "", "info", "x")
    spool.line(PLACE, 7, "", "info", "y")
    assert await spool._drain()
    assert taker.numbers == [7]
