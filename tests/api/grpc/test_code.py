"""Agents read code under certificate and epoch: from the git cache, once it was read; never from upstream."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from agent.gateway import Gateway
from stackly.errors import Conflict, Denied, Faulty, NotFound
from stackly.git import bundles
from stackly.git.mirrors import Mirror
from stackly.git.runner import Runner
from stackly.git.trees import Entry
from stackly.storage import Store
from tests.api.grpc.conftest import Connect, Doors
from tests.api.grpc.rows import World, sql
from tests.git.conftest import Repository

FILES = {
    "db/stackly.hcl": 'stack "db" {}\n',
    "db/main.tf": 'module "net" {\n  source = "../net"\n}\n',
    "db/same.tf": "# the same\n",
    "net/main.tf": "# the same\n",
    "other/secret": "not of this stack\n",
}


@pytest.fixture
async def site(world: World, doors: Doors, connect: Connect) -> Gateway:
    return await connect(await doors.enrol(world.site_token))


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "upstream")
    made.path.mkdir()
    made.git("init", "-q", "-b", "main")
    return made


async def registered(
    repo: Repository, world: World, doors: Doors, mirrors: Path = Path(), *, more: Mapping[str, str] | None = None
) -> bytes:
    """A commit's code is in storage, as a sync leaves it, and the run is of that commit. Then upstream is no more."""
    mirrors = mirrors if mirrors != Path() else repo.path.parent / "kept"
    commit = repo.commit({**FILES, **(more or {})})
    mirror = Mirror(repo.path.parent / "fetched", "r1", repo.url, Runner(protocols=frozenset({"file"})))
    await mirror.fetch()
    packed = await mirror.bundle(commit, "db")
    key = f"code/{hashlib.sha256(packed).hexdigest()}.tar.gz"
    await doors.store.put(key, packed)
    spec = json.dumps({"bundle": key, "path": "db"})
    change = "UPDATE operations SET commit = :commit, spec = CAST(:spec AS jsonb) WHERE id = :run"
    await sql(doors.transactions, change, commit=commit, spec=spec, run=world.run)
    shutil.rmtree(repo.path)
    ((repo_id,),) = await sql(doors.transactions, "SELECT id FROM repos")
    held = mirrors / f"{repo_id}.git"
    held.parent.mkdir()
    mirror.path.rename(held)
    return packed


async def _lose(store: Store, packed: bytes) -> None:
    await store.delete(f"code/{hashlib.sha256(packed).hexdigest()}.tar.gz")


async def test_the_second_read_needs_neither_upstream_nor_storage(
    site: Gateway, world: World, doors: Doors, repo: Repository
) -> None:
    packed = await registered(repo, world, doors)
    assert await site.read_tree(world.key()) == packed
    await _lose(doors.store, packed)
    assert await site.read_tree(world.key()) == packed


async def test_a_miss_fills_from_storage_and_without_both_there_is_none(
    site: Gateway, world: World, doors: Doors, repo: Repository
) -> None:
    packed = await registered(repo, world, doors)
    assert await site.read_tree(world.key()) == packed
    await sql(doors.transactions, "DELETE FROM git_trees")
    assert await site.read_tree(world.key()) == packed
    await sql(doors.transactions, "DELETE FROM git_trees")
    await _lose(doors.store, packed)
    with pytest.raises(NotFound, match="push the stack again, or restore the object"):
        await site.read_tree(world.key())


def _place(packed: bytes) -> str:
    return f"code/{hashlib.sha256(packed).hexdigest()}.tar.gz"


async def test_what_was_changed_in_storage_is_refused_and_never_cached(
    site: Gateway, world: World, doors: Doors, repo: Repository
) -> None:
    packed = await registered(repo, world, doors)
    await doors.store.put(_place(packed), b"evil")
    for _ in range(2):
        with pytest.raises(Faulty, match="nothing of it is run"):
            await site.read_tree(world.key())
    assert await sql(doors.transactions, "SELECT count(*) FROM git_trees") == [(0,)]
    assert await changes(doors, world) == [("storage", _place(packed), hashlib.sha256(b"evil").hexdigest())]


async def changes(doors: Doors, world: World) -> list[tuple[str, str, str]]:
    """What the run's events name as changed code. Shape: (where, key, the digest that was found)."""
    told = await sql(
        doors.transactions,
        "SELECT payload->>'where', payload->>'bundle', payload->>'found_sha256' FROM events"
        " WHERE name = 'code_changed' AND subject = :subject",
        subject=f"run/{world.run}",
    )
    return [(str(a), str(b), str(c)) for a, b, c in told]


@pytest.mark.parametrize("there", [b"evil", b""])
async def test_where_git_still_has_it_it_is_made_again(
    site: Gateway, world: World, doors: Doors, repo: Repository, tmp_path: Path, there: bytes
) -> None:
    packed = await registered(repo, world, doors, tmp_path / "mirrors")
    await doors.store.put(_place(packed), there)
    if not there:
        await _lose(doors.store, packed)
    assert await site.read_tree(world.key()) == packed
    assert await doors.store.get(_place(packed)) == packed
    assert len(await changes(doors, world)) == (1 if there else 0)


async def test_what_was_changed_in_the_cache_is_not_taken(
    site: Gateway, world: World, doors: Doors, repo: Repository
) -> None:
    packed = await registered(repo, world, doors)
    assert await site.read_tree(world.key()) == packed
    await sql(doors.transactions, "UPDATE git_blobs SET content = '\\x6576696c'")
    assert await site.read_tree(world.key()) == packed
    assert await changes(doors, world) == [("the git cache", _place(packed), "")]


async def test_a_bundle_of_an_earlier_release_that_held_what_is_no_code_is_made_again(
    site: Gateway, world: World, doors: Doors, repo: Repository, tmp_path: Path
) -> None:
    """A teardown that was promised then still finds its code."""
    brought = {"db/errored.tfstate": "{}", "net/.terraform/x": "x"}
    await registered(repo, world, doors, tmp_path / "mirrors", more=brought)
    wanted = {path: text for path, text in {**FILES, **brought}.items() if not path.startswith("other/")}
    earlier = _packed(wanted)
    change = "UPDATE operations SET spec = spec || CAST(:spec AS jsonb) WHERE id = :run"
    await sql(doors.transactions, change, spec=json.dumps({"bundle": _place(earlier)}), run=world.run)
    for _ in range(2):
        assert await site.read_tree(world.key()) == earlier
    assert await changes(doors, world) == []


def _packed(files: dict[str, str]) -> bytes:
    """As the earlier release wrote it: every file below the stack's directories."""
    blobs = {bundles.blob_id(text.encode()): text.encode() for text in files.values()}
    return bundles.pack(
        [Entry(path, "100644", bundles.blob_id(text.encode())) for path, text in sorted(files.items())], blobs
    )


async def test_a_cached_tree_still_needs_the_epoch_and_the_agent(
    site: Gateway, world: World, doors: Doors, repo: Repository, connect: Connect
) -> None:
    await registered(repo, world, doors)
    assert await site.read_tree(world.key())
    with pytest.raises(Conflict):
        await site.read_tree(world.key(epoch=2))
    edge = await connect(await doors.edge(world))
    with pytest.raises(Denied):
        await edge.read_tree(world.key())


async def test_the_seeds_view_shows_the_stacks_files_and_equal_ones_are_kept_once(
    site: Gateway, world: World, doors: Doors, repo: Repository
) -> None:
    await registered(repo, world, doors)
    await site.read_tree(world.key())
    found = await sql(doors.transactions, "SELECT repo_url, path, content FROM git_cache ORDER BY path")
    wanted = [(path, text.encode()) for path, text in FILES.items() if not path.startswith("other/")]
    assert found == [("http://127.0.0.1/a/b.git", path, content) for path, content in sorted(wanted)]
    same = bundles.blob_id(b"# the same\n")
    assert await sql(doors.transactions, "SELECT count(*), sum(size) FROM git_blobs WHERE oid = :oid", oid=same) == [
        (1, len(b"# the same\n"))
    ]
    told = await sql(doors.transactions, "SELECT DISTINCT commit_hash, cached_at IS NOT NULL FROM git_cache")
    assert len(told) == 1
