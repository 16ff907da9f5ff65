"""What a code bundle may put on the agent's disk."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.terraform import bundle
from agent.workdir import RunDirectory
from stackly.errors import Invalid

Change = Callable[[tarfile.TarInfo], None]


def _packed(*members: tuple[str, Change | None]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, change in (("main.tf", None), *members):
            info = tarfile.TarInfo(name)
            info.size = 4
            if change:
                change(info)
            tar.addfile(info, io.BytesIO(b"# tf"))
    return out.getvalue()


def _link(kind: bytes, target: str) -> Change:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname, info.size = kind, target, 0

    return change


def _executable(info: tarfile.TarInfo) -> None:
    info.mode = 0o4755


@pytest.fixture
def work(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def test_files_are_the_agents_alone_and_only_what_runs_is_executable(work: RunDirectory) -> None:
    bundle.unpack(_packed(("a/b/run.sh", _executable), ("a/x.tfvars", None)), work, "")

    assert (work.tree / "a/b/run.sh").read_bytes() == b"# tf"
    assert (work.tree / "a/b/run.sh").stat().st_mode & 0o7777 == 0o700
    assert (work.tree / "a/x.tfvars").stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("../outside", None),
        ("a/../../outside", None),
        ("/outside", None),
        ("link", _link(tarfile.SYMTYPE, "/etc/passwd")),
        ("link", _link(tarfile.SYMTYPE, "main.tf")),
        ("hard", _link(tarfile.LNKTYPE, "main.tf")),
        ("fifo", _link(tarfile.FIFOTYPE, "")),
        ("device", _link(tarfile.CHRTYPE, "")),
        ("main.tf", None),
        ("main.tf/below", None),
    ],
)
def test_what_is_no_file_below_the_root_is_refused(
    work: RunDirectory, tmp_path: Path, name: str, change: Change | None
) -> None:
    with pytest.raises(Invalid, match="bundle"):
        bundle.unpack(_packed((name, change)), work, "")
    assert not (tmp_path / "outside").exists()
    assert [p for p in work.tree.rglob("*") if not p.is_file() and not p.is_dir()] == []
