"""A running platform, and the attacker: a process of a user that nothing else on this machine has."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from agent.gateway import Identity
from stackly import uids
from tests.conftest import Require
from tests.e2e.house import House

_PROGRAM = Path(__file__).with_name("stranger.py")


@dataclass(frozen=True)
class Stranger:
    """Another user of this computer. Shape: `uid` is in use by nothing."""

    uid: int

    def command(self, *argv: str) -> list[str]:
        ids = (f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups")
        return ["setpriv", *ids, "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--", *argv]

    def run(self, program: str, **given: Any) -> Any:
        """One of the programs in stranger.py, as that user."""
        done = subprocess.run(
            self.command(sys.executable, "-P", "-c", _PROGRAM.read_text(), program),
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=240,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)


def site_identity(platform: House) -> Identity:
    """What the site agent calls with."""
    told = json.loads((platform.home / "agent" / "identity.json").read_text())
    for name in ("key_pem", "certificate_pem", "ca_pem"):
        told[name] = base64.b64decode(told[name])
    return Identity(**{f.name: told[f.name] for f in fields(Identity)})


@pytest.fixture(scope="session")
def stranger(require: Require) -> Stranger:
    require(os.geteuid() == 0, "only root can be another user as well")
    require(shutil.which("setpriv"), "setpriv is not installed")
    found = Stranger(uids.choose()[-1])
    tried = subprocess.run(found.command(sys.executable, "-P", "-c", "import temporalio"), cwd="/", check=False)
    require(tried.returncode == 0, f"another user cannot run {sys.executable}")
    return found


@pytest.fixture(scope="module")
def platform(whole_platform: House) -> House:
    """The whole platform: every part runs when a file begins, whatever another ended."""
    return whole_platform.start()


@pytest.fixture
def isolated(platform: House, require: Require) -> None:
    """Pushed code is kept in a sandbox here; without one there is nothing to attack."""
    told = json.loads((platform.home / "agent" / "isolation.json").read_text())
    require(told["kind"] != "none", told["note"])


@pytest.fixture
def clones(tmp_path: Path) -> Path:
    return tmp_path / "clones"
