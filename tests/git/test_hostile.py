"""Repositories made to hurt: each ends in a clear error or is left out, nothing is written outside, nothing hangs."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stackly.errors import FileInvalid, Invalid
from stackly.git import bundles
from stackly.git.mirrors import Mirror
from stackly.git.runner import Runner

if TYPE_CHECKING:
    from tests.git.conftest import Repository

GOOD = {"good/stackly.hcl": "", "good/main.tf": ""}
FILE, DIRECTORY, LINK, MODULE = "100644", "40000", "120000", "160000"


def outside(mirror: Mirror) -> set[Path]:
    """Everything beside the mirror and the repository it was made from."""
    root = mirror.path.parent.parent
    return {
        p for p in root.rglob("*") if mirror.path not in (p, *p.parents) and root / "upstream" not in (p, *p.parents)
    }


@pytest.mark.parametrize("name", [b"..", b".", b".git", b"GIT~1", b"a/b", b".GIT"])
async def test_names_that_leave_are_refused_on_arrival(repo: "Repository", mirror: Mirror, name: bytes) -> None:
    inner = repo.tree((FILE, b"x", repo.blob()))
    repo.commit_tree(repo.tree((DIRECTORY, name, inner)))
    with pytest.raises(Invalid):
        await mirror.fetch()
    assert await mirror.refs() == {}
    assert outside(mirror) == {mirror.path.parent}


async def test_names_that_leave_are_refused_again_if_they_got_in(repo: "Repository", mirror: Mirror) -> None:
    inner = repo.tree((FILE, b"x", repo.blob()))
    head = repo.commit_tree(repo.tree((DIRECTORY, b"..", inner)))
    repo.git("clone", "-q", "--mirror", ".", str(mirror.path))
    with pytest.raises(Invalid, match="leave"):
        await mirror.trees(head)


async def test_strange_names_hurt_nobody_else(repo: "Repository", mirror: Mirror) -> None:
    repo.write(GOOD)
    for name in ("new\nline", "--output=x", "-c", "sp ace", "quo\"te'", "tab\t", "$(id)", "-rf"):
        repo.write({f"{name}/stackly.hcl": "", f"{name}/main.tf": "", f"{name}/{name}": "x"})
    (repo.path / "latin\udce9").mkdir()
    for file in ("stackly.hcl", "main.tf"):
        (repo.path / "latin\udce9" / file).write_text("")
    head = repo.commit()
    await mirror.fetch()
    tree = await mirror.trees(head)
    assert set(tree.stack_directories) == {"good", "--output=x", "-c", "sp ace", "quo\"te'", "$(id)", "-rf"}
    assert set(tree.refused) == {"new\nline", "tab\t", "latin\udce9"}
    assert set(await mirror.closures(tree)) == set(tree.stack_directories)
    for path in tree.stack_directories:
        assert await mirror.bundle(head, path)
    with pytest.raises(Invalid):
        await mirror.bundle(head, "new\nline")


async def test_symbolic_links_are_never_followed(repo: "Repository", mirror: Mirror) -> None:
    repo.write(GOOD | {"linked/main.tf": "", "inside/stackly.hcl": "", "inside/main.tf": "", "module/stackly.hcl": ""})
    repo.write({"module/main.tf": 'module "m" {\n  source = "../jump"\n}\n', "jump2/x": ""})
    (repo.path / "linked/stackly.hcl").symlink_to("/etc/passwd")
    (repo.path / "inside/secret").symlink_to("../../../../etc/passwd")
    (repo.path / "jump").symlink_to("good")
    (repo.path / "whole").symlink_to("good")
    head = repo.commit()
    await mirror.fetch()
    tree = await mirror.trees(head)
    assert set(tree.stack_directories) == {"good", "inside", "module"}
    assert "symbolic link" in tree.refused["linked"]
    with pytest.raises(FileInvalid, match="symbolic link"):
        await mirror.bundle(head, "module")
    entries, _ = bundles.unpack(await mirror.bundle(head, "inside"))
    assert [e.path for e in entries] == ["inside/main.tf", "inside/stackly.hcl"]
    assert await mirror.bundle(head, "good")


async def test_a_way_through_a_link_and_back_is_seen(repo: "Repository", mirror: Mirror) -> None:
    repo.write(GOOD | {"s/stackly.hcl": "", "s/main.tf": 'module "m" { source = "../jump/../good" }\n'})
    (repo.path / "jump").symlink_to("/etc")
    head = repo.commit()
    await mirror.fetch()
    with pytest.raises(FileInvalid, match="symbolic link"):
        await mirror.bundle(head, "s")


async def test_submodules_are_not_followed(repo: "Repository", mirror: Mirror) -> None:
    commit = repo.commit(GOOD)
    blob = repo.blob(b"")
    inner = repo.tree((FILE, b"main.tf", blob), (FILE, b"stackly.hcl", blob), (MODULE, b"sub", commit))
    modules = repo.blob(b'[submodule "sub"]\n\tpath = s/sub\n\turl = file:///etc\n')
    head = repo.commit_tree(repo.tree((FILE, b".gitmodules", modules), (DIRECTORY, b"s", inner)))
    await mirror.fetch()
    entries, _ = bundles.unpack(await mirror.bundle(head, "s"))
    assert [e.path for e in entries] == ["s/main.tf", "s/stackly.hcl"]
    assert not (mirror.path / "modules").exists()


async def test_a_submodule_url_that_is_an_option_is_refused(repo: "Repository", mirror: Mirror) -> None:
    modules = repo.blob(b'[submodule "sub"]\n\tpath = sub\n\turl = --upload-pack=id\n')
    repo.commit_tree(repo.tree((FILE, b".gitmodules", modules)))
    with pytest.raises(Invalid):
        await mirror.fetch()


async def test_a_tree_of_ten_billion_files_is_stopped(repo: "Repository", mirror: Mirror) -> None:
    tree = repo.tree(*[(FILE, b"f%d" % i, repo.blob()) for i in range(10)])
    for _ in range(9):
        tree = repo.tree(*[(DIRECTORY, b"d%d" % i, tree) for i in range(10)])
    head = repo.commit_tree(tree)
    await mirror.fetch()
    with pytest.raises(Invalid, match="more than 200000"):
        await mirror.trees(head)


async def test_a_tree_too_deep_to_be_listed_is_stopped(repo: "Repository", mirror: Mirror) -> None:
    tree = repo.tree((FILE, b"f", repo.blob()))
    for _ in range(300):
        tree = repo.tree((DIRECTORY, b"d", tree))
    head = repo.commit_tree(tree)
    await mirror.fetch()
    with pytest.raises(Invalid, match="deeper"):
        await mirror.trees(head)


async def test_a_deep_tree_is_the_fault_of_its_own_stack(repo: "Repository", mirror: Mirror) -> None:
    down = "/".join("d" * 40)
    head = repo.commit(
        GOOD
        | {
            f"deep/{down}/f": "",
            "deep/stackly.hcl": "",
            "deep/main.tf": "",
            f"{down}/stackly.hcl": "",
            f"{down}/main.tf": "",
        }
    )
    await mirror.fetch()
    tree = await mirror.trees(head)
    assert "deeper" in tree.refused[down]
    with pytest.raises(FileInvalid, match="deeper"):
        await mirror.bundle(head, "deep")
    assert await mirror.bundle(head, "good")


TRICKS = pytest.mark.parametrize(
    "modules",
    [
        b'[submodule "a"]\n\tpath = a\n\turl = -u./x\n',
        b'[submodule "../../hooks"]\n\tpath = a\n\turl = https://example.invalid/x\n',
        b'[submodule "a"]\n\tpath = -f\n\turl = https://example.invalid/x\n',
        b'[submodule "a"]\n\tpath = a\n\turl = https://example.invalid/%0ahost=x\n',
        b'[submodule "a"]\n\tpath = a\n\tupdate = !touch ran\n\turl = https://example.invalid/x\n',
    ],
)


@TRICKS
async def test_tricks_with_submodules_are_refused_where_contents_come_later(
    repo: "Repository", tmp_path: Path, runner: Runner, modules: bytes
) -> None:
    repo.git("config", "uploadpack.allowFilter", "true")
    good = repo.commit(GOOD | {".gitmodules": '[submodule "a/..b"]\n\tpath = a\n\turl = https://example.invalid/x\n'})
    head = repo.commit_tree(repo.tree((FILE, b".gitmodules", repo.blob(modules))))
    repo.git("update-ref", "refs/heads/good", good)
    mirror = Mirror(tmp_path / "mirrors", "r1", repo.url, runner, blobless=True)
    await mirror.fetch()
    with pytest.raises(Invalid, match="gitmodules"):
        await mirror.trees(head)
    assert await mirror.bundle(good, "good")


@TRICKS
async def test_tricks_with_submodules_are_refused_on_arrival(
    repo: "Repository", mirror: Mirror, modules: bytes
) -> None:
    repo.commit_tree(repo.tree((FILE, b".gitmodules", repo.blob(modules))))
    with pytest.raises(Invalid):
        await mirror.fetch()
    assert await mirror.refs() == {}
    assert outside(mirror) == {mirror.path.parent}


async def test_a_link_in_place_of_gitmodules_is_refused_on_arrival(repo: "Repository", mirror: Mirror) -> None:
    repo.commit_tree(repo.tree((LINK, b".gitmodules", repo.blob(b"/etc/passwd"))))
    with pytest.raises(Invalid):
        await mirror.fetch()


async def test_thousands_of_refs_are_fetched_and_listed(repo: "Repository", mirror: Mirror) -> None:
    head = repo.commit(GOOD)
    lines = [f"{head} refs/{kind}/n{n:05}" for kind in ("heads", "tags") for n in range(2500)]
    (repo.path / ".git/packed-refs").write_text(
        "\n".join(["# pack-refs with: peeled fully-peeled sorted ", *lines, ""])
    )
    await mirror.fetch()
    assert len(await mirror.refs()) == 5001
    assert await mirror.bundle(head, "good")


async def test_each_attack_harms_its_own_stack_alone(repo: "Repository", mirror: Mirror) -> None:
    """All at once, each in a stack of its own: a sentence for each, and the good one works."""
    plain = {"stackly.hcl": "", "main.tf": ""}
    bad = {
        "-rf": {"data": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"},
        "huge": {"data": "x" * (1024 * 1024 + 1)},
        "many": {f"data/{n}": "" for n in range(2001)},
        "deep": {"/".join("d" * 40): ""},
        "climbs": {"main.tf": 'module "m" { source = "../../outside" }\n'},
        "names\nothing": {},
        "config": {"stackly.hcl": "#" * (256 * 1024 + 1)},
    }
    files = {f"{path}/{name}": text for path, more in bad.items() for name, text in (plain | more).items()}
    repo.write(GOOD | files | {"good/new\nline": "", "link/main.tf": "", "linked/x": ""})
    (repo.path / "link/stackly.hcl").symlink_to("../good/stackly.hcl")
    (repo.path / "linked/stackly.hcl").symlink_to("/etc/passwd")
    (repo.path / "linked/main.tf").symlink_to("/dev/zero")
    head = repo.commit()
    await mirror.fetch()
    tree = await mirror.trees(head)
    await mirror.closures(tree)
    for path in [*bad, "link", "linked"]:
        with pytest.raises(Invalid) as caught:
            await mirror.bundle(head, path)
        assert len(caught.value.detail) < 2000
    assert await mirror.bundle(head, "good")
    assert outside(mirror) == {mirror.path.parent}


@pytest.mark.parametrize("size_mb", [30, pytest.param(300, marks=pytest.mark.nightly)])
async def test_a_huge_file_arrives_and_is_not_read(repo: "Repository", tmp_path: Path, size_mb: int) -> None:
    mirror = Mirror(tmp_path / "mirrors", "r1", repo.url, Runner(protocols=frozenset({"file"})))
    zeros = repo.path / "zeros"
    with zeros.open("wb") as file:
        file.truncate(size_mb * 1024 * 1024)
    huge = repo.git("hash-object", "-w", str(zeros))
    zeros.unlink()
    empty = repo.blob(b"")
    stack = repo.tree((FILE, b"main.tf", empty), (FILE, b"stackly.hcl", huge))
    data = repo.tree((FILE, b"data", huge), (FILE, b"main.tf", empty), (FILE, b"stackly.hcl", empty))
    good = repo.tree((FILE, b"main.tf", empty), (FILE, b"stackly.hcl", empty))
    head = repo.commit_tree(repo.tree((DIRECTORY, b"data", data), (DIRECTORY, b"good", good), (DIRECTORY, b"s", stack)))
    await mirror.fetch()
    tree = await mirror.trees(head)
    found = await mirror.closures(tree)
    assert [p.file for p in found["s"].problems] == ["s/stackly.hcl"]
    assert not found["good"].problems
    with pytest.raises(Invalid):
        await mirror.blobs([huge])
    for path in ("s", "data"):
        with pytest.raises(FileInvalid, match="large"):
            await mirror.bundle(head, path)


async def test_many_files_are_too_many(repo: "Repository", mirror: Mirror) -> None:
    repo.write(GOOD | {f"good/data/{i}": "" for i in range(2001)})
    head = repo.commit()
    await mirror.fetch()
    with pytest.raises(Invalid, match="more than 2000"):
        await mirror.bundle(head, "good")


async def test_a_pointer_into_large_file_storage_is_named(repo: "Repository", mirror: Mirror) -> None:
    head = repo.commit(GOOD | {"good/data": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"})
    await mirror.fetch()
    with pytest.raises(FileInvalid, match="LFS"):
        await mirror.bundle(head, "good")


async def test_hooks_and_configuration_of_the_other_side_stay_there(
    repo: "Repository", mirror: Mirror, tmp_path: Path
) -> None:
    repo.commit(GOOD)
    hook = repo.path / ".git/hooks/post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    await mirror.fetch()
    assert not (tmp_path / "ran").exists()
    assert not list(mirror.path.glob("hooks/*"))


OLD = [
    pytest.param(b"author A <a@x> 1 -700", id="a zone of three digits"),
    pytest.param(b"author A<a@x> 1 +0000", id="an address without a blank"),
    pytest.param(b"author A <a@x 1 +0000", id="an address that is not closed"),
    pytest.param(b"author A <a@x> 99999999999999999999 +0000", id="a time of no calendar"),
    pytest.param(b"author A <a@x> 0123 +0000", id="a padded time"),
]


@pytest.mark.parametrize("author", OLD)
@pytest.mark.parametrize("blobless", [True, False])
async def test_old_history_is_fetched(
    repo: "Repository", tmp_path: Path, runner: Runner, author: bytes, blobless: bool
) -> None:
    repo.git("config", "uploadpack.allowFilter", "true")
    first = repo.commit(GOOD)
    tree = repo.git("rev-parse", "HEAD^{tree}")
    mirror = Mirror(tmp_path / "mirrors", "r1", repo.url, runner, blobless=blobless)
    await mirror.fetch()
    body = f"tree {tree}\nparent {first}\n".encode() + author + b"\ncommitter C <c@x> 2 +0000\n\nold\n"
    old = repo.git("hash-object", "-t", "commit", "--literally", "-w", "--stdin", stdin=body)
    repo.git("update-ref", "refs/heads/main", old)
    head = repo.commit({"good/new.tf": "# new\n"})
    assert (await mirror.fetch()).refs["refs/heads/main"] == head
    assert await mirror.bundle(head, "good")
    assert (await mirror.commit_info(old)).subject in {"old", ""}
    await mirror.fetch()


async def test_a_padded_mode_is_a_mode(repo: "Repository", mirror: Mirror) -> None:
    inner = repo.tree((FILE, b"main.tf", repo.blob(b"# x\n")), (FILE, b"stackly.hcl", repo.blob(b"")))
    head = repo.commit_tree(repo.tree(("040000", b"s", inner)))
    await mirror.fetch()
    assert list((await mirror.trees(head)).stack_directories) == ["s"]
    assert await mirror.bundle(head, "s")


@pytest.mark.parametrize("blobless", [True, False])
@pytest.mark.parametrize("harm", ["twice", "unsorted", ".git", ".GIT", "..", "slash"])
async def test_what_can_harm_is_refused_also_behind_what_is_only_old(
    repo: "Repository", tmp_path: Path, runner: Runner, harm: str, blobless: bool
) -> None:
    repo.git("config", "uploadpack.allowFilter", "true")
    blob = repo.blob()
    trees = {
        "twice": [(FILE, b"a", blob), (FILE, b"a", blob)],
        "unsorted": [(FILE, b"b", blob), (FILE, b"a", blob)],
        "slash": [(FILE, b"a/b", blob)],
    }
    tree = repo.tree(*trees.get(harm, [(FILE, harm.encode(), blob)]))
    old = f"tree {tree}\nauthor A <a@x> 1 -700\ncommitter C <c@x> 2 -700\n\nold\n".encode()
    commit = repo.git("hash-object", "-t", "commit", "--literally", "-w", "--stdin", stdin=old)
    repo.git("update-ref", "refs/heads/main", commit)
    mirror = Mirror(tmp_path / "mirrors", "r1", repo.url, runner, blobless=blobless)
    with pytest.raises(Invalid):
        await mirror.fetch()
