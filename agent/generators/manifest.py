"""Which Stroppy archives are known, by version and architecture, each with its SHA-256.

The project publishes no checksums, so a person pins each version once:
`python -m agent.generators.manifest pin 5.7.3` downloads it, and writes what it found.
"""

import argparse
import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from stackly.errors import Invalid

PACKAGED = Path(__file__).with_name("stroppy-manifest.json")
RELEASES = "https://github.com/stroppy-io/stroppy/releases/download"
_ARCH = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class Archive:
    version: str
    url: str
    sha256: str


def architecture() -> str:
    """Shape: linux_amd64, as the archives are named."""
    machine = platform.machine().lower()
    return f"{platform.system().lower()}_{_ARCH.get(machine, machine)}"


def _load(path: Path) -> dict[str, dict[str, dict[str, str]]]:
    try:
        return dict(json.loads(path.read_text())["stroppy"])
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid(f"{path} is not a manifest of Stroppy archives: {error}") from error


def find(version: str, user_manifest: Path | None) -> Archive:
    """A person's own manifest comes before the packaged one. Raises: Invalid with the command that mends it."""
    asked, arch = version.removeprefix("v"), architecture()
    for path in filter(None, (user_manifest, PACKAGED)):
        pinned = _load(path).get(asked, {}).get(arch)
        if pinned:
            return Archive(asked, pinned["url"], pinned["sha256"])
    where = f" --manifest {user_manifest}" if user_manifest else ""
    raise Invalid(
        f"Stroppy {asked} for {arch} has no pinned SHA-256. Pin it once with\n"
        f"  python -m agent.generators.manifest pin {asked}{where}\n"
        "or set STACKLY_STROPPY to an executable of your own.",
        driver_version=asked,
    )


def pin(version: str, path: Path, releases: str = RELEASES) -> Archive:
    """Download once and write down what was found; the next install must find the same."""
    asked = version.removeprefix("v")
    url = f"{releases}/v{asked}/stroppy_{architecture()}.tar.gz"
    digest = hashlib.sha256()
    with httpx.stream("GET", url, follow_redirects=True, timeout=60) as answer:
        answer.raise_for_status()
        for chunk in answer.iter_bytes():
            digest.update(chunk)
    known = _load(path)
    known.setdefault(asked, {})[architecture()] = {"url": url, "sha256": digest.hexdigest()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"stroppy": known}, indent=2) + "\n")
    return Archive(asked, url, digest.hexdigest())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m agent.generators.manifest")
    parser.add_argument("command", choices=["pin"])
    parser.add_argument("version")
    parser.add_argument("--manifest", type=Path, default=PACKAGED)
    given = parser.parse_args(argv)
    found = pin(given.version, given.manifest)
    print(f"{found.version} {architecture()} {found.sha256}")  # noqa: T201 - it is a command
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
