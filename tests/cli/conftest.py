"""The command in this process, a home of its own, and a server that speaks the API's shapes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackly.cli import main
from tests.cli.fake_api import FakeApi, Said, Stackly


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("STACKLY_HOME", str(place))
    for name in ("STACKLY_SERVER", "STACKLY_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return place


@pytest.fixture
def api(home: Path) -> Iterator[FakeApi]:
    """Running, and known to the home as its own server and hub."""
    made = FakeApi()
    made.start()
    made.get("/inventory", {"leftovers": 0, "items": []})
    made.get("/obligations", {"items": [], "next": None})
    (home / "endpoints.json").write_text(json.dumps({"api_url": made.url, "hub_url": made.url}))
    (home / "token").write_text("stk_own_secret\n")
    yield made
    made.stop()


@pytest.fixture
def stackly(capsys: pytest.CaptureFixture[str], home: Path) -> Stackly:
    """Call the command in this process."""

    def call(*argv: str) -> Said:
        capsys.readouterr()
        code = main.run(list(argv))
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call
