"""What people write into the repository: stacks of three kinds, what breaks them, and what puts them right again."""

from collections.abc import Mapping
from typing import Final

Files = dict[str, str]

# Two levels each, so that a module called by "../../modules/net" is the same one from everywhere.
PLACES: Final = ("apps/a", "apps/b", "infra/a", "infra/b", "infra/c", "ops/a", "ops/b")
KINDS: Final = ("plain", "calling", "measured", "here_only")
BREAKS: Final = ("attribute", "syntax", "module", "suite")
NET: Final = "modules/net/main.tf"
MARK: Final = "# broken"

_SUITE = """
version: 1
name: smoke
tests:
  - name: tpcb
    database: {engine: postgres, version: "16"}
    workload: {driver: pgbench, name: tpcb-like, scale_factor: 1, clients: 2}
    measure: {warmup: 1s, duration: 5s, repeats: 1}
    comparison: {baseline: none}
    thresholds:
      tps: {min: 10}
"""
_BROKEN: Mapping[str, tuple[str, int, str]] = {
    "attribute": ("stackly.hcl", 1, f"  bogus = 1 {MARK}"),
    "suite": ("stackly.hcl", 1, f'  suite = "none.yaml" {MARK}'),
    "syntax": ("stackly.hcl", 1, f"  target = ]]] {MARK}"),
    "module": ("main.tf", 0, f'module "gone" {{ source = "../../modules/gone" }} {MARK}'),
}


def stack(place: str, name: str, kind: str) -> Files:
    """The files of a new stack. Shape: repository path -> text."""
    config = [f'stack "{name}" {{', '  target = "module"']
    module = ['resource "terraform_data" "x" {}']
    more: Files = {}
    if kind == "calling":
        module.append('module "net" { source = "../../modules/net" }')
    if kind in {"measured", "here_only"}:
        config[1] = '  target = "local"'
        module += ['variable "stackly" {}', 'variable "stackly_user_data" {}', 'output "machines" { value = {} }']
        more = {f"{place}/suite.yaml": _SUITE}
    if kind == "here_only":
        config += ["  trigger {", '    branches = ["main"]', "  }"]
    lines = {f"{place}/stackly.hcl": [*config, "}"], f"{place}/main.tf": module}
    return {path: "\n".join([*text, ""]) for path, text in lines.items()} | more


def first() -> Files:
    """What every repository begins with."""
    files = {"README.md": "0\n", NET: 'resource "terraform_data" "net" {}\n'}
    return files | stack(PLACES[0], "one", "plain") | stack(PLACES[1], "two", "measured")


def stacks_of(files: Files) -> list[str]:
    """Directories that hold a configuration."""
    return sorted(path.rpartition("/")[0] for path in files if path.endswith("/stackly.hcl"))


def directories_of(files: Files) -> list[str]:
    """Directories a stack is, was or could be restored in."""
    return sorted({path.rpartition("/")[0] for path in files} & set(PLACES))


def inside(files: Files, directory: str) -> Files:
    """Shape: path within the directory -> text."""
    return {p.removeprefix(f"{directory}/"): t for p, t in files.items() if p.startswith(f"{directory}/")}


def without(files: Files, directory: str) -> Files:
    return {p: t for p, t in files.items() if not p.startswith(f"{directory}/")}


def placed(content: Files, directory: str) -> Files:
    return {f"{directory}/{p}": t for p, t in content.items()}


def edited(files: Files, path: str, text: str) -> Files:
    """A line more at the end: no other line moves."""
    return files | {path: f"{files.get(path, '')}# {text}\n"}


def broken(files: Files, directory: str, how: str) -> Files:
    name, at, line = _BROKEN[how]
    lines = files[f"{directory}/{name}"].split("\n")
    return files | {f"{directory}/{name}": "\n".join([*lines[:at], line, *lines[at:]])}


def mended(files: Files, directory: str) -> Files:
    whole = {
        p: "\n".join(line for line in t.split("\n") if not line.endswith(MARK))
        for p, t in inside(files, directory).items()
    }
    return files | placed(whole, directory)
