"""What is looked at before Terraform may change anything: the code's digest, its secrets, what it may never destroy."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agent import reading
from agent.workdir import RunDirectory
from stackly.engine.contracts.site import CodeChanged
from stackly.errors import Invalid
from stackly.terraform_facts import backends, is_module_file, prevented, sensitive_variables
from stackly.terraform_names import OVERRIDE

_FILE_MOST = 8 * 1024 * 1024


class NeverDestroyed(Invalid):
    title = "A test's module must be destroyable."


def check_bundle(packed: bytes, sha256: str) -> None:
    """Raises: CodeChanged. Shape: `sha256` is '' of runs that began before it was known."""
    found = hashlib.sha256(packed).hexdigest()
    if sha256 and found != sha256:
        raise CodeChanged(
            f"The code bundle has the SHA-256 {found}, and {sha256} was registered: nothing of it is run."
        )


def sensitive_values(work: RunDirectory, module: Path, values: Mapping[str, Any]) -> Iterator[Any]:
    """The values given to variables that are declared sensitive: known before Terraform says anything."""
    for path, text in _texts(work, module):
        for name in sensitive_variables(text, is_json=path.name.endswith(".json")):
            if name in values:
                yield values[name]


def check_destroyable(work: RunDirectory, module: Path) -> None:
    """A test is torn down, whatever it made. Raises: NeverDestroyed, before the first create."""
    found = [
        f"{path.relative_to(work.root)}:{line}: {address}"
        for directory in _module_directories(work, module)
        for path, text in _texts(work, directory)
        for address, line, _ in prevented(text, is_json=path.name.endswith(".json"))
    ]
    if found:
        raise NeverDestroyed(
            f"lifecycle.prevent_destroy is set ({'; '.join(found[:5])}): a test's machines and data are always torn "
            "down. Remove it from what a benchmark uses."
        )


def check_overrides(work: RunDirectory, module: Path) -> None:
    """Override files that Terraform reads after ours would choose where the state is. Raises: Invalid, before init."""
    for path, text in _texts(work, module):
        if path.name > OVERRIDE and path.name.removesuffix(".json").endswith("_override.tf"):
            for line, what in backends(text, is_json=path.name.endswith(".json")):
                raise Invalid(
                    f"{path.name}:{line}: an override file sets `{what}`, and Stackly keeps the state: remove it. "
                    "(A `backend` or `cloud` block in any other file may stay: Stackly's own takes its place.)"
                )


def _module_directories(work: RunDirectory, module: Path) -> list[Path]:
    """The module's own, and those that `init` found it to call, wherever they came from."""
    try:
        record = reading.read_regular(work.root, work.data / "modules" / "modules.json", most=_FILE_MOST)
        told = [str(m["Dir"]) for m in json.loads(record)["Modules"]]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        told = []
    found = {(module / directory).resolve() for directory in (".", *told)}
    return sorted(path for path in found if path.is_relative_to(work.root.resolve()) and path.is_dir())


def _texts(work: RunDirectory, directory: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(directory.iterdir()):
        if is_module_file(path.name) and path.is_file():
            content = reading.read_regular(work.root.resolve(), path.resolve(), most=_FILE_MOST)
            yield path, content.decode("utf-8", "replace")
