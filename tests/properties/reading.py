"""What a commit holds, read by git itself and a few regular expressions: nothing of the product takes part."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_CALL = re.compile(r'^module "\w+" \{ source = "\.\./\.\./([\w/]+)" \}')
_CONFIG = re.compile(r"^  (bogus|target = \]\])")
_SUITE = re.compile(r'^  suite = "(.+)"')


@dataclass(frozen=True, slots=True)
class Seen:
    """A stack directory of one commit.

    Shape: `content` is equal exactly when the directory and every local module it calls are; `tree` is the directory's
    tree id; `problems` (file, line).
    """

    path: str
    name: str
    content: tuple[str, ...]
    tree: str
    problems: frozenset[tuple[str, int]]
    kind: str
    branches: tuple[str, ...]

    @property
    def calls(self) -> bool:
        return len(self.content) > 1


@lru_cache(maxsize=4096)
def read(repository: Path, commit: str) -> Mapping[str, Seen]:
    """Every stack directory of a commit, by path."""
    trees, blobs = _listed(repository, commit)
    texts = _texts(repository, {p: b for p, b in blobs.items() if p.endswith((".hcl", ".tf"))})
    found = {}
    for config in texts:
        folder, _, name = config.rpartition("/")
        if name == "stackly.hcl" and any(p.startswith(f"{folder}/") and p.endswith(".tf") for p in texts):
            found[folder] = _seen(folder, trees, blobs, texts)
    return found


@lru_cache(maxsize=4096)
def is_ancestor(repository: Path, older: str, newer: str) -> bool:
    done = subprocess.run(["git", "-C", str(repository), "merge-base", "--is-ancestor", older, newer], check=False)
    return done.returncode == 0


def newest_shared(repository: Path, commit: str, others: Sequence[str]) -> str:
    """The newest commit in the histories of one and of any other; '' when there is none."""
    line = ["git", "-C", str(repository), "merge-base", commit, *others]
    return subprocess.run(line, check=False, capture_output=True).stdout.decode().strip() if others else ""


def _seen(folder: str, trees: Mapping[str, str], blobs: Mapping[str, str], texts: Mapping[str, str]) -> Seen:
    config = texts[f"{folder}/stackly.hcl"].split("\n")
    modules, problems = set(), set()
    for path, text in texts.items():
        if path.startswith(f"{folder}/") and path.endswith(".tf"):
            for number, line in enumerate(text.split("\n"), 1):
                call = _CALL.match(line)
                if call and call[1] in trees:
                    modules.add(call[1])
                elif call:
                    problems.add((path, number))
    suites = [m[1] for line in config if (m := _SUITE.match(line))] or ["suite.yaml"]
    has_suite = f"{folder}/{suites[0]}" in blobs
    is_read = not problems
    if is_read:
        problems = {(f"{folder}/stackly.hcl", n) for n, line in enumerate(config, 1) if _CONFIG.match(line)}
    if is_read and not problems and suites[0] != "suite.yaml" and not has_suite:
        problems = {(f"{folder}/stackly.hcl", 1)}
    is_read = is_read and not problems
    return Seen(
        path=folder,
        name=config[0].split('"')[1] if is_read else folder.rpartition("/")[2],
        content=(trees[folder], *(f"{m} {trees[m]}" for m in sorted(modules))),
        tree=trees[folder],
        problems=frozenset(problems),
        kind="ephemeral" if has_suite else "plain",
        branches=("main",) if any(line.startswith("    branches") for line in config) else (),
    )


def _listed(repository: Path, commit: str) -> tuple[dict[str, str], dict[str, str]]:
    """Shape: (directory -> tree id, file -> blob id)."""
    trees: dict[str, str] = {}
    blobs: dict[str, str] = {}
    for line in _git(repository, "ls-tree", "-r", "-t", "-z", commit).decode().split("\0"):
        if line:
            head, path = line.split("\t", 1)
            _, kind, oid = head.split(" ")
            (trees if kind == "tree" else blobs)[path] = oid
    return trees, blobs


def _texts(repository: Path, blobs: Mapping[str, str]) -> dict[str, str]:
    wanted = sorted(set(blobs.values()))
    out = _git(repository, "cat-file", "--batch", stdin="".join(f"{b}\n" for b in wanted).encode())
    found, at = {}, 0
    for oid in wanted:
        end = out.index(b"\n", at)
        size = int(out[at:end].split(b" ")[2])
        found[oid] = out[end + 1 : end + 1 + size].decode()
        at = end + size + 2
    return {path: found[oid] for path, oid in blobs.items()}


def _git(repository: Path, *args: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["git", "-C", str(repository), *args], check=True, capture_output=True, input=stdin).stdout
