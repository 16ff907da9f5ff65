"""Reading many stacks of one commit: their files in few git processes, each stack's problems its own."""

import asyncio
import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from stackly import texts
from stackly.engine.reading import CONFIG, Platform, Sources, read_stack
from stackly.errors import FileInvalid, FileProblem, Invalid, NotFound
from stackly.git import bundles
from stackly.git.closures import Closure
from stackly.git.mirrors import Mirror
from stackly.git.trees import Entry, Tree
from stackly.stacks.config import StackConfig
from stackly.stacks.model import FoundStack, Pin
from stackly.storage import Store
from stackly.terraform_facts import is_module_file

LOCK_FILE = ".terraform.lock.hcl"
MAX_TEXT = 256 * 1024
# So many stacks are in memory at once, and so many of their bundles on their way to storage.
CHUNK = 100
UPLOADS = 16
READING = 4  # at once: the processes that read HCL are two, and there is work on both sides of them
MAX_TOTAL = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit of a mirror, with the closures of its stacks by path."""

    mirror: Mirror
    oid: str
    tree: Tree
    closures: Mapping[str, Closure]


async def gather(commit: Commit, paths: Iterable[str], platform: Platform, storage: Store) -> dict[str, FoundStack]:
    """What each of these directories says it is, or everything that is wrong with it; its code is in storage."""
    wanted = sorted(paths)
    found: dict[str, FoundStack] = {}
    for at in range(0, len(wanted), CHUNK):
        found |= await _gather(commit, wanted[at : at + CHUNK], platform, storage)
    return found


def refused(tree: Tree) -> dict[str, FoundStack]:
    """Directories that would be stacks and cannot be, where their names can be written down: rejected ones."""
    return {path: _refused(tree, path, why) for path, why in tree.refused.items() if not texts.flaw(path)}


def _refused(tree: Tree, path: str, why: str) -> FoundStack:
    name = path.rpartition("/")[2]
    problem = FileProblem(_in(path, CONFIG), 0, 0, why)
    oid = tree.tree_of(path)
    return FoundStack(path, name, oid, oid, "plain", {}, None, None, "", errors=(problem.as_dict(),))


async def _gather(commit: Commit, paths: Sequence[str], platform: Platform, storage: Store) -> dict[str, FoundStack]:
    files = {path: _files(commit.tree, path) for path in paths}
    members = {path: _members(commit, path) for path in paths}
    oids = {e.oid for entries in files.values() for e in entries}
    oids |= {e.oid for entries in members.values() if not isinstance(entries, Invalid) for e in entries}
    sizes = await commit.mirror.sizes(oids) if oids else {}
    small = {oid for oid, size in sizes.items() if size <= bundles.MAX_FILE}
    blobs = await commit.mirror.blobs(small, max_total=MAX_TOTAL) if small else {}
    found: dict[str, FoundStack] = {}
    reading, room = asyncio.Semaphore(READING), asyncio.Semaphore(UPLOADS)

    async def read(path: str) -> None:
        async with reading:
            found[path] = await asyncio.to_thread(_read, commit, path, files[path], platform, sizes, blobs)

    async def bundled(path: str) -> None:
        async with room:
            links = bundles.links(commit.tree, commit.closures[path])
            found[path] = await _bundled(found[path], members[path], links, sizes, blobs, storage)

    await asyncio.gather(*(read(path) for path in paths))

    await asyncio.gather(*(bundled(path) for path in paths if not found[path].errors))
    for path in paths:
        out = bundles.left_out(commit.tree, commit.closures[path])
        found[path] = replace(found[path], left_out={texts.shown(p): why for p, why in out.items()})
    for path in paths:
        if any(s.get("commit") for s in found[path].config.get("states", [])) and not found[path].errors:
            found[path] = await _pinned(commit, found[path], storage)
    return found


async def _pinned(commit: Commit, stack: FoundStack, storage: Store) -> FoundStack:
    """States that stay at a commit of their own: it must be in this commit's history (G11), and hold the stack."""
    pins, problems = {}, []
    for state in StackConfig.from_json(stack.config).states:
        if state.commit is None:
            continue
        try:
            pins[state.name] = await _pin(commit, stack.path, state.commit, storage)
        except (Invalid, NotFound) as e:
            why = f"state {state.name} cannot stay at {state.commit[:7]}: {e.detail}"
            problems.append(FileProblem(_in(stack.path, CONFIG), state.line, state.column, why).as_dict())
    return replace(stack, pins=pins, errors=tuple(problems))


async def _pin(commit: Commit, path: str, oid: str, storage: Store) -> Pin:
    mirror = commit.mirror
    if not await mirror.is_ancestor(oid, commit.oid):
        raise Invalid("it is not in the history of this commit.")
    tree = await mirror.trees(oid)
    packed = await mirror.bundle(oid, path)
    key = bundles.key_of(packed)
    await storage.put(key, packed, "application/gzip", only_new=True)
    locks = [e for e in tree.directly_in(path) if e.is_file and e.path.endswith(LOCK_FILE)]
    texts = await mirror.blobs([e.oid for e in locks], max_file=MAX_TEXT) if locks else {}
    lock = "".join(hashlib.sha256(text).hexdigest() for text in texts.values())
    return Pin(oid, (await mirror.closures(tree, [path]))[path].key, key, lock)


def _files(tree: Tree, path: str) -> list[Entry]:
    """Configuration, suites and module files that lie directly in the stack's directory."""
    return [
        e
        for e in tree.directly_in(path)
        if e.is_file and (e.path.endswith((".tf", ".tf.json", ".yaml", ".yml")) or e.path.endswith((CONFIG, LOCK_FILE)))
    ]


def _members(commit: Commit, path: str) -> list[Entry] | Invalid:
    try:
        return bundles.members(commit.tree, commit.closures[path])
    except Invalid as e:
        return e


def _read(
    commit: Commit,
    path: str,
    files: Sequence[Entry],
    platform: Platform,
    sizes: Mapping[str, int],
    blobs: Mapping[str, bytes],
) -> FoundStack:
    large = [e for e in files if sizes[e.oid] > MAX_TEXT]
    small = [e for e in files if sizes[e.oid] <= MAX_TEXT]
    contents = {e.path.rpartition("/")[2]: blobs[e.oid].decode("utf-8", "replace") for e in small}
    lock = contents.pop(LOCK_FILE, "")
    why = f"The file is larger than {MAX_TEXT} bytes and is not read; split it."
    skipped = tuple(FileProblem(e.path, 0, 0, why) for e in large if is_module_file(e.path))
    lock_sha256 = hashlib.sha256(lock.encode()).hexdigest() if lock else ""
    sources = Sources(path, commit.closures[path], contents, lock_sha256, skipped)
    unread = [FileProblem(e.path, 0, 0, why) for e in large if not is_module_file(e.path)]
    unread += [p for e in small if _is_ours(e) and (p := _undecodable(e.path, blobs[e.oid])) is not None]
    if not unread:
        return read_stack(sources, platform, commit.oid)
    problems = tuple(p.as_dict() for p in unread)
    empty = replace(sources, files={CONFIG: ""})
    return replace(read_stack(empty, platform, commit.oid), errors=problems)


def _is_ours(entry: Entry) -> bool:
    """What the platform itself reads; Terraform's files are Terraform's to refuse."""
    return entry.path.endswith((CONFIG, ".yaml", ".yml"))


def _undecodable(file: str, content: bytes) -> FileProblem | None:
    """A character taken for another would be deployed: such a file is not guessed at."""
    try:
        content.decode()
    except UnicodeDecodeError as e:
        line = content.count(b"\n", 0, e.start) + 1
        column = e.start - content.rfind(b"\n", 0, e.start)
        return FileProblem(
            file, line, column, f"The byte 0x{content[e.start]:02x} is not UTF-8; save the file as UTF-8."
        )
    return None


async def _bundled(
    stack: FoundStack,
    members: Sequence[Entry] | Invalid,
    links: Collection[str],
    sizes: Mapping[str, int],
    blobs: Mapping[str, bytes],
    storage: Store,
) -> FoundStack:
    """The code goes to storage, by its content, before any row names it: destroy must never need the repository."""
    try:
        if isinstance(members, Invalid):
            raise members
        entries = list(members)
        bundles.check_sizes(entries, sizes)
        bundles.check_links(entries, blobs, links)
        packed = await asyncio.to_thread(bundles.pack, entries, blobs)
    except FileInvalid as e:
        return replace(stack, errors=tuple(p.as_dict() for p in e.problems))
    except Invalid as e:
        problem = FileProblem(_in(stack.path, CONFIG), 0, 0, e.detail)
        return replace(stack, errors=(problem.as_dict(),))
    key = bundles.key_of(packed)
    await storage.put(key, packed, "application/gzip", only_new=True)
    return replace(stack, bundle=key)


def _in(path: str, name: str) -> str:
    return name if path in {"", "."} else f"{path}/{name}"
