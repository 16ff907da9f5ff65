"""trigger.paths: the program under test lies beside its benchmarks, and a push to it starts those that name it."""

import json
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from stackly.engine.pushes import MAX_NAMED
from stackly.engine.watching import Watching, started_by, watching, would_start
from stackly.git.differences import Changed
from stackly.git.paths import matches
from stackly.spec.runs import RunKind
from tests.engine.syncing import MAIN, Syncing, measured, plain


def _on(*patterns: str) -> str:
    return f"  trigger {{\n    paths = {json.dumps(patterns)}\n  }}"


def _watching(told: Mapping[str, Sequence[str]]) -> Watching:
    return watching(json.dumps(list(told.items())))


async def _three(syncing: Syncing) -> None:
    """One names the program, one names another, one names nothing."""
    named = measured("bench/c", "c", _on("src/**/*.c", "include")) | measured("bench/go", "go", _on("go/**"))
    await syncing.pushed(named | measured("bench/own", "own") | {"src/a.c": "int a;\n", "README.md": "x\n"})


async def _newest(syncing: Syncing, commit: str) -> dict[str, list[str]]:
    """The stacks that this commit started, with the files their triggers name."""
    return {r.spec["stack"]: r.trigger["paths"] for r in await syncing.runs() if r.commit == commit}


async def test_a_push_of_c_only_starts_the_one_benchmark_that_names_it(syncing: Syncing) -> None:
    await _three(syncing)
    updated = len(await syncing.events("module_updated"))
    commit = await syncing.pushed({"src/deep/b.c": "int b;\n", "src/notes.txt": "no\n"})
    assert await _newest(syncing, commit) == {"c": ["src/deep/b.c"]}
    (run,) = [r for r in await syncing.runs() if r.commit == commit]
    assert run.kind is RunKind.BENCHMARK
    assert run.digest is not None
    code = await syncing.code("bench/c")
    assert code.commit == commit, "it can be started again by hand at what was pushed last"
    assert len(await syncing.events("module_updated")) == updated, "the stack itself is as it was"


async def test_every_push_without_a_run_says_which_path_would_have_started_one(syncing: Syncing) -> None:
    await _three(syncing)
    commit = await syncing.pushed({"README.md": "y\n"})
    assert await _newest(syncing, commit) == {}
    why = (await syncing.reasons(f"push/{syncing.repo.id}/{MAIN}"))[-1]
    for part in ("README.md", "bench/c/", "src/**/*.c", "include", "go/**"):
        assert part in why


async def test_a_stack_that_changed_beside_its_program_runs_once(syncing: Syncing) -> None:
    await _three(syncing)
    commit = await syncing.pushed({"include/a.h": "int a;\n", "bench/c/more.tf": "# more\n"})
    assert await _newest(syncing, commit) == {"c": ["bench/c"]}


async def test_two_pushes_that_arrive_together_are_one_difference(syncing: Syncing) -> None:
    """What counts is git's difference from the commit processed last, whatever lies between."""
    await _three(syncing)
    syncing.upstream.commit({"src/b.c": "int b;\n"})
    commit = await syncing.pushed({"README.md": "y\n"})
    assert await _newest(syncing, commit) == {"c": ["src/b.c"]}
    syncing.upstream.commit({"src/b.c": "int c;\n"})
    undone = await syncing.pushed({"src/b.c": "int b;\n"})
    assert await _newest(syncing, undone) == {}


async def test_a_plain_stack_is_deployed_by_its_paths_as_well(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a", _on("charts")) | {"charts/x.yaml": "x\n"})
    commit = await syncing.pushed({"charts/x.yaml": "y\n"})
    assert await _newest(syncing, commit) == {"a": ["charts/x.yaml"]}


async def test_paths_start_nothing_on_a_branch_that_the_trigger_excludes(syncing: Syncing) -> None:
    inside = '  trigger {\n    branches = ["main"]\n    paths = ["src/**"]\n  }'
    await syncing.pushed(measured("m", "m", inside) | {"src/a.c": "int a;\n"})
    syncing.upstream.checkout("dev", new=True)
    await syncing.sync()
    commit = await syncing.pushed({"src/a.c": "int b;\n"})
    assert await _newest(syncing, commit) == {}
    assert "trigger.branches" in (await syncing.reasons(f"stack/{(await syncing.code('m', 'refs/heads/dev')).id}"))[-1]


async def test_without_the_commit_of_before_every_stack_that_names_paths_runs(syncing: Syncing) -> None:
    """It was pushed away and cleaned up: what changed cannot be told, and a lost run would be worse."""
    await _three(syncing)
    await syncing.execute("UPDATE repo_refs SET last_processed = :c", c="d" * 40)
    commit = await syncing.pushed({"README.md": "y\n"})
    assert await _newest(syncing, commit) == {"c": [], "go": []}


_PARTS = st.sampled_from(["a", "ab", "b", "src", "x.c", "y.go"])
_PATHS = st.lists(_PARTS, min_size=1, max_size=4).map("/".join)
_PATTERNS = st.lists(_PARTS | st.sampled_from(["*", "**", "?", "*.c", "a*"]), min_size=1, max_size=4).map("/".join)


@given(st.lists(_PATHS, max_size=12), st.lists(st.tuples(_PATTERNS, _PATTERNS), min_size=1, max_size=4))
def test_what_is_started_is_what_the_patterns_say(paths: list[str], pairs: list[tuple[str, str]]) -> None:
    told = {f"s{i}": pair for i, pair in enumerate(pairs)}
    changed = Changed(tuple(sorted(set(paths))), complete=True)
    seen = started_by(changed, _watching(told))
    for stack, patterns in told.items():
        fit = [p for p in changed.paths if any(matches(pattern, p) for pattern in patterns)]
        assert list(seen.get(stack, ())) == fit[:MAX_NAMED]


def test_a_push_of_more_files_than_can_be_listed_starts_everything() -> None:
    assert started_by(Changed(("a",), complete=False), _watching({"s": ("z",)})) == {"s": ()}


def test_what_would_start_one_is_short_however_many_there_are() -> None:
    stacks = _watching({f"s{i}": (f"src/{i}/**",) for i in range(5000)})
    text = would_start(Changed(("README.md",), complete=True), [f"s{i}" for i in range(5000)], stacks)
    assert len(text) < 500
    assert "and 4995 more" in text
