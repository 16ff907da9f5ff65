"""A command loads what it needs and no more: counted in modules, which no busy machine changes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stackly.cli import main
from stackly.cli.lean import LeanCommand

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "pg-standalone" / "suite.yaml"
HEAVY = {"pydantic", "rich", "httpx", "yaml", "hcl2", "lark", "regex", "sqlalchemy", "fastapi", "subprocess", "json"}
HEAVY |= {"dataclasses", "temporalio", "grpc", "asyncio", "hashlib"}
_COUNTED = """
import json, sys
{base}
before = set(sys.modules)
from stackly.cli import main
try:
    main.run({argv})
except SystemExit:
    pass
print()
print(json.dumps(sorted(n for n, m in sys.modules.items() if m is not None and n not in before)))
"""


def loaded(argv: list[str], base: str, home: Path, **environment: str) -> tuple[set[str], list[str]]:
    """Shape: heavy libraries that came on top of the base's, and this project's own modules."""
    code = _COUNTED.format(base=base, argv=argv)
    env = {"PATH": "/usr/bin:/bin", "STACKLY_HOME": str(home), **environment}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    names = json.loads(done.stdout.splitlines()[-1])
    return {n.partition(".")[0] for n in names} & HEAVY, [n for n in names if n.startswith("stackly")]


@pytest.mark.parametrize(
    ("argv", "base", "most"),
    [
        (["--help"], "import typer", 14),
        (["stack", "--help"], "import typer", 20),
        (["version"], "", 10),
        (["completion", "bash"], "import typer", 16),
        (["run", "list"], "import typer, httpx", 26),
        (["suite", "validate", str(EXAMPLE)], "import typer, yaml", 29),
    ],
)
def test_a_command_loads_little_more_than_its_libraries(argv: list[str], base: str, most: int, tmp_path: Path) -> None:
    heavy, own = loaded(argv, base, tmp_path)
    assert heavy == set()
    assert len(own) <= most, own


@pytest.mark.parametrize(
    ("words", "cword", "offered"),
    [
        ("stackly st", "1", {"stack", "status"}),
        ("stackly run li", "2", {"list"}),
        ("stackly run list --st", "3", {"--stack", "--status"}),
    ],
)
def test_a_shell_completes_without_heavy_libraries(words: str, cword: str, offered: set[str], tmp_path: Path) -> None:
    asked = {"_STACKLY_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": cword}
    heavy, _ = loaded([], "import typer", tmp_path, **asked)
    assert heavy == set()
    command = [sys.executable, "-m", "stackly.cli.main"]
    env = {"PATH": "/usr/bin:/bin", "STACKLY_HOME": str(tmp_path), **asked}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert set(done.stdout.split()) == offered, done.stderr


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    from importlib import import_module

    for module, work, _, about in main.VERBS.values():
        told = (getattr(import_module(f"stackly.cli.{module}"), work).__doc__ or "").split("\n")[0]
        assert told == about
    for module, attribute, about in main.NOUNS.values():
        assert getattr(import_module(f"stackly.cli.{module}"), attribute).info.help == about


def test_values_of_options_are_read_without_pydantic() -> None:
    """Every parameter of every command is one of the kinds that are read plainly."""
    import typer

    heavy = []
    for noun in main.NOUNS:
        group = typer.main.get_command(main.build(noun))
        for command in group.commands[noun].commands.values():  # type: ignore[attr-defined]
            assert isinstance(command, LeanCommand)
            context = command.make_context("x", [], resilient_parsing=True)
            heavy += [
                f"{noun} {command.name} {p.name}"
                for p in command.get_params(context)
                if "get_runtime_param" not in vars(p)
            ]
    assert heavy == []
