import io
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stackly.errors import FileInvalid, Invalid, NotFound, Unavailable
from stackly.git.mirrors import Mirror
from stackly.git.runner import Runner

if TYPE_CHECKING:
    from tests.git.conftest import Repository

STACK = {"a/stackly.hcl": "version = 1\n", "a/main.tf": 'module "net" {\n  source = "../modules/net"\n}\n'}
MODULE = {"modules/net/main.tf": "# net\n", "modules/net/templates/x.tpl": "x\n"}


def names(bundle: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(bundle)) as tar:
        return tar.getnames()


async def test_a_push_is_seen_after_a_fetch(repo: "Repository", mirror: Mirror) -> None:
    first = repo.commit(STACK | MODULE)
    await mirror.fetch()
    assert await mirror.refs() == {"refs/heads/main": first}
    second = repo.commit({"b/x": "1"})
    repo.git("branch", "feature/x")
    repo.git("tag", "-am", "v1", "v1")
    await mirror.fetch()
    refs = await mirror.refs()
    assert refs["refs/heads/main"] == refs["refs/heads/feature/x"] == second
    assert refs == await mirror.remote_refs()
    assert refs["refs/tags/v1"] != second
    assert await mirror.commit_of(refs["refs/tags/v1"]) == second


async def test_deleted_branches_go_and_their_names_can_become_folders(repo: "Repository", mirror: Mirror) -> None:
    repo.commit(STACK)
    repo.git("branch", "x")
    await mirror.fetch()
    repo.git("branch", "-D", "x")
    repo.git("branch", "x/y")
    await mirror.fetch()
    assert set(await mirror.refs()) == {"refs/heads/main", "refs/heads/x/y"}


async def test_an_empty_repository_has_no_refs(repo: "Repository", mirror: Mirror) -> None:
    await mirror.fetch()
    assert await mirror.refs() == {}


async def test_a_killed_fetch_leaves_no_lock_behind_for_the_next(repo: "Repository", mirror: Mirror) -> None:
    repo.commit(STACK)
    await mirror.fetch()
    (mirror.path / "refs" / "heads" / "main.lock").touch()
    (mirror.path / "packed-refs.lock").touch()
    head = repo.commit({"b": "1"})
    await mirror.fetch()
    assert (await mirror.refs())["refs/heads/main"] == head


async def test_stack_directories_hold_both_files_themselves(repo: "Repository", mirror: Mirror) -> None:
    head = repo.commit(
        STACK | MODULE | {"b/stackly.hcl": "", "b/sub/main.tf": "", "c/main.tf": "", "main.tf": "", "stackly.hcl": ""}
    )
    await mirror.fetch()
    tree = await mirror.trees(head)
    assert tree.stack_directories == {".": repo.git("rev-parse", "HEAD^{tree}"), "a": repo.git("rev-parse", "HEAD:a")}
    assert tree.refused == {}


async def test_a_module_outside_triggers_its_users_and_nobody_else(repo: "Repository", mirror: Mirror) -> None:
    other = {"z/stackly.hcl": "", "z/main.tf": 'module "in" { source = "./inner" }\n', "z/inner/main.tf": ""}
    before = repo.commit(STACK | MODULE | other)
    after = repo.commit({"modules/net/templates/x.tpl": "y\n"})
    await mirror.fetch()
    keys = []
    for commit in (before, after):
        found = await mirror.closures(await mirror.trees(commit))
        keys.append({path: c.key for path, c in found.items()})
    assert {p for p in keys[0] | keys[1] if keys[0].get(p) != keys[1].get(p)} == {"a"}
    assert keys[0]["z"] == repo.git("rev-parse", f"{before}:z")


async def test_a_moved_directory_keeps_its_key(repo: "Repository", mirror: Mirror) -> None:
    before = repo.commit(STACK | MODULE)
    repo.git("mv", "a", "c")
    after = repo.commit()
    await mirror.fetch()
    keys = [
        {p: c.key for p, c in (await mirror.closures(await mirror.trees(commit))).items()} for commit in (before, after)
    ]
    assert keys[1] == {"c": keys[0]["a"]}


async def test_modules_are_followed_through_modules(repo: "Repository", mirror: Mirror) -> None:
    head = repo.commit(
        STACK | {"modules/net/main.tf.json": '{"module": {"d": {"source": "../deep"}}}', "modules/deep/x.tf": ""}
    )
    await mirror.fetch()
    found = (await mirror.closures(await mirror.trees(head)))["a"]
    assert [p for p, _ in found.modules] == ["modules/deep", "modules/net"]


async def test_a_bundle_holds_the_closure_and_is_the_same_every_time(
    repo: "Repository", mirror: Mirror, tmp_path: Path
) -> None:
    repo.write(STACK | MODULE | {"other/secret.txt": "no", "a/run.sh": "#!/bin/sh\n"})
    (repo.path / "a/run.sh").chmod(0o755)
    head = repo.commit()
    await mirror.fetch()
    bundle = await mirror.bundle(head, "a")
    assert names(bundle) == [
        "a/main.tf",
        "a/run.sh",
        "a/stackly.hcl",
        "modules/net/main.tf",
        "modules/net/templates/x.tpl",
    ]
    again = Mirror(tmp_path / "elsewhere", "r2", repo.url, mirror._runner)
    await again.fetch()
    assert await again.bundle(head, "a") == bundle
    with tarfile.open(fileobj=io.BytesIO(bundle)) as tar:
        assert tar.getmember("a/run.sh").mode == 0o755
        assert {m.mtime for m in tar.getmembers()} == {0}
        tar.extractall(tmp_path / "out")
    assert (tmp_path / "out/a/main.tf").read_text() == STACK["a/main.tf"]


@pytest.mark.parametrize(
    ("source", "word"),
    [("../../outside", "leaves"), ("../nothing", "not a directory"), ("../modules/net/main.tf", "not a")],
)
async def test_a_wrong_call_names_its_place(repo: "Repository", mirror: Mirror, source: str, word: str) -> None:
    head = repo.commit(STACK | MODULE | {"a/main.tf": f'\nmodule "m" {{\n  source = "{source}"\n}}\n'})
    await mirror.fetch()
    with pytest.raises(FileInvalid) as caught:
        await mirror.bundle(head, "a")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.column) == ("a/main.tf", 3, 12)
    assert word in problem.message


async def test_ancestry_tells_growth_from_rewriting(repo: "Repository", mirror: Mirror) -> None:
    one = repo.commit({"x": "1"})
    two = repo.commit({"x": "2"})
    repo.git("reset", "-q", "--hard", one)
    three = repo.commit({"x": "3"})
    repo.git("branch", "side", two)
    repo.git("checkout", "-q", "--orphan", "island")
    island = repo.commit({"x": "4"}, "island")
    await mirror.fetch()
    assert await mirror.is_ancestor(one, three)
    assert await mirror.is_ancestor(three, three)
    assert not await mirror.is_ancestor(two, three)
    assert not await mirror.is_ancestor("f" * 40, three)
    assert await mirror.merge_base(two, three) == one
    assert await mirror.merge_base(one, island) is None


async def test_a_kept_commit_survives_a_rewrite_and_a_collection(repo: "Repository", mirror: Mirror) -> None:
    first = repo.commit(STACK | MODULE)
    lost = repo.commit({"b": "1"})
    await mirror.fetch()
    await mirror.keep(lost)
    repo.git("reset", "-q", "--hard", first)
    repo.commit({"c": "1"})
    await mirror.fetch()
    await mirror._runner.run(mirror.path, "gc", "--prune=now", "--quiet")
    assert await mirror.has(lost)
    assert "a/main.tf" in names(await mirror.bundle(lost, "a"))
    assert lost not in (await mirror.refs()).values()
    await mirror.release(lost)
    await mirror._runner.run(mirror.path, "gc", "--prune=now", "--quiet")
    assert not await mirror.has(lost)


async def test_a_commit_tells_who_and_when(repo: "Repository", mirror: Mirror) -> None:
    one = repo.commit({"x": "1"})
    two = repo.commit({"x": "2"}, "Subject \N{SNOWMAN}\n\nbody")
    await mirror.fetch()
    info = await mirror.commit_info(two)
    assert (info.author.name, info.committer.email) == ("Ada", "lin@example.invalid")
    assert info.authored_at == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)
    assert (info.subject, info.parents) == ("Subject \N{SNOWMAN}", (one,))


@pytest.mark.parametrize(
    ("encoding", "raw"),
    [
        ("ISO-8859-1", b"caf\xe9"),
        ("latin-1", b"caf\xe9"),
        ("CP1252", b"caf\xe9"),
        ("KOI8-R", "caf\u0444".encode("koi8-r")),
        ("", "caf\u00e9".encode()),
    ],
)
async def test_a_commit_is_read_in_the_encoding_that_it_names(
    repo: "Repository", mirror: Mirror, encoding: str, raw: bytes
) -> None:
    first = repo.commit({"x": "1"})
    named = f"encoding {encoding}\n".encode() if encoding else b""
    head = repo.commit_object(first, b"author %s <a@x> 1 +0000\ncommitter C <c@x> 2 +0000\n%s" % (raw, named), raw)
    await mirror.fetch()
    info = await mirror.commit_info(head)
    meant = raw.decode(encoding or "utf-8")
    assert (info.author.name, info.subject, info.parents) == (meant, meant, (first,))


@pytest.mark.parametrize("encoding", ["klingon-8", "idna", "base64", "unicode_escape", "", "\u00e9"])
async def test_what_cannot_be_read_of_a_commit_costs_nothing_else(
    repo: "Repository", mirror: Mirror, encoding: str
) -> None:
    first = repo.commit({"x": "1"})
    about = b"author Jos\xe9 <a@x> 999999999999999999 +0000\ncommitter Lin <c@x> 2 -9999\nencoding %s\n"
    head = repo.commit_object(first, about % encoding.encode(), b"caf\xe9 \\ud800")
    await mirror.fetch()
    info = await mirror.commit_info(head)
    assert (info.author.name, info.committer.name) == ("Jos\N{REPLACEMENT CHARACTER}", "Lin")
    assert info.subject == "caf\N{REPLACEMENT CHARACTER} \\ud800"
    assert info.committed_at == datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)


async def test_blobs_come_by_id_and_within_caps(repo: "Repository", mirror: Mirror) -> None:
    head = repo.commit({"x": "one", "y": "two\n\n", "empty": ""})
    await mirror.fetch()
    tree = await mirror.trees(head)
    oids = {name: tree.entries[name].oid for name in ("x", "y", "empty")}
    got = await mirror.blobs(oids.values())
    assert {name: got[oid] for name, oid in oids.items()} == {"x": b"one", "y": b"two\n\n", "empty": b""}
    with pytest.raises(Invalid):
        await mirror.blobs(oids.values(), max_file=3)
    with pytest.raises(Invalid):
        await mirror.blobs(oids.values(), max_total=7)
    with pytest.raises(NotFound):
        await mirror.blobs(["f" * 40])
    with pytest.raises(Invalid):
        await mirror.blobs([tree.oid])
    assert await mirror.blobs([]) == {}


async def test_what_is_not_there_is_not_found(repo: "Repository", mirror: Mirror) -> None:
    head = repo.commit(STACK)
    await mirror.fetch()
    for call in (mirror.trees, mirror.keep, mirror.commit_info):
        with pytest.raises(NotFound):
            await call("f" * 40)
    with pytest.raises(NotFound):
        await mirror.bundle(head, "nowhere")


@pytest.mark.parametrize("given", ["main", "HEAD", "--output=x", "a" * 39, "A" * 40, "", "a" * 40 + "\n"])
async def test_a_commit_is_only_ever_named_by_its_id(repo: "Repository", mirror: Mirror, given: str) -> None:
    repo.commit(STACK)
    await mirror.fetch()
    with pytest.raises(Invalid):
        await mirror.trees(given)
    with pytest.raises(Invalid):
        await mirror.is_ancestor(given, given)


async def test_a_repository_that_is_gone_is_unavailable(tmp_path: Path, runner: Runner) -> None:
    mirror = Mirror(tmp_path, "r1", f"file://{tmp_path}/nothing", runner)
    with pytest.raises(Unavailable):
        await mirror.fetch()


@pytest.mark.parametrize("repo_id", ["../x", "", "a/b", ".git", "-x"])
def test_a_mirror_stays_in_its_root(tmp_path: Path, runner: Runner, repo_id: str) -> None:
    with pytest.raises(Invalid):
        Mirror(tmp_path, repo_id, "file:///x", runner)
