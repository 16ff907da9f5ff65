"""Where things stand: what no linter asks for."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
_GENERATED = {"gateway_pb2.py", "gateway_pb2.pyi", "gateway_pb2_grpc.py"}
_EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
_LONGEST = 400


def _files() -> list[Path]:
    found = [p for room in ("stackly", "agent", "tests") for p in (ROOT / room).rglob("*.py")]
    return sorted(p for p in found if p.name not in _GENERATED)


FILES = _files()


def _workflows(tree: ast.Module) -> list[str]:
    return [n.name for n in tree.body if isinstance(n, ast.ClassDef) and any(map(_is_defn, n.decorator_list))]


def _is_defn(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return ast.unparse(called) == "workflow.defn"


def test_there_is_something_to_look_at() -> None:
    assert len(FILES) > 50


@pytest.mark.parametrize("file", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file(file: Path) -> None:
    text = file.read_text()
    lines = text.count("\n")
    assert lines <= _LONGEST, f"{lines} lines; split it by verb or noun"
    assert file.stem not in _EMPTY_NAMES, "a name that says nothing; name it after its noun"
    if file.name == "__init__.py":
        assert not text, "packages are empty: import from where a thing is"
    if file.is_relative_to(ROOT / "stackly" / "engine"):
        assert len(_workflows(ast.parse(text))) <= 1, "one workflow class a file"


def test_workflows_take_their_times_from_one_place() -> None:
    for file in (ROOT / "stackly" / "engine" / "workflows").glob("*.py"):
        assert "timedelta(" not in file.read_text(), f"{file.name}: name it in stackly/temporal/timings.py"


def test_a_workflow_is_recognised() -> None:
    both = "@workflow.defn\nclass A: ...\n@workflow.defn(name='b')\nclass B: ...\n@other\nclass C: ...\n"
    assert _workflows(ast.parse(both)) == ["A", "B"]


# It breaks a line at U+2028, U+0085 and five more, which are characters like others in what people and git write.
_SPLITLINES = {"agent/terraform/masking.py": "masks each piece that anything could show as a line"}


def _splits_lines(text: str) -> bool:
    calls = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Attribute))
    return any(n.attr == "splitlines" for n in calls)


@pytest.mark.parametrize("room", ["stackly", "agent"])
def test_lines_end_at_a_line_feed_and_nowhere_else(room: str) -> None:
    found = {str(f.relative_to(ROOT)) for f in FILES if f.is_relative_to(ROOT / room) and _splits_lines(f.read_text())}
    assert found == {f for f in _SPLITLINES if f.startswith(room)}, 'split at "\\n", or say here why not'


def _entry_point(file: Path) -> bool:
    inside = file.relative_to(ROOT)
    return inside.parts[:2] == ("stackly", "local") or inside.name in {
        "main.py",
        "__main__.py",
        "app.py",
        "worker.py",
        "process.py",
    }


@pytest.mark.parametrize("room", ["stackly", "agent"])
def test_settings_are_read_at_entry_points_only(room: str) -> None:
    readers = [f for f in FILES if f.is_relative_to(ROOT / room) and "stackly.settings" in f.read_text()]
    assert [str(f.relative_to(ROOT)) for f in readers if not _entry_point(f)] == []


@pytest.mark.parametrize("file", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_the_first_311_lacks_is_not_used(file: Path) -> None:
    """tarfile's filters came with 3.11.4; systems that are in use ship an earlier one."""
    calls = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Call)]
    filtered = [n.lineno for n in calls if ast.unparse(n.func).endswith("extractall") and n.keywords]
    assert filtered == []


def test_a_decision_has_a_number_of_its_own() -> None:
    numbers = [p.name[:4] for p in (ROOT / "docs" / "decisions").glob("*.md")]
    assert sorted(numbers) == [f"{n:04}" for n in range(1, len(numbers) + 1)]


# Design papers that the repository does not hold, as a comment would cite them.
_PAPERS = "DESIGN|ENGINE|HOUSE|INTERFACE|REQUIREMENTS|SUITE|TRUST"
_ELSEWHERE = re.compile(rf"\b(?:{_PAPERS})(?:\.md| (?:rules? |sections? )?\d)")
_RULES = re.compile(r"\bengine rules? ((?:\d+(?:, | and |, and )?)+)")


def _cited(text: str) -> set[str]:
    return {number for rules in _RULES.findall(" ".join(text.split())) for number in re.findall(r"\d+", rules)}


def test_a_citation_is_recognised() -> None:
    assert _cited("(engine\n    rules 2, 9 and 10) and engine rule 7.") == {"2", "9", "10", "7"}


@pytest.mark.parametrize(
    "cited", [f"{paper}{mark}" for paper in _PAPERS.split("|") for mark in (" 3", " rule 3", ".md")]
)
def test_a_paper_is_recognised(cited: str) -> None:
    assert _ELSEWHERE.search(f"see {cited}.")


def test_comments_cite_what_the_repository_holds() -> None:
    held = set(re.findall(r"^### (\d+)\. ", (ROOT / "docs" / "engine-rules.md").read_text(), re.MULTILINE))
    assert len(held) > 20
    for file in FILES:
        text = file.read_text()
        assert _cited(text) <= held, f"{file}: docs/engine-rules.md holds no such rule"
        assert not _ELSEWHERE.search(text), f"{file} cites a paper that is not in the repository"


# Written out anywhere else, they are forgotten there when one more comes.
_ENDS = re.compile(r"""['"]succeeded['"],\s*['"]failed['"]""")


def test_the_statuses_of_an_end_are_listed_once() -> None:
    assert _ENDS.search("status IN ('succeeded','failed')")
    listed = [f for f in FILES if _ENDS.search(f.read_text()) and not f.is_relative_to(ROOT / "tests")]
    assert listed == []
