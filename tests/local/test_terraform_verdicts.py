"""`doctor` asks Terraform itself whether its plans say if they can be applied."""

import shutil
from pathlib import Path

import pytest

from stackly.local import doctor, terraform
from stackly.local.home import Home
from tests.conftest import Require


@pytest.fixture
def home(tmp_path: Path, require: Require) -> Home:
    require(shutil.which("terraform"), "terraform is not on PATH")
    made = Home(tmp_path)
    made.tools.mkdir(parents=True)
    return made


def _installed(home: Home, filtered: str) -> None:
    program = home.tools / "terraform"
    program.write_text(f'#!/bin/sh\n{shutil.which("terraform")} "$@"{filtered}\n')
    program.chmod(0o755)


def _finding(home: Home) -> doctor.Finding:
    return next(f for f in doctor.doctor(home.path) if f.name == "terraform")


@pytest.mark.parametrize("without", [" | sed 's/\"applyable\":[a-z]*,//'", " | sed 's/{/[/'", " >/dev/null; exit 1"])
def test_a_terraform_without_a_verdict_is_refused(home: Home, without: str) -> None:
    _installed(home, without)
    assert not terraform.gives_verdicts(home.tools / "terraform")
    found = _finding(home)
    assert not found.ok
    assert "install terraform" in found.fix


def test_one_that_gives_it_is_fine(home: Home) -> None:
    _installed(home, "")
    assert _finding(home).ok
