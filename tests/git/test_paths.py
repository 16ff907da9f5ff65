import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackly.git.paths import first, matches

SEGMENT = st.text("ab.", min_size=1, max_size=3).filter(lambda s: s not in (".", ".."))
PATH = st.lists(SEGMENT, min_size=1, max_size=5).map("/".join)
PART = st.one_of(SEGMENT, st.text("ab*?.", min_size=1, max_size=4).filter(lambda s: s != "."), st.just("**"))
PATTERN = st.tuples(st.lists(PART, min_size=1, max_size=5), st.booleans()).map(lambda p: "/".join(p[0]) + "/" * p[1])


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("src", "src/a/b.c", True),
        ("src", "src", True),
        ("src", "srcs/a", False),
        ("src", "lib/src/a", False),
        ("src/", "src/a/b.c", True),
        ("src/", "src", False),
        ("./src", "src/a", True),
        (".", "a/b", True),
        ("*.c", "a.c", True),
        ("*.c", "src/a.c", False),
        ("**/*.c", "a.c", True),
        ("**/*.c", "src/x/a.c", True),
        ("src/*", "src/a", True),
        ("src/*", "src/a/b", False),
        ("src/**", "src/a/b", True),
        ("src/**/test/*.py", "src/test/a.py", True),
        ("src/**/test/*.py", "src/a/b/test/a.py", True),
        ("src/**/test/*.py", "src/a/b/test/c/a.py", False),
        ("lib*/", "lib1/x/y", True),
        ("lib*/", "lib1", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("a[b]", "ab", False),
        ("a[b]", "a[b]", True),
        ("A", "a", False),
        ("a**b", "axxb", True),
        ("a**b", "a/b", False),
        ("**", "anything/at/all", True),
        ("new*", "new\nline", True),
        ("*", "latin\udce9", True),
    ],
)
def test_what_a_pattern_means(pattern: str, path: str, fits: bool) -> None:
    assert matches(pattern, path) is fits


def by_expression(pattern: str) -> str:
    """The same meaning, told to another engine."""
    parts = [p for p in pattern.split("/") if p not in ("", ".")]
    if pattern.endswith("/"):
        parts += ["**", "*"]
    elif not set(pattern) & set("*?"):
        parts += ["**"]
    out = ""
    for part in parts:
        if part == "**":
            out += "(?:/[^/]+)*"
        else:
            out += "/" + "".join({"*": "[^/]*", "?": "[^/]"}.get(c, re.escape(c)) for c in part)
    return out


@given(PATTERN, PATH)
def test_a_pattern_means_what_its_expression_means(pattern: str, path: str) -> None:
    assert matches(pattern, path) is bool(re.fullmatch(by_expression(pattern), f"/{path}"))


@given(PATH)
def test_a_path_is_a_pattern_of_itself_and_of_all_below(path: str) -> None:
    assert matches(path, path)
    assert matches(path, f"{path}/x/y")
    assert not matches(f"{path}/", path)


@given(st.lists(PATTERN, max_size=4), st.lists(PATH, max_size=4))
def test_the_first_path_that_fits_is_told_with_its_pattern(patterns: list[str], paths: list[str]) -> None:
    fitting = [(pattern, path) for path in paths for pattern in patterns if matches(pattern, path)]
    assert first(patterns, paths) == (fitting[0] if fitting else None)


@pytest.mark.timeout(10)
def test_a_pattern_made_to_hurt_is_soon_done() -> None:
    started = time.monotonic()
    assert not matches("*a" * 50 + "b", "a" * 1000)
    assert not matches("/".join(["**", "a"] * 20) + "/b", "/".join("a" * 500))
    print(f"\n{time.monotonic() - started:.3f} s")  # noqa: T201 - shown, not judged
