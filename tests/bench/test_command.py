"""What a command costs beside importing the libraries that it cannot do without, in processor time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.bench.recording import record

pytestmark = pytest.mark.bench

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "pg-standalone" / "suite.yaml"
TIMES = 25
LIMIT = 1.3


def _cpu_s(home: Path, *argv: str) -> float:
    quiet = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_WRONLY, 0) for fd in (1, 2)]
    env = {"PATH": os.environ["PATH"], "STACKLY_HOME": str(home)}
    pid = os.posix_spawn(sys.executable, [sys.executable, *argv], env, file_actions=quiet)
    _, _, used = os.wait4(pid, 0)
    return used.ru_utime + used.ru_stime


def _ratio(home: Path, argv: list[str], base: str) -> float:
    """The least of many, of both in turn: what else runs on the machine only ever adds, and to both."""
    pairs = [(_cpu_s(home, "-m", "stackly.cli.main", *argv), _cpu_s(home, "-c", base)) for _ in range(TIMES)]
    return min(ours for ours, _ in pairs) / min(theirs for _, theirs in pairs)


@pytest.mark.parametrize(
    ("name", "base", "argv"),
    [
        ("help", "import typer", ["--help"]),
        ("version", "import typer", ["version"]),
        ("completion", "import typer", ["completion", "bash"]),
        ("run_list", "import typer, httpx", ["run", "list"]),
        ("suite_validate", "import typer, yaml", ["suite", "validate", str(EXAMPLE)]),
    ],
)
def test_a_command_costs_little_more_than_its_libraries(name: str, base: str, argv: list[str], tmp_path: Path) -> None:
    ratio = _ratio(tmp_path, argv, base)
    print(f"\n{name}: {ratio:.2f} of `{base}`")  # noqa: T201 - a bench prints
    record(**{f"command_{name}_vs_imports": round(ratio, 2)})
    assert ratio <= LIMIT
