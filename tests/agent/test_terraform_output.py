"""Following what a command prints, whoever it is that prints."""

import asyncio
import tracemalloc
from pathlib import Path

import pytest

from agent.terraform.output import tail

_MIB = 1024 * 1024


async def _followed(path: Path) -> list[str]:
    seen: list[str] = []
    ended = asyncio.Event()
    ended.set()
    await tail(path, seen.append, ended)
    return seen


@pytest.mark.parametrize("longest", [300_000, 700_000, _MIB])
async def test_every_line_is_given_also_one_over_many_reads_and_a_last_one_without_an_end(
    tmp_path: Path, longest: int
) -> None:
    lines = ["first", "x" * longest, "", "é" * 10, "last"]
    (tmp_path / "out").write_text("\n".join(lines))
    assert await _followed(tmp_path / "out") == lines


async def test_a_line_without_end_is_left_out_and_takes_no_memory(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        out.write(b"before\n")
        for _ in range(64):
            out.write(b"x" * _MIB)
        out.write(b"\nafter\n")

    tracemalloc.start()
    seen = await _followed(tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert seen == ["before", "after"]
    assert peak < 16 * _MIB


async def test_what_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert await _followed(tmp_path / "absent") == []
