"""The release before this one, taken from this repository's own history, beside an environment that runs it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import sysconfig
import tarfile
from dataclasses import dataclass
from pathlib import Path

# The last commit whose steps, messages and agents' addresses were of the earlier kind.
COMMIT = "c77d46b62bf2fced37b9fe964c393916e62321cb"
_ROOT = Path(__file__).resolve().parents[2]


def archived() -> bytes | None:
    """The release's files as a tar archive; None in a clone without its history."""
    done = subprocess.run(["git", "-C", str(_ROOT), "archive", COMMIT], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


@dataclass(frozen=True)
class Earlier:
    """Shape: `python` runs the earlier release, with the libraries of this one."""

    python: Path

    @classmethod
    def unpacked(cls, archive: bytes, place: Path) -> Earlier:
        code, environment = place / "code", place / "environment"
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(code)
        bin_ = environment / "bin"
        bin_.mkdir(parents=True)
        for program in Path(sys.executable).parent.iterdir():
            if not program.name.startswith(("python", "stackly", "activate")):
                (bin_ / program.name).symlink_to(program)
        (bin_ / "python").symlink_to(Path(sys.executable).resolve())
        (environment / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = environment / "lib" / version / "site-packages"
        packages.mkdir(parents=True)
        # A directory that a .pth file names is searched, its own .pth files are not: this checkout stays out.
        (packages / "earlier.pth").write_text(f"{code}\n{sysconfig.get_path('purelib')}\n")
        return cls(bin_ / "python")

    def stackly(self, home: Path, *words: str) -> str:
        """Run its command line. Raises: AssertionError with what it printed when it fails."""
        environment = {**os.environ, "STACKLY_HOME": str(home)}
        for name in ("PYTHONPATH", "TF_CLI_CONFIG_FILE"):
            environment.pop(name, None)
        argv = [str(self.python), "-m", "stackly.cli.main", *words]
        # Its own directory: `-m` looks there first.
        done = subprocess.run(
            argv, cwd=self.python.parents[2], env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout
