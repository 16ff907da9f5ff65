"""What is remembered never shows: with memory and without, the same trees and the same closures, in any history."""

import itertools
import subprocess
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stackly.git.closures import Closure
from stackly.git.memory import Memory
from stackly.git.mirrors import Mirror
from stackly.git.runner import Runner
from stackly.git.trees import Tree
from tests.git.conftest import Repository

DIRECTORIES = ["", "a/", "b/", "a/in/", "m/", "m/deep/", "x/"]
NAMES = ["stackly.hcl", "main.tf", "data"]
SOURCES = ["../m", "./in", "../m/deep", "..", "../x/../m", "../none", "./deep"]


def call(source: str) -> str:
    return f'module "m" {{\n  source = "{source}"\n}}\n'


What = tuple[str, str]  # a file's mode and its text, or what a link or a submodule leads to
FILE: st.SearchStrategy[What] = st.tuples(st.just("100644"), st.sampled_from(["", "1", *map(call, SOURCES)]))
OTHER: st.SearchStrategy[What] = st.sampled_from(
    [("120000", "m"), ("160000", "1" * 40), ("100644", '{"module": {"m": {"source": "../m"}}}')]
)
PATHS = [d + n for d in DIRECTORIES for n in NAMES] + ["a", "b", "m", "x", "m/deep", "a/net.tf.json"]
EDIT = st.dictionaries(st.sampled_from(PATHS), st.one_of(FILE, FILE, OTHER, st.none()), min_size=1, max_size=3)
START: dict[str, What] = {
    "a/stackly.hcl": ("100644", ""),
    "a/main.tf": ("100644", call("../x/../m")),
    "b/stackly.hcl": ("100644", ""),
    "b/main.tf": ("100644", call("../none")),
    "m/main.tf": ("100644", call("./deep")),
    "m/deep/main.tf": ("100644", "1"),
    "x/data": ("100644", "1"),
}


def edited(tree: dict[str, What], edit: dict[str, What | None]) -> dict[str, What]:
    """A file takes the place of a directory, and the other way round."""
    out = dict(tree)
    for path, what in edit.items():
        out = {
            p: w for p, w in out.items() if p != path and not p.startswith(f"{path}/") and not path.startswith(f"{p}/")
        }
        if what is not None:
            out[path] = what
    return out


def commits(repo: Repository, trees: list[dict[str, What]]) -> list[str]:
    """One commit of each, in one git."""
    lines: list[bytes] = []
    for n, tree in enumerate(trees):
        lines.append(b"commit refs/heads/main\nmark :%d\ncommitter A <a@x> %d +0000\ndata 0\ndeleteall\n" % (n + 1, n))
        for path, (mode, text) in tree.items():
            if mode == "160000":
                lines.append(f"M {mode} {text} {path}\n".encode())
            else:
                lines.append(f"M {mode} inline {path}\ndata {len(text)}\n{text}\n".encode())
    marks = repo.path / "marks"
    repo.git("fast-import", "--quiet", "--force", f"--export-marks={marks}", stdin=b"".join(lines))
    found = dict(line.split() for line in marks.read_text().splitlines())
    return [found[f":{n + 1}"] for n in range(len(trees))]


async def seen(mirror: Mirror, commit: str) -> tuple[Tree, dict[str, Closure]]:
    tree = await mirror.trees(commit)
    return tree, await mirror.closures(tree)


def told(tree: Tree) -> list[object]:
    """All that a tree answers."""
    directories = [".", *(e.path for e in tree.entries.values() if e.is_directory)]
    below = {d: (tree.directly_in(d), sorted(tree.below(d), key=lambda e: e.path)) for d in directories}
    stacks = (list(tree.stack_directories.items()), list(tree.refused.items()))
    return [tree.oid, tree.entries, below, *stacks, tree.links]


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EDIT, min_size=1, max_size=8))
@example([{"x": ("120000", "m")}, {"x": None}])  # a step of the way to a module becomes a link
@example([{"none/main.tf": ("100644", "")}])  # what was called in vain is there now
@example([{"stackly.hcl": ("100644", ""), "main.tf": ("100644", "")}, {"b/data": ("100644", "1")}])
@example([{"m/deep/main.tf": ("100644", "2")}])
@example([{"a/in/data": ("100644", "2")}, {"a": ("100644", "")}, {"a/stackly.hcl": ("120000", "m")}])
async def test_remembered_equals_read(edits: list[dict[str, What | None]]) -> None:
    trees = list(itertools.accumulate(edits, edited, initial=START))
    with tempfile.TemporaryDirectory() as folder:
        repo = Repository(Path(folder) / "upstream")
        repo.path.mkdir()
        repo.git("init", "-q", "-b", "main")
        runner = Runner(protocols=frozenset({"file"}), timeout=20)
        heads = commits(repo, trees)
        memory = Memory()
        await Mirror(Path(folder), "r1", repo.url, runner).fetch()
        for head in [*heads, heads[0], heads[-1]]:
            known = await seen(Mirror(Path(folder), "r1", repo.url, runner, memory=memory), head)
            fresh = await seen(Mirror(Path(folder), "r1", repo.url, runner), head)
            assert told(known[0]) == told(fresh[0])
            assert known[1] == fresh[1]


def _calls_of_git(program: Path) -> list[str]:
    return program.with_suffix(".log").read_text().splitlines()


def _counting(folder: Path) -> Path:
    """A git that writes down what it was asked."""
    program = folder / "git"
    git = subprocess.run(["sh", "-c", "command -v git"], check=True, capture_output=True, text=True).stdout.strip()
    program.write_text(
        f'#!/bin/sh\necho "$*" | sed "s/.*protocol.file.allow=always //" >> {folder}/git.log\nexec {git} "$@"\n'
    )
    program.chmod(0o755)
    return program


async def test_a_push_to_one_stack_reads_that_stack_alone(tmp_path: Path, repo: Repository) -> None:
    for n in range(30):
        repo.write({f"s{n}/stackly.hcl": "", f"s{n}/main.tf": f"# {n}\n"})
    first = repo.commit()
    second = repo.commit({"s7/main.tf": 'module "m" { source = "../s8" }\n'})
    program = _counting(tmp_path)
    runner = Runner(protocols=frozenset({"file"}), timeout=20, program=str(program))
    memory = Memory()
    mirror = Mirror(tmp_path, "r1", repo.url, runner, memory=memory)
    await mirror.fetch()
    await seen(mirror, first)
    program.with_suffix(".log").write_text("")
    _, closures = await seen(Mirror(tmp_path, "r1", repo.url, runner, memory=memory), second)
    assert closures["s7"].modules
    assert [line.split()[0] for line in _calls_of_git(program)] == ["rev-parse", "diff-tree", "cat-file", "cat-file"]
    program.with_suffix(".log").write_text("")
    await seen(mirror, second)
    assert [line.split()[0] for line in _calls_of_git(program)] == ["rev-parse"]


async def test_a_tree_that_was_collected_meanwhile_is_no_loss(tmp_path: Path, repo: Repository, runner: Runner) -> None:
    lost = repo.commit({"a/stackly.hcl": "", "a/main.tf": "", "a/x": "1"})
    memory = Memory()
    mirror = Mirror(tmp_path, "r1", repo.url, runner, memory=memory)
    await mirror.fetch()
    await seen(mirror, lost)
    repo.git("update-ref", "-d", "refs/heads/main")
    head = repo.commit({"a/x": "2"})
    await mirror.fetch()
    await runner.run(mirror.path, "gc", "--quiet", "--prune=now")
    assert not await mirror.has(lost)
    known, fresh = await seen(mirror, head), await seen(Mirror(tmp_path, "r1", repo.url, runner), head)
    assert told(known[0]) == told(fresh[0])
    assert known[1] == fresh[1]


async def test_memory_is_bounded_and_forgets_the_oldest(tmp_path: Path, repo: Repository, runner: Runner) -> None:
    memory = Memory(max_entries=20, max_files=4)
    mirror = Mirror(tmp_path, "r1", repo.url, runner, memory=memory)
    heads = [repo.commit({f"s{n}/stackly.hcl": "", f"s{n}/main.tf": f"# {n}"}) for n in range(6)]
    await mirror.fetch()
    trees = [(await seen(mirror, head))[0] for head in heads]
    assert memory.tree(mirror.path, trees[0].oid) is None
    assert memory.latest(mirror.path) is trees[-1]
    assert len(memory.sizes) <= 4 + 2
    assert memory.found(mirror.path, trees[-1]).closures.keys() == {f"s{n}" for n in range(6)}
