"""Machines of a stopped home: counted, ended, and remembered until the platform can be told that they are gone.

The agent's own program looks at them: whatever targets it knows, nothing of theirs is known here.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackly.errors import Faulty
from stackly.local.home import Home, write_private

REASON = "stopped by stackly down"
REPLACED = "stopped by stackly up: the machines were of an earlier release"
_PROGRAM = (sys.executable, "-m", "agent.machines")
# A hundred containers, one after the other.
_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Machines:
    """Shape: `counts` kind -> how many things of it there are; `agents` id, run, test and machine of each."""

    agents: Sequence[Mapping[str, str]]
    counts: Mapping[str, int]
    away: Mapping[str, str]

    def __str__(self) -> str:
        return ", ".join(f"{n} {_PLURALS.get(kind, kind) if n != 1 else kind}" for kind, n in self.counts.items())


_PLURALS = {
    "machine": "machines",
    "process": "processes",
    "directory": "directories",
    "container": "containers",
    "network": "networks",
    "volume": "volumes",
}
NONE = Machines((), {}, {})


def ended_file(home: Home) -> Path:
    """Whose machines a `down` ended, for the next start to tell the platform."""
    return home.supervisor / "ended.json"


def look(home: Home) -> Machines:
    return _asked(home, "list")


def end(home: Home, *, remember: bool, reason: str = REASON) -> Machines:
    """Their tests end with `reason` when the platform is told.

    Raises: Faulty when something of them may go on running; the message says what to do.
    """
    there = look(home)
    if remember and there.agents:
        _remember(home, [{**one, "reason": reason} for one in there.agents])
    ended = _asked(home, "end")
    if ended.away:
        said = " ".join(f"{target}: {why}" for target, why in sorted(ended.away.items()))
        raise Faulty(f"Machines may go on running, for their target could not be asked. {said} Then run: stackly down")
    return ended if ended.counts else there


def ended_before(home: Home) -> list[Mapping[str, str]]:
    """What `_remember` wrote; a damaged file is nothing, for the site agent notices by itself, later."""
    try:
        told = json.loads(ended_file(home).read_text())
        return [
            {k: str(one[k]) for k in ("agent", "run", "test", "machine")} | {"reason": str(one.get("reason", REASON))}
            for one in told
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _remember(home: Home, agents: Sequence[Mapping[str, str]]) -> None:
    """Before they are ended: whatever dies in between, nobody is left waiting for them."""
    known = {one["agent"]: dict(one) for one in (*ended_before(home), *agents)}
    try:
        write_private(ended_file(home), json.dumps(list(known.values())))
    except OSError:  # a full disk must keep nobody from ending what runs; the next look at the machines tells it
        return


def _asked(home: Home, verb: str) -> Machines:
    where = home.path / "agent"
    if not where.exists():
        return NONE
    try:
        done = subprocess.run(
            [*_PROGRAM, verb, "--home", str(where)],
            cwd=home.path,
            env=os.environ | {"STACKLY_HOME": str(home.path)},
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as e:
        raise Faulty(f"Its machines do not end within {_LIMIT_S:.0f} s; run again: stackly down") from e
    if done.returncode != 0:
        last = done.stderr.strip().split("\n")[-1] or "it gave no reason"
        raise Faulty(f"Its machines could not be ended, and may go on running: {last} Then run: stackly down")
    told: dict[str, Any] = json.loads(done.stdout.strip("\n").split("\n")[-1])
    return Machines(told["agents"], told["counts"], told["away"])
