"""Reading in a child that can be killed: the same results, and no file harms the reader."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stackly import hcl, hcl_worker
from stackly.errors import FileInvalid
from stackly.hcl_worker import Readers

GOOD = 'stack "a" {\n  version = "1"\n  list = [1, 2.5, true, null, { x = "y" }]\n}\nx = var.y\n'
PIECES = st.lists(
    st.sampled_from(
        ['stack "a" {\n', "}\n", "x = 1\n", 'x = "é"\n', "y = [1,\n", "]\n", "z = a.b\n", "/* ", '"', "\n"]
    ),
    max_size=8,
).map("".join)


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    made = Readers(1)
    yield made
    made.close()


def children() -> set[int]:
    """Readers of this process that live."""
    found = set()
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = place.read_text().rpartition(")")[2].split()[:2]
            is_reader = b"stackly.hcl_worker" in (place.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(parent) == os.getpid() and state not in "ZX" and is_reader:
            found.add(int(place.parent.name))
    return found


def outcome(parse: object, text: str) -> object:
    try:
        return parse(text, "d/stackly.hcl")  # type: ignore[operator]
    except FileInvalid as e:
        return e.problems


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PIECES)
def test_a_child_reads_as_the_parser_does(readers: Readers, text: str) -> None:
    assert outcome(readers.parse, text) == outcome(hcl.parse, text)
    assert outcome(readers.read, text) == outcome(hcl.read, text)  # from memory as well


@pytest.mark.parametrize(
    "text", [GOOD, "x = " + "[" * 99 + "]" * 99, "x = " + "[" * 101, "\0", "x = 1\n" * 3, "a {\n  x = 1\n  x = y\n}\n"]
)
def test_all_that_can_be_said_comes_back(readers: Readers, text: str) -> None:
    assert outcome(readers.parse, text) == outcome(hcl.parse, text)
    assert outcome(readers.read, text) == outcome(hcl.read, text)


def test_a_child_stays_for_the_next_file_and_equal_files_are_read_once(readers: Readers) -> None:
    readers.parse("first = 1\n", "a")
    before = children()
    readers.parse("second = 1\n", "b")
    assert children() == before
    for child in before:
        os.kill(child, signal.SIGSTOP)
    try:
        assert readers.parse("second = 1\n", "c") == hcl.parse("second = 1\n", "c")
    finally:
        for child in before:
            os.kill(child, signal.SIGCONT)


@pytest.mark.timeout(60)
def test_a_file_that_takes_too_long_is_refused_and_the_next_is_read() -> None:
    readers = Readers(1, cpu=0.3)
    long = "".join(f"x{n} = [1, 2, 3]\n" for n in range(20_000))
    with pytest.raises(FileInvalid) as caught:
        readers.parse(long, "s/main.tf")
    problem = caught.value.problems[0]
    assert (problem.file, problem.line, problem.column) == ("s/main.tf", 1, 1)
    assert "took longer than 0.3 s to read; simplify it" in problem.message
    assert readers.parse(GOOD, "x") == hcl.parse(GOOD, "x")
    readers.close()


def test_a_child_that_was_killed_is_replaced(readers: Readers) -> None:
    readers.parse("x = 1\n", "a")
    for child in children():
        os.kill(child, signal.SIGKILL)
    assert readers.parse("after = 1\n", "a") == hcl.parse("after = 1\n", "a")


def test_many_threads_share_a_few_children() -> None:
    readers = Readers(2)
    before = children()
    texts = [f"x = {n}\n" for n in range(24)]
    found: dict[str, hcl.Body] = {}
    threads = [threading.Thread(target=lambda t=t: found.update({t: readers.parse(t, "f")})) for t in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {t: hcl.parse(t, "f") for t in texts}
    assert len(children() - before) <= 2
    readers.close()
    assert children() <= before


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    """Its input ends, and it does: no signal is needed."""
    child = hcl_worker._Child(1.0)
    assert child.ask(b"1000\nx = 1\n", 1000, 20.0)
    assert child._process.stdin
    child._process.stdin.close()
    assert child._process.wait(20) == 0
    child.kill()
