"""`python -m agent.machines list|end --home DIR`: the machines of a site agent that does not run.

Shape: stdout is one JSON object: `agents` (id, run, test, machine), `counts` (kind -> how many things are there),
`away` (target -> why it could not be asked). `end` leaves nothing of them, and tells what was there.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent import workdir
from agent.site import SiteSettings
from agent.targets.registry import Targets
from agent.targets.target import TargetSite
from agent.terraform import mirroring
from stackly import log
from stackly.errors import StacklyError, reason_of

# Of a Terraform whose agent went: it was told to stop with it, and writes its state first.
_TERRAFORM_S = 15.0


async def look(targets: Targets) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    agents: list[dict[str, str]] = []
    away: dict[str, str] = {}
    for name in _used(targets):
        target = targets.get(name)
        residents = target.residents()
        agents += [asdict(r) for r in residents]
        counts["machine"] += len(residents)
        try:
            counts.update(item.kind for item in await target.inventory("", ""))
        except StacklyError as e:
            away[name] = e.detail
    return {"agents": agents, "counts": {k: n for k, n in sorted(counts.items()) if n}, "away": away}


def _used(targets: Targets) -> list[str]:
    """A target that never made anything here need not answer."""
    return [name for name in targets.names if targets.get(name).was_used()]


async def end(targets: Targets, home: Path) -> dict[str, Any]:
    """Raises: Faulty when a process survives SIGKILL."""
    for each in workdir.run_directories(home):
        await mirroring.settle(each, _TERRAFORM_S)
    there = await look(targets)
    for name in _used(targets):
        try:
            await targets.get(name).remove("", "")
        except StacklyError as e:
            there["away"][name] = e.detail
    await workdir.end_occupants(home)
    return there


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m agent.machines")
    parser.add_argument("verb", choices=("list", "end"))
    parser.add_argument("--home", type=Path, required=True)
    given = parser.parse_args(argv)
    log.configure("machines")
    home = given.home.absolute()
    site = SiteSettings()
    targets = Targets(TargetSite(home, "", site.edge_command, site.docker_socket))
    try:
        found = asyncio.run(look(targets) if given.verb == "list" else end(targets, home))
    except (StacklyError, OSError) as e:
        sys.exit(reason_of(e))
    print(json.dumps(found))  # noqa: T201 - this is the answer
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
