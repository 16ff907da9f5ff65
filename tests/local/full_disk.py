"""Run by a test inside a mount namespace of its own: `python -m tests.local.full_disk HOME`, HOME on a small disk.

The whole platform works there while its disk fills. Ends with the first sentence that is not so.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import httpx

from stackly.local import platform, processes
from stackly.local.home import Home
from stackly.local.supervisor import read_state
from tests.e2e.deliveries import Captured, captured
from tests.e2e.house import PLAIN_TF, TERMINAL, House, Repository, plain

# Ours. What Postgres and Temporal do on a full disk is theirs; they are started again.
OURS = ("api", "gateway", "dispatcher", "control", "agent")
_LIMIT_S = 150.0
# The attack lasts this long: every loop of every process takes several turns in it.
_FULL_S = 12.0
_LARGE = 1 << 20
SLOW = '\nresource "terraform_data" "slow" {\n  provisioner "local-exec" { command = "sleep 5" }\n}\n'


def _wait(what: Callable[[], Any], message: str) -> None:
    until = time.monotonic() + _LIMIT_S
    while not what():
        if time.monotonic() > until:
            sys.exit(f"{message}; status: {json.dumps(platform.status(HOME))}\n{_last_words()}")
        time.sleep(0.1)


def _last_words() -> str:
    return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-600:]}" for log in (HOME / "logs").glob("*.log"))


def _pids() -> dict[str, Any]:
    return {c["name"]: c["pid"] for c in platform.status(HOME)["components"] if c["name"] in OURS}


def _all_well() -> bool:
    told = platform.status(HOME)
    return told["trouble"] is None and all(c["state"] == "running" for c in told["components"])


def _fill(push: Captured, until: Callable[[], bool]) -> Counter[int]:
    """Whatever is given back meanwhile is taken as well, while deliveries come that Postgres has no room for.

    Shape: HTTP status -> how many deliveries were answered by it.
    """
    answers: Counter[int] = Counter()
    with (HOME / "ballast").open("ab", buffering=0) as out:
        while not until():
            _take_all(out)
            answers[_answer(push.padded(_LARGE))] += 1
    return answers


def _answer(push: Captured) -> int:
    try:
        return push.send()
    except httpx.HTTPError as e:
        sys.exit(f"a delivery got no answer: {e!r}")


def _take_all(out: FileIO) -> None:
    size = 1 << 20
    while size:
        try:
            out.write(b"x" * size)
        except OSError:
            size //= 2


def _begin(house: House) -> Repository:
    repo = house.repository("filled", HOME.parent / "clones")
    repo.push({"s/main.tf": PLAIN_TF, "s/stackly.hcl": plain("filled")}, "first")
    _wait(lambda: _ended(house, 1), "the first deploy did not end")
    repo.push({"s/main.tf": PLAIN_TF + SLOW}, "second")
    _wait(lambda: any(r["status"] == "applying" for r in house.runs()), "the second deploy never applied")
    return repo


def _ended(house: House, n: int) -> bool:
    try:
        runs = house.runs()
    except Exception:  # noqa: BLE001 - Postgres comes back, and the API with it
        return False
    return len(runs) == n and all(r["status"] in TERMINAL for r in runs)


def main() -> None:
    house = House(HOME, HOME.parent / "recorder").start()
    repo = _begin(house)
    supervisor, _ = read_state(Home(HOME))
    before = _pids()
    push = captured(house, repo)[-1]
    until = time.monotonic() + _FULL_S
    answers = _fill(push, lambda: time.monotonic() > until and bool(platform.status(HOME)["trouble"]))
    during = _pids()
    (HOME / "ballast").unlink()
    if supervisor is None or not processes.runs(supervisor):
        sys.exit("the supervisor died of a full disk")
    if during != before:
        sys.exit(f"something of ours died of a full disk: {before} {during}\n{_last_words()}")
    if not answers[503] or set(answers) - {202, 503}:
        sys.exit(f"deliveries met a full disk as {answers}: Postgres had room, or it was nobody's error")
    _wait(_all_well, "not all is well again")
    _wait(lambda: _ended(house, 2), "the run that met the full disk never ended")
    repo.push({"s/main.tf": PLAIN_TF.replace("first", "third")}, "third")
    _wait(lambda: _ended(house, 3), "nothing goes on after a full disk")
    if (last := house.runs()[0]["status"]) != "succeeded":
        sys.exit(f"the deploy after a full disk is {last}")
    if _pids() != before:
        sys.exit(f"something of ours died afterwards: {before} {_pids()}\n{_last_words()}")


if __name__ == "__main__":
    HOME = Path(sys.argv[1])
    try:
        main()
    finally:
        platform.down(HOME)
