"""Commits written straight into a bare repository: no process, no work tree, about a millisecond each."""

import hashlib
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_EPOCH = 1_767_000_000


class Objects:
    """Loose objects and loose refs, in git's own format: everybody else reads them with git."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: set[str] = set()
        self._commits = 0

    def commit(self, files: Mapping[str, str], parents: Sequence[str], message: str) -> str:
        """Every commit is another one, also when nothing else differs. Shape: `files` path -> text, all of them."""
        self._commits += 1
        at = f"{_EPOCH + self._commits} +0000"
        head = [f"tree {self._tree(_nested(files))}", *(f"parent {p}" for p in parents)]
        head += [f"author Ada <ada@example.invalid> {at}", f"committer Lin <lin@example.invalid> {at}"]
        return self._write("commit", "\n".join([*head, "", message, ""]).encode())

    def point(self, ref: str, oid: str | None) -> None:
        """A branch or a tag stands at that object; None: it is gone."""
        path = self._path / ref
        if oid is None:
            path.unlink()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.lock")
        fresh.write_text(f"{oid}\n")
        fresh.rename(path)

    def _tree(self, entries: Mapping[str, Any]) -> str:
        rows = []
        for name, content in entries.items():
            is_file = isinstance(content, str)
            oid = self._write("blob", content.encode()) if is_file else self._tree(content)
            # git sorts a directory as if its name ended in a slash.
            rows.append((name if is_file else f"{name}/", name, "100644" if is_file else "40000", oid))
        body = b"".join(f"{mode} {name}".encode() + b"\0" + bytes.fromhex(oid) for _, name, mode, oid in sorted(rows))
        return self._write("tree", body)

    def _write(self, kind: str, body: bytes) -> str:
        raw = f"{kind} {len(body)}".encode() + b"\0" + body
        oid = hashlib.sha1(raw).hexdigest()
        if oid not in self._known:
            folder = self._path / "objects" / oid[:2]
            folder.mkdir(exist_ok=True)
            fresh = folder / f"new-{os.getpid()}"
            fresh.write_bytes(zlib.compress(raw, 1))
            fresh.rename(folder / oid[2:])
            self._known.add(oid)
        return oid


def _nested(files: Mapping[str, str]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for path, text in files.items():
        *folders, name = path.split("/")
        at = root
        for folder in folders:
            at = at.setdefault(folder, {})
        at[name] = text
    return root
