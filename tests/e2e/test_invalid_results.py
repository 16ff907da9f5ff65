"""Exit code 0 is not success: what lost its clients, its transactions or its time is `invalid`, and says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.house import House
from tests.e2e.recorder import LOSES_CLIENTS, MAKES_NOTHING, STOPS_HALFWAY

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

_TEST = """  - name: {name}
    database: {{engine: postgres, version: "16"}}
    workload: {{driver: stroppy, driver_version: 5.7.3, name: tpcb/tx, clients: 8, params: {params}}}
    measure: {{warmup: 0s, duration: 6s, repeats: 1}}
"""

# name -> (what `loadWorkers` asks of the recorder, the reason that people read)
_LOSSES = {
    "clients": (LOSES_CLIENTS, "7 of 8 clients were lost"),
    "nothing": (MAKES_NOTHING, "no transaction was made"),
    "halfway": (STOPS_HALFWAY, "it measured 3."),
}


def _suite() -> str:
    tests = {"whole": "{}", **{name: f"{{loadWorkers: {mode}}}" for name, (mode, _) in _LOSSES.items()}}
    return "version: 1\nname: losses\nparallel: 2\ntests:\n" + "".join(
        _TEST.format(name=name, params=params) for name, params in tests.items()
    )


def test_a_generator_that_lost_something_and_exits_0_gives_invalid(platform: House, clones: Path) -> None:
    repo = platform.repository("losses", clones)
    repo.example("pg-stroppy", "bench", stack="losses")
    repo.push({"bench/suite.yaml": _suite()}, "three that lose something, one that does not")
    (run,) = platform.until(lambda: platform.runs(stack="losses"), bool)
    ended = platform.ended(run["id"], timeout_s=300)

    tests = {t["name"]: t for t in ended["tests"]}
    assert (ended["status"], ended["verdict"]) == ("failed", "invalid"), ended["reason"]
    assert tests["whole"]["verdict"] == "pass", tests["whole"]
    assert tests["whole"]["result"]["transactions"] > 0, "the other results are kept"
    for name, (_, reason) in _LOSSES.items():
        test = tests[name]
        assert test["verdict"] == "invalid", test
        assert any(reason in r for r in test["reasons"]), test["reasons"]
        assert [s["valid"] for s in test["samples"]] == [False]
    assert platform.get("inventory")["leftovers"] == 0
