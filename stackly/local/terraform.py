"""Terraform of a home: the machine's own when there is one, else a pinned release checked by its SHA-256."""

import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import httpx

from stackly.errors import StacklyError, Unavailable
from stackly.local.home import Home

VERSION = "1.11.4"
RELEASES = "https://releases.hashicorp.com"
SHA256 = {
    "linux_amd64": "1ce994251c00281d6845f0f268637ba50c0005657eb3cf096b92f753b42ef4dc",
    "linux_arm64": "a43d1d0da9b9bab214a8305a39db0e40869572594ccf50c416a7756499143633",
    "darwin_amd64": "a56d5002b9f7647291faccc3dd1a70350e60fb61e4c45037629508b8fdc2575b",
    "darwin_arm64": "867e0808fa971217043e25b7a792b10720c79b1546f8a68479b74f138be73e18",
}
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def find(home: Home) -> Path | None:
    """The home's own copy, else the one on PATH."""
    own = home.tools / "terraform"
    if own.exists():
        return own
    found = shutil.which("terraform")
    return Path(found) if found else None


def gives_verdicts(terraform: Path) -> bool:
    """Whether its plans say if there is anything to apply: asked of a plan, as no version number says it."""
    with tempfile.TemporaryDirectory(prefix="stackly-doctor-") as place:
        Path(place, "main.tf").write_text('output "asked" {\n  value = 1\n}\n')
        plan = str(Path(place, "asked.tfplan"))
        quiet = ("-input=false", "-no-color")
        steps = (("init", *quiet), ("plan", *quiet, f"-out={plan}"), ("show", "-json", plan))
        answer = b""
        for step in steps:
            try:
                done = subprocess.run(
                    [terraform, *step], cwd=place, env=_bare(place), capture_output=True, timeout=60, check=True
                )
            except (OSError, subprocess.SubprocessError):
                return False
            answer = done.stdout
    try:
        return isinstance(json.loads(answer).get("applyable"), bool)
    except (ValueError, AttributeError):
        return False


def _bare(place: str) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": place, "CHECKPOINT_DISABLE": "1"}


def ensure(home: Home, releases: str = RELEASES) -> Path:
    """Find it or download it. Raises: Unavailable with what to do when it can be neither."""
    found = find(home)
    if found:
        return found
    archive = _downloaded(url(releases))
    digest = hashlib.sha256(archive).hexdigest()
    if digest != SHA256[_system()]:
        raise Unavailable(f"{url(releases)} is not the release it should be: its SHA-256 is {digest}; it is not used.")
    return _unpacked(archive, home.tools)


def url(releases: str = RELEASES) -> str:
    """Raises: Unavailable for a machine without a release."""
    return f"{releases.rstrip('/')}/terraform/{VERSION}/terraform_{VERSION}_{_system()}.zip"


def fix(home: Home) -> str:
    """What a person does on a machine without network."""
    return f"install terraform on PATH, or copy the program of {url()} to {home.tools / 'terraform'}"


def _system() -> str:
    name = f"{platform.system().lower()}_{_MACHINES.get(platform.machine(), platform.machine())}"
    if name not in SHA256:
        raise Unavailable(f"There is no pinned Terraform for {name}; install terraform {VERSION} on PATH.")
    return name


def _downloaded(address: str) -> bytes:
    try:
        answer = httpx.get(address, timeout=60, follow_redirects=True)
        answer.raise_for_status()
    except httpx.HTTPError as e:
        raise Unavailable(
            f"Terraform is not on PATH and {address} cannot be downloaded ({e}); run: stackly doctor"
        ) from e
    return answer.content


def _unpacked(archive: bytes, tools: Path) -> Path:
    tools.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = tools / ".terraform.new"
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        draft.write_bytes(packed.read("terraform"))
    draft.chmod(0o755)
    return draft.rename(tools / "terraform")


def main() -> None:
    home = Home(Path(os.environ["STACKLY_HOME"]).resolve())
    try:
        ensure(home, os.environ.get("STACKLY_TERRAFORM_RELEASES", RELEASES))
    except StacklyError as e:
        sys.exit(e.detail)


if __name__ == "__main__":
    main()
