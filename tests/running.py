"""pytest plugin: each process writes down which test it runs, for `tests.bounded` to name when nothing comes of it."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

FOLDER = "STACKLY_TESTS_RUNNING"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    folder = os.environ.get(FOLDER)
    if not folder:
        return (yield)
    mark = Path(folder) / str(os.getpid())
    mark.write_text(item.nodeid)
    try:
        return (yield)
    finally:
        mark.write_text("")
