"""Packs of a mirror: every fetch leaves one, and every git that runs opens them all. Now and then they become one.

Not `git repack`: of a large history that takes minutes, and it drops what no branch holds any more. Small packs alone
are put together here, whatever refers to what is in them.
"""

import asyncio
from pathlib import Path

from stackly.git.runner import Runner

MOST = 40
SMALL = 4 * 1024**2  # what a fetch brings; a first clone, or what came together before, is left as it is
_SETTINGS = ("pack.threads=1", "pack.windowMemory=64m")


async def combine(mirror: Path, runner: Runner, *, most: int = MOST) -> int:
    """One pack for the small ones of a mirror without contents, where they are more than `most`. Returns how many went.

    Killed at any moment it leaves everything here at least once. Raises: Faulty.
    """
    small = await asyncio.to_thread(_small, mirror)
    if len(small) <= most:
        return 0
    oids: set[bytes] = set()
    for pack in small:
        index = await asyncio.to_thread(pack.with_suffix(".idx").read_bytes)
        told = await runner.run(mirror, "show-index", stdin=index)
        oids.update(line.split(b" ")[1] for line in told.out.split(b"\n") if line)
    place = small[0].parent / "pack"
    args = ("pack-objects", "--quiet", "--delta-base-offset", "objects/pack/pack")  # as seen from the mirror
    made = await runner.run(mirror, *args, stdin=b"\n".join([*sorted(oids), b""]), config=_SETTINGS)
    new = Path(f"{place}-{made.out.decode().strip()}.pack")
    new.with_suffix(".promisor").touch()  # what they refer to need not be here
    return await asyncio.to_thread(_remove, [p for p in small if p.name != new.name])


def _small(mirror: Path) -> list[Path]:
    packs = [mark.with_suffix(".pack") for mark in (mirror / "objects" / "pack").glob("pack-*.promisor")]
    return [pack for pack in packs if pack.with_suffix(".idx").exists() and pack.stat().st_size < SMALL]


def _remove(packs: list[Path]) -> int:
    """The index first: a pack without one is no pack to git."""
    for pack in packs:
        for suffix in (".idx", ".rev", ".pack", ".promisor"):
            pack.with_suffix(suffix).unlink(missing_ok=True)
    return len(packs)
