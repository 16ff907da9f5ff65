"""Which policies bind a run: the platform's files, then the repository's own from its default branch."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stackly import hcl_worker, log
from stackly.errors import FileInvalid
from stackly.policy import parse
from stackly.policy.model import Policy

_log = log.get("engine")


class PolicyBook:
    """The platform's policies by name, read again when a file changes.

    A repository cannot replace one: its own policies only add names.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._stamp: tuple[tuple[str, int], ...] = ()
        self._policies: dict[str, Policy] = {}

    def all(self) -> Mapping[str, Policy]:
        files = sorted(f for folder in self._folders if folder.is_dir() for f in folder.glob("*.hcl"))
        stamp = tuple((str(f), f.stat().st_mtime_ns) for f in files)
        if stamp != self._stamp:
            self._policies = _read(files)
            self._stamp = stamp
        return self._policies

    def bind(self, names: Iterable[str], repository: Mapping[str, Policy]) -> list[dict[str, Any]]:
        """Shape: what a run's spec keeps of each policy: name, source (platform, repository), policy as JSON."""
        platform = self.all()
        return [
            {"name": n, "source": "platform", "policy": platform[n].as_json()}
            if n in platform
            else {"name": n, "source": "repository", "policy": repository[n].as_json()}
            for n in names
        ]

    def current(self, bound: Sequence[Mapping[str, Any]]) -> list[Policy]:
        """The bound policies as they are now: a platform policy that changed has changed for waiting runs as well."""
        platform = self.all()
        return [
            platform[b["name"]]
            if b["source"] == "platform" and b["name"] in platform
            else Policy.from_json(b["policy"])
            for b in bound
        ]


def _read(files: Sequence[Path]) -> dict[str, Policy]:
    found: dict[str, Policy] = {}
    for file in files:
        try:
            for policy in parse.policies(file.read_text(), file.name):
                found.setdefault(policy.name, policy)
        except (FileInvalid, OSError, UnicodeDecodeError) as e:
            _log.error("policy.unreadable", file=file.name, reason=str(e))
    return found


def repository_policies(files: Mapping[str, str]) -> dict[str, Policy]:
    """Raises: FileInvalid. Shape: `files` path -> text of the default branch's policies/*.hcl."""
    found: dict[str, Policy] = {}
    for file, text in sorted(files.items()):
        for policy in parse.policies(text, file, read=hcl_worker.read):
            found.setdefault(policy.name, policy)
    return found
