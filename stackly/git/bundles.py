"""A stack's code as one file: the same commit and path give the same bytes, anywhere and any time."""

import gzip
import hashlib
import io
import posixpath
import re
import tarfile
import zlib
from collections.abc import Collection, Mapping
from typing import Final

from stackly import terraform_names, texts
from stackly.errors import FileInvalid, FileProblem, Invalid
from stackly.git.closures import Closure, is_module_file
from stackly.git.trees import CONFIG, MAX_DEPTH, MAX_PATH, Entry, Tree, parent

MAX_FILE: Final = 1024 * 1024
MAX_TOTAL: Final = 10 * 1024 * 1024
MAX_FILES: Final = 2000
_LINKED: Final = "A symbolic link or a submodule, which are not followed; make it a file."
# What the platform reads in a stack's own directory, besides Terraform's files.
_READ: Final = frozenset({CONFIG, "suite.yaml", ".terraform.lock.hcl"})
_LFS = b"version https://git-lfs.github.com/spec/"


_KEY = re.compile(r"code/([0-9a-f]{64})\.tar\.gz")


def key_of(packed: bytes) -> str:
    """Where storage keeps a bundle: by its content."""
    return f"code/{hashlib.sha256(packed).hexdigest()}.tar.gz"


def is_of(packed: bytes, key: str) -> bool:
    """Whether this is what was put there. A key of another shape says nothing of its content."""
    found = _KEY.fullmatch(key)
    return found is not None and found.group(1) == hashlib.sha256(packed).hexdigest()


def members(tree: Tree, closure: Closure) -> list[Entry]:
    """The files of a closure, by path, without those that are `left_out`.

    Raises: FileInvalid for files that are too deep, and links in the place of Terraform's; Invalid for too many.
    """
    if closure.problems:
        raise FileInvalid(list(closure.problems))
    found = _below(tree, closure)
    entries = [entry for entry in found.values() if _no_code(entry) is None]
    problems = [FileProblem(p, 0, 0, _LINKED) for p in links(tree, closure) if is_code(tree, closure, p)]
    problems += [FileProblem(e.path, 0, 0, why) for e in entries if (why := _refusal(e))]
    if problems:
        raise FileInvalid(problems)
    if len(entries) > MAX_FILES:
        raise Invalid(f"{closure.path!r} and its modules have more than {MAX_FILES} files.")
    return entries


def earlier_members(tree: Tree, closure: Closure) -> list[Entry]:
    """What earlier releases took: everything below its directories, and nothing else. Raises: FileInvalid."""
    if closure.problems:
        raise FileInvalid(list(closure.problems))
    found = {e.path: e for directory in closure.directories for e in tree.below(directory)}
    if linked := [path for path, entry in found.items() if entry.is_link]:
        raise FileInvalid([FileProblem(path, 0, 0, _LINKED) for path in linked])
    return [found[path] for path in sorted(found)]


def left_out(tree: Tree, closure: Closure) -> dict[str, str]:
    """What lies below a closure's directories and is no part of its code. Shape: file or directory -> why, by path."""
    return dict(filter(None, map(_no_code, _below(tree, closure).values())))


def links(tree: Tree, closure: Closure) -> list[str]:
    """Symbolic links and submodules below a closure's directories, by path."""
    return [path for path, entry in _below(tree, closure).items() if entry.is_link]


def is_code(tree: Tree, closure: Closure, path: str) -> bool:
    """Whether Terraform or the platform would read a file of that name where it lies."""
    directory, name = parent(path), path.rpartition("/")[2]
    if name.endswith((".tf", ".tf.json")):
        return any(e.is_file and is_module_file(e) for e in tree.directly_in(directory)) or directory == closure.path
    return directory == closure.path and (name in _READ or name.endswith((".tfvars", ".tfvars.json")))


def check_links(entries: list[Entry], blobs: Mapping[str, bytes], linked: Collection[str]) -> None:
    """Raises: FileInvalid where a module file names a link or a submodule that is left out."""
    problems = []
    for entry in entries if linked else []:
        if entry.path.endswith((".tf", ".tf.json")):
            text = blobs[entry.oid].decode("utf-8", "replace")
            named = (_mention(text, entry.path, link) for link in linked)
            problems += [
                FileProblem(entry.path, line, 1, f"{texts.shown(link)}: {_LINKED}")
                for line, link in filter(None, named)
            ]
    if problems:
        raise FileInvalid(problems)


def _mention(text: str, file: str, link: str) -> tuple[int, str] | None:
    """Where a file's text names a path as Terraform's functions take it: from its module, or from where it runs."""
    inside = posixpath.relpath(link, parent(file))
    place = rf"(?:path\.(?:module|root|cwd)\}}/|\./|\b(?:file\w*|templatefile)\(\s*\"){re.escape(inside)}(?=[\"/])"
    found = re.search(place, text)
    return (text.count("\n", 0, found.start()) + 1, link) if found else None


def _below(tree: Tree, closure: Closure) -> dict[str, Entry]:
    found = {e.path: e for directory in closure.directories for e in tree.below(directory)}
    found |= {path: tree.entries[path] for path, _ in closure.files}
    return {path: found[path] for path in sorted(found)}


def _no_code(entry: Entry) -> tuple[str, str] | None:
    """What is left out for this entry, and why; None for code."""
    if entry.is_link:
        kind = "submodule" if entry.is_submodule else "symbolic link"
        return entry.path, f"it is a {kind}, which is not followed"
    if texts.flaw(entry.path):
        return entry.path, "its name is not UTF-8"
    found = terraform_names.left_out(entry.path)
    return None if found is None else (found[0], f"it is {found[1]}")


def check_sizes(entries: list[Entry], sizes: Mapping[str, int]) -> None:
    """Raises: FileInvalid for files that are too large, Invalid when they are too large together."""
    large = [e for e in entries if sizes[e.oid] > MAX_FILE]
    if large:
        raise FileInvalid([FileProblem(e.path, 0, 0, f"The file is larger than {MAX_FILE} bytes.") for e in large])
    if sum(sizes[e.oid] for e in entries) > MAX_TOTAL:
        raise Invalid(f"The stack's files are larger than {MAX_TOTAL} bytes together.")


def pack(entries: list[Entry], blobs: Mapping[str, bytes]) -> bytes:
    """Shape: gzip'd ustar/pax, repository-relative paths, sorted, no times, no owners."""
    pointers = [e for e in entries if blobs[e.oid].startswith(_LFS)]
    if pointers:
        raise FileInvalid(
            [FileProblem(e.path, 0, 0, "The file is kept in Git LFS, which is not supported.") for e in pointers]
        )
    out = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0, compresslevel=6) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for entry in entries:
            info = tarfile.TarInfo(entry.path)
            info.size = len(blobs[entry.oid])
            info.mode = 0o755 if entry.executable else 0o644
            tar.addfile(info, io.BytesIO(blobs[entry.oid]))
    return out.getvalue()


def unpack(packed: bytes, *, sha256: bool = False) -> tuple[list[Entry], dict[str, bytes]]:
    """What `pack` was given: the files by path, and the contents by git's own ids.

    Raises: Invalid for what `pack` did not write.
    """
    entries: list[Entry] = []
    blobs: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
            for info in tar:
                file = tar.extractfile(info) if info.isfile() and info.size <= MAX_FILE else None
                total += info.size
                if file is None or total > MAX_TOTAL:
                    raise Invalid("The code bundle holds what no bundle does.")
                content = file.read()
                oid = blob_id(content, sha256=sha256)
                blobs[oid] = content
                entries.append(Entry(info.name, "100755" if info.mode & 0o100 else "100644", oid))
    except (tarfile.TarError, OSError, EOFError, zlib.error) as e:
        raise Invalid(f"The code bundle is not readable: {e}.") from e
    return entries, blobs


def blob_id(content: bytes, *, sha256: bool = False) -> str:
    """The id that git gives a file's content."""
    told = b"blob %d\0" % len(content) + content
    return hashlib.sha256(told).hexdigest() if sha256 else hashlib.sha1(told, usedforsecurity=False).hexdigest()


def _refusal(entry: Entry) -> str | None:
    if entry.is_far:
        return (
            f"The file is nested deeper than {MAX_DEPTH} directories, or its path is longer than {MAX_PATH} characters."
        )
    return None
