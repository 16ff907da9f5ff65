"""What GitHub would say about a push: one payload a ref, made from git's own facts."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from stackly.git.payloads import ZERO
from stackly.local.hub.repositories import RefChange, Repositories
from stackly.local.hub.shapes import Shapes
from stackly.local.hub.store import Repo

MAX_COMMITS = 2048
MAX_FILES = 3000
MAX_TAGS = 3
MAX_BRANCHES = 5000
_PERSON = re.compile(rb"(?P<name>.*?) ?<(?P<email>[^>]*)> ?(?P<at>-?\d+)? ?(?P<zone>[+-]\d{4})?\Z", re.DOTALL)
_LISTS = {"A": "added", "D": "removed"}


def announced(changes: list[RefChange]) -> list[RefChange]:
    """The changes GitHub speaks of: no tag when more than three moved at once, no branch above 5000; nothing else."""
    tags = [c for c in changes if c.ref.startswith("refs/tags/")]
    branches = [c for c in changes if c.ref.startswith("refs/heads/")]
    return [*(branches if len(branches) <= MAX_BRANCHES else []), *(tags if len(tags) <= MAX_TAGS else [])]


class Pushes:
    def __init__(self, repositories: Repositories, shapes: Shapes) -> None:
        self._git = repositories
        self._shapes = shapes

    async def payload(self, repo: Repo, change: RefChange, before: Mapping[str, str], pusher: str) -> dict[str, Any]:
        """Shape: GitHub's `push`. `before` is every ref as it was before the push."""
        tip = await self._peeled(repo, change.after)
        shas, fresh = await self._commits(repo, change, before)
        wanted = list(dict.fromkeys([*shas, *([tip] if tip else [])]))
        described = await self._described(repo, wanted, fresh)
        return {
            "ref": change.ref,
            "before": change.before,
            "after": change.after,
            "repository": self._shapes.pushed_repository(repo),
            "pusher": {"name": pusher, "email": f"{pusher}@users.noreply.invalid"},
            "sender": self._shapes.user(pusher),
            "created": change.created,
            "deleted": change.deleted,
            "forced": await self._forced(repo, change),
            "base_ref": _base_ref(repo, change, before, tip),
            "compare": self._compare(repo, change),
            "commits": [described[sha] for sha in shas],
            "head_commit": described[tip] if tip else None,
        }

    async def _peeled(self, repo: Repo, oid: str) -> str | None:
        """The commit an object stands for; None for nothing, or for a tag of something else."""
        if oid == ZERO:
            return None
        spec = f"{oid}^{{commit}}"
        out = await self._git.git(repo.id, "rev-parse", "--verify", "--quiet", spec, ok=(0, 1, 128))
        return out.decode().strip() or None

    async def _commits(self, repo: Repo, change: RefChange, before: Mapping[str, str]) -> tuple[list[str], set[str]]:
        """Commits of the push, oldest first, and those of them that no branch had before."""
        if change.deleted or not change.ref.startswith("refs/heads/"):
            return [], set()
        old = [oid for ref, oid in before.items() if ref.startswith("refs/heads/")]
        fresh = await self._rev_list(repo, change.after, old)
        shas = fresh if change.created else await self._rev_list(repo, change.after, [change.before])
        return shas, set(fresh)

    async def _rev_list(self, repo: Repo, new: str, without: list[str]) -> list[str]:
        revisions = "\n".join([new, *(f"^{oid}" for oid in without), ""])
        args = ("rev-list", "--topo-order", "--reverse", f"--max-count={MAX_COMMITS}", "--stdin")
        return (await self._git.git(repo.id, *args, stdin=revisions.encode())).decode().split()

    async def _forced(self, repo: Repo, change: RefChange) -> bool:
        if change.created or change.deleted or change.ref.startswith("refs/tags/"):
            return not (change.created or change.deleted)
        base = await self._git.git(repo.id, "merge-base", change.before, change.after, ok=(0, 1, 128))
        return base.decode().strip() != change.before

    def _compare(self, repo: Repo, change: RefChange) -> str:
        what = f"{change.before[:12]}...{change.after[:12]}"
        if change.created:
            what = change.ref.split("/", 2)[2]
        return f"{self._shapes.base_url}/{repo.full_name}/compare/{what}"

    async def _described(self, repo: Repo, shas: list[str], fresh: set[str]) -> dict[str, dict[str, Any]]:
        """Two gits for all commits together, however many they are."""
        if not shas:
            return {}
        names = "".join(f"{sha}\n" for sha in shas).encode()
        raw = await self._git.git(repo.id, "cat-file", "--batch", stdin=names)
        listed = await self._git.git(
            repo.id,
            *("diff-tree", "--stdin", "-r", "-z", "--root", "--no-renames", "--name-status"),
            "--diff-merges=first-parent",
            stdin=names,
        )
        files = _files(listed)
        url = f"{self._shapes.base_url}/{repo.full_name}/commit"
        out = {}
        for sha, body in _batch(raw):
            # A tag's head commit was known before, unless the same push brought it.
            out[sha] = {
                "id": sha,
                "distinct": sha in fresh,
                "url": f"{url}/{sha}",
                **_commit(body),
                **files.get(sha, {"added": [], "removed": [], "modified": []}),
            }
        return out


def _base_ref(repo: Repo, change: RefChange, before: Mapping[str, str], tip: str | None) -> str | None:
    """The branch a new ref was made from: one that stood at the same commit, the default branch first."""
    if not change.created or tip is None:
        return None
    same = sorted(r for r, oid in before.items() if oid == tip and r.startswith("refs/heads/") and r != change.ref)
    default = f"refs/heads/{repo.default_branch}"
    return default if default in same else next(iter(same), None)


def _batch(raw: bytes) -> list[tuple[str, bytes]]:
    out, at = [], 0
    while at < len(raw):
        end = raw.index(b"\n", at)
        sha, _, size = raw[at:end].decode().split(" ")
        out.append((sha, raw[end + 1 : end + 1 + int(size)]))
        at = end + int(size) + 2
    return out


def _commit(body: bytes) -> dict[str, Any]:
    head, _, message = body.partition(b"\n\n")
    fields = dict(line.split(b" ", 1) for line in reversed(head.split(b"\n")) if b" " in line.strip())
    author, _ = _person(fields.get(b"author", b""))
    committer, at = _person(fields.get(b"committer", b""))
    return {
        "tree_id": fields.get(b"tree", b"").decode("ascii", "replace"),
        "message": message.decode("utf-8", "replace").rstrip("\n"),
        "timestamp": at.isoformat(),
        "author": author,
        "committer": committer,
    }


def _person(line: bytes) -> tuple[dict[str, Any], datetime]:
    match = _PERSON.match(line)
    if match is None:
        return {"name": line.decode("utf-8", "replace"), "email": None}, datetime.fromtimestamp(0, UTC)
    name, email = (match[part].decode("utf-8", "replace") for part in ("name", "email"))
    return {"name": name, "email": email or None}, _moment(match["at"] or b"0", match["zone"] or b"+0000")


def _moment(at: bytes, zone: bytes) -> datetime:
    minutes = (int(zone[1:3]) * 60 + int(zone[3:5])) * (-1 if zone[:1] == b"-" else 1)
    try:
        return datetime.fromtimestamp(int(at), timezone(timedelta(minutes=minutes)))
    except (ValueError, OverflowError, OSError):  # people's clocks say all sorts of things
        return datetime.fromtimestamp(0, UTC)


def _files(listed: bytes) -> dict[str, dict[str, list[str]]]:
    """Shape: commit -> added, removed, modified, each at most MAX_FILES."""
    out: dict[str, dict[str, list[str]]] = {}
    current: dict[str, list[str]] = {}
    tokens = iter(listed.decode("utf-8", "replace").split("\0"))
    for token in tokens:
        if len(token) >= 40:
            current = out.setdefault(token.strip(), {"added": [], "removed": [], "modified": []})
        elif token:
            names = current[_LISTS.get(token[0], "modified")]
            path = next(tokens)
            if len(names) < MAX_FILES:
                names.append(path)
    return out
