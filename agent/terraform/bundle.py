"""From a bundle to a directory Terraform can run in."""

import io
import json
import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from agent import reading
from agent.terraform.process import TerraformSettings
from agent.workdir import RunDirectory, private, write_private
from stackly.errors import Invalid
from stackly.terraform_names import OVERRIDE, left_out

_RECORD_MOST = 1024 * 1024


def unpack(bundle: bytes, work: RunDirectory, path: str) -> Path:
    """The module's directory inside a fresh copy of the code. Raises: Invalid."""
    if work.tree.exists():
        shutil.rmtree(work.tree)
    private(work.tree)
    try:
        with tarfile.open(fileobj=io.BytesIO(bundle), mode="r:gz") as archive:
            for member in archive:
                # Bundles of earlier releases hold what is no code; it is left out here too.
                if not left_out(member.name):
                    _extract(archive, member, work.tree)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise Invalid(f"The code bundle cannot be unpacked: {error}") from error
    return module_directory(work, path)


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, tree: Path) -> None:
    """A bundle holds regular files, and no other kind. Raises: Invalid for anything else, or a name that leaves `tree`.

    Not by tarfile's own filters: the first 3.11 releases, which some systems ship, lack them.
    """
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or not (member.isdir() or member.isreg()):
        raise Invalid(f"The code bundle holds {member.name!r}, which is no file below its root.")
    place = tree / name
    (place if member.isdir() else place.parent).mkdir(mode=0o700, parents=True, exist_ok=True)
    if (content := archive.extractfile(member)) is None:
        return
    mode = 0o700 if member.mode & 0o100 else 0o600
    # A tree is unpacked into a fresh directory: what is there already came twice in one bundle.
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as out:
        shutil.copyfileobj(content, out)


def module_directory(work: RunDirectory, path: str) -> Path:
    """Raises: Invalid when `path` leaves the bundle or holds no module."""
    module = (work.tree / path).resolve()
    if not module.is_relative_to(work.tree.resolve()):
        raise Invalid(f"{path!r} leaves the repository.")
    if not module.is_dir() or not any(n.suffix == ".tf" or n.name.endswith(".tf.json") for n in module.iterdir()):
        raise Invalid(f"{path or '.'} holds no Terraform module in this commit.")
    return work.tree / module.relative_to(work.tree.resolve())


def write_backend(module: Path, work: RunDirectory) -> None:
    """Whatever backend or cloud block the module has, state is our file.

    JSON overrides of one block replace `backend` and `cloud` alike. It is the one file of ours in the tree: Terraform
    looks for it nowhere else, and the repository's own of that name is left out.
    """
    config = {"terraform": {"backend": {"local": {"path": str(work.state)}}}}
    write_private(module / OVERRIDE, json.dumps(config).encode())


def check_backend(work: RunDirectory) -> None:
    """A module's own override file may sort after ours. Raises: Invalid; FileUnsafe."""
    try:
        record = reading.read_regular(work.root, work.data / "terraform.tfstate", most=_RECORD_MOST)
        backend = json.loads(record)["backend"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        backend = {}
    if backend.get("type") != "local" or backend.get("config", {}).get("path") != str(work.state):
        raise Invalid("The module's own *_override.tf sets a backend; Stackly keeps the state: remove it.")


def write_cli_config(work: RunDirectory, settings: TerraformSettings) -> None:
    lines = ["disable_checkpoint = true"]
    if settings.plugin_mirror:
        mirror = json.dumps(str(settings.plugin_mirror.absolute()))
        lines += ["provider_installation {", "  filesystem_mirror {", f"    path = {mirror}", "  }", "}"]
    else:
        lines += [f"plugin_cache_dir = {json.dumps(str(work.providers))}", *settings.installation]
    write_private(work.cli_config, ("\n".join(lines) + "\n").encode())
