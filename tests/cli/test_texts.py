"""Arguments that are no text: refused by what they are, with the exit of a usage error."""

import os

import pytest

from stackly.cli.exits import Exit
from stackly.cli.main import run


@pytest.mark.parametrize("argv", [["stack", "show", b"caf\xe9"], ["repo", "add", b"\xff", "--json"], [b"\xed\xa0\x80"]])
def test_an_argument_that_is_not_utf_8_is_refused(argv: list[str | bytes], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([os.fsdecode(word) for word in argv]) == Exit.USAGE
    told = capsys.readouterr().err
    assert "is not UTF-8" in told
    assert "Traceback" not in told
