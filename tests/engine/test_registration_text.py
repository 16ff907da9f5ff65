"""Names and texts of every kind in a repository: a bad one costs itself, and says which it was."""

import json
import os

import pytest

from stackly.errors import FileInvalid
from stackly.git import bundles
from stackly.stacks import config as configs
from stackly.stacks import reads
from stackly.suites import schema
from tests.engine.syncing import MAIN, PART, SUITE, Syncing, measured, plain

LATIN = os.fsdecode(b"caf\xe9")
ODD = ["a\u2028b", "a\u0085b", "zero\u200cwidth", "\U0001f469\u200d\U0001f52c", "no\u00a0break", "\u202eback"]


async def _reason(syncing: Syncing) -> str:
    async with syncing.transactions() as session:
        return str((await reads.get_repo(session, syncing.repo.account, "octo/stacks"))["reason"])


@pytest.mark.parametrize("bad", [LATIN, os.fsdecode(b"\xff\xfe"), os.fsdecode("\u65e5\u672c".encode("shift_jis"))])
async def test_a_branch_whose_name_is_not_utf_8_costs_itself(syncing: Syncing, bad: str) -> None:
    await syncing.pushed(plain("a", "a"))
    syncing.upstream.branch(bad)
    syncing.upstream.git("tag", bad)
    syncing.upstream.branch("good")
    head = await syncing.pushed(plain("b", "b"))
    assert sorted(await syncing.codes()) == ["a", "b"]
    assert sorted(await syncing.codes("refs/heads/good")) == ["a"]
    shown = os.fsencode(bad).decode("utf-8", "backslashreplace")
    told = {e["ref"]: e for e in await syncing.events("sync_failed")}
    assert set(told) == {f"refs/heads/{shown}", f"refs/tags/{shown}"}
    assert "not UTF-8" in told[f"refs/heads/{shown}"]["reason"]
    assert shown in await _reason(syncing)
    syncing.upstream.drop_branch(bad)
    syncing.upstream.git("tag", "-d", bad)
    await syncing.sync()
    assert await _reason(syncing) == "None", "a reason goes when it is untrue"
    assert len(await syncing.events("sync_failed")) == 2
    assert (await syncing.code("b")).commit == head


@pytest.mark.parametrize("name", ODD)
async def test_odd_characters_make_names_like_others(syncing: Syncing, name: str) -> None:
    await syncing.pushed(plain("a", "a") | measured(f"odd/{name}", "odd", 'trigger { paths = ["src"] }'))
    syncing.upstream.branch(name)
    await syncing.sync()
    assert sorted(await syncing.codes(f"refs/heads/{name}")) == ["a", f"odd/{name}"]
    await syncing.pushed({f"src/{name}.c": "int x;"})
    newest = (await syncing.runs((await syncing.code(f"odd/{name}")).id))[-1]
    assert newest.trigger["paths"] == [f"src/{name}.c"]
    syncing.upstream.drop_branch(name)
    await syncing.sync()
    assert await syncing.codes(f"refs/heads/{name}") == {}
    assert await syncing.events("sync_failed") == []


@pytest.mark.parametrize("name", [*ODD, "a b", 'q"x', "back\\slash", "%00", "n" * 250])
async def test_such_names_are_watched_as_they_are_written(syncing: Syncing, name: str) -> None:
    suite = f"{name[:200]}.yaml"
    here = f"suite = {_hcl(suite)}\n  trigger {{\n    paths = [{_hcl(name)}]\n  }}"
    files = measured("m", "m", here)
    files[f"m/{suite}"] = files.pop("m/suite.yaml")
    await syncing.pushed(files)
    assert (await syncing.code("m")).status == "active"
    await syncing.pushed({f"{name}/x.c": "x", "other": "x"})
    assert [r.trigger["paths"] for r in await syncing.runs()][1:] == [[f"{name}/x.c"]]


def _hcl(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


async def test_a_line_break_in_a_path_rejects_its_stack_and_in_a_file_nothing(syncing: Syncing) -> None:
    await syncing.pushed(plain("a\nb", "a") | plain("good", "good") | {"good/c\nd\x1b": "x", "good/docs/\t": "x"})
    assert {p: c.status for p, c in (await syncing.codes()).items()} == {"a\nb": "rejected", "good": "active"}
    entries, _ = bundles.unpack(syncing.storage.objects[str((await syncing.code("good")).bundle)])
    assert [e.path for e in entries] == ["good/c\nd\x1b", "good/docs/\t", "good/main.tf", "good/stackly.hcl"]


async def test_a_program_whose_name_is_not_utf_8_starts_what_names_its_directory(syncing: Syncing) -> None:
    await syncing.pushed(measured("m", "m", 'trigger { paths = ["src"] }') | {"src/a.c": "1"})
    await syncing.pushed({f"src/{LATIN}.c": "x"})
    assert [r.trigger["paths"] for r in await syncing.runs()][1:] == [["src/caf\\xe9.c"]]


async def test_a_push_of_odd_files_alone_says_so(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    await syncing.pushed({f"docs/{LATIN}": "x"})
    assert await syncing.events("sync_failed") == []
    (why,) = await syncing.reasons(f"push/{syncing.repo.id}/{MAIN}")
    assert "docs/caf\\xe9" in why


async def test_a_stack_directory_that_has_no_name_is_rejected_by_an_event(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a") | plain(LATIN, "x"))
    assert list(await syncing.codes()) == ["a"]
    (told,) = await syncing.events("module_rejected")
    assert told["path"] == "caf\\xe9"
    assert "UTF-8" in told["reason"]


async def test_a_file_of_a_stack_that_has_no_name_is_left_out(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a") | {f"a/{LATIN}.txt": "x", "a/good.txt": "y"})
    code = await syncing.code("a")
    assert code.status == "active"
    entries, _ = bundles.unpack(syncing.storage.objects[str(code.bundle)])
    assert [e.path for e in entries] == ["a/good.txt", "a/main.tf", "a/stackly.hcl"]
    (told,) = await syncing.events("file_left_out")
    assert told["file"] == "a/caf\\xe9.txt"


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "UTF-16", "KOI8-R", "nobody-knows-this"])
async def test_a_commit_in_another_encoding_is_a_commit(syncing: Syncing, encoding: str) -> None:
    syncing.upstream.commit(plain("a", "a"))
    git = syncing.upstream.git
    raw = git("cat-file", "commit", "HEAD").encode().replace(b"author Ada", b"author Jos\xe9")
    head, _, _ = raw.partition(b"\n\n")
    body = head + b"\nencoding " + encoding.encode() + b"\n\ncaf\xe9 \0 caf\xe9\n"
    syncing.upstream.git("update-ref", MAIN, syncing.upstream.object("commit", body))
    await syncing.sync()
    assert list(await syncing.codes()) == ["a"]
    assert await syncing.events("sync_failed") == []


@pytest.mark.parametrize(
    ("inside", "line"),
    [
        ('variables {\n    x = "a\\u0000b"\n  }', 4),
        ('variables {\n    x = ["ok", { y = "\\u0000" }]\n  }', 4),
        ('version = "1.0\\u0000"', 3),
        ('trigger {\n    paths = ["src\\u0000"]\n  }', 4),
        ('variables {\n    x = { "a\\u0000" = 1 }\n  }', 4),
    ],
)
async def test_a_nul_in_a_configuration_is_refused_at_its_line(syncing: Syncing, inside: str, line: int) -> None:
    await syncing.pushed(plain("good", "good") | plain("bad", "bad", f"  {inside}"))
    good, bad = await syncing.code("good"), await syncing.code("bad")
    assert (good.status, bad.status) == ("active", "rejected")
    assert {e["line"] for e in bad.errors} == {line}
    assert "U+0000" in str(bad.errors[0]["message"])
    assert await syncing.events("sync_failed") == []


def test_a_nul_in_a_name_of_the_file_is_refused_too() -> None:
    with pytest.raises(FileInvalid, match=r"f:1:1: the name of `stack` holds the character U\+0000"):
        configs.parse('stack "a\\u0000b" {}\n', "f")


def test_a_nul_in_a_suite_is_refused_at_its_line() -> None:
    with pytest.raises(FileInvalid, match=r"f:3:7: This text holds the character U\+0000"):
        schema.parse(SUITE.replace("name: smoke", 'name: "smo\\0ke"'), "f")


@pytest.mark.parametrize("name", ["stackly.hcl", "suite.yaml"])
async def test_a_file_of_ours_in_another_encoding_is_refused_at_its_line(syncing: Syncing, name: str) -> None:
    await syncing.pushed(plain("good", "good") | measured("m", "m"))
    path = syncing.upstream.path / "m" / name
    path.write_bytes(path.read_bytes() + b"\n# caf\xe9\n")
    await syncing.pushed()
    code = await syncing.code("m")
    assert code.status == "rejected"
    assert [(e["file"], "0xe9 is not UTF-8" in e["message"]) for e in code.errors] == [(f"m/{name}", True)]
    assert code.errors[0]["line"] == len(path.read_bytes().split(b"\n")) - 1


async def test_links_that_nothing_uses_are_left_out_by_name(syncing: Syncing) -> None:
    await _with_links(syncing, "")
    code = await syncing.code(".")
    assert (code.status, code.errors) == ("active", ())
    entries, _ = bundles.unpack(syncing.storage.objects[str(code.bundle)])
    assert [e.path for e in entries] == ["main.tf", "stackly.hcl"]
    told = {e["file"]: e["reason"] for e in await syncing.events("file_left_out")}
    assert set(told) == {"third_party/lib", "notes"}
    assert "submodule" in told["third_party/lib"]
    assert "symbolic link" in told["notes"]
    assert "stack/" not in str(told)


@pytest.mark.parametrize(
    ("used", "line"),
    [
        ('\nlocals { x = file("${path.module}/notes") }', 2),
        ('locals {\n\n x = templatefile("./notes", {}) }', 3),
        ('locals { x = filesha256("notes") }', 1),
        ('locals { x = fileset("${path.root}/third_party/lib", "*") }', 1),
        ('module "x" { source = "./third_party/lib/m" }', 1),
    ],
)
async def test_a_link_that_the_module_uses_rejects_its_stack(syncing: Syncing, used: str, line: int) -> None:
    await _with_links(syncing, used)
    code = await syncing.code(".")
    assert code.status == "rejected"
    assert [(e["file"], e["line"]) for e in code.errors] == [("main.tf", line)]
    assert "link" in code.errors[0]["message"]


@pytest.mark.parametrize("name", ["extra.tf", "extra.tf.json", "suite.yaml", "x.auto.tfvars", ".terraform.lock.hcl"])
async def test_a_link_in_the_place_of_code_rejects_its_stack(syncing: Syncing, name: str) -> None:
    syncing.upstream.commit(measured("m", "m") | plain("good", "good"))
    syncing.upstream.link(f"m/{name}", "main.tf")
    await syncing.pushed()
    assert {p: c.status for p, c in (await syncing.codes()).items()} == {"good": "active", "m": "rejected"}


async def test_states_and_plans_in_a_repository_are_left_out_each_named_once(syncing: Syncing) -> None:
    await syncing.pushed(
        plain("a", "a")
        | {"a/errored.tfstate": "{}", "a/m/terraform.tfstate": "{}", "a/.terraform/x": "1", "a/.terraform/y/z": "2"}
        | {"a/x.tfplan": "", "a/stackly_override.tf.json": "{}", "a/.terraform.lock.hcl": ""}
    )
    entries, _ = bundles.unpack(syncing.storage.objects[str((await syncing.code("a")).bundle)])
    assert [e.path for e in entries] == ["a/.terraform.lock.hcl", "a/main.tf", "a/stackly.hcl"]
    told = [e["file"] for e in await syncing.events("file_left_out")]
    assert sorted(told) == [
        *("a/.terraform/", "a/errored.tfstate", "a/m/terraform.tfstate"),
        *("a/stackly_override.tf.json", "a/x.tfplan"),
    ]


async def _with_links(syncing: Syncing, module: str) -> None:
    upstream = syncing.upstream
    upstream.commit({"stackly.hcl": 'stack "root" {\n}\n', "main.tf": module or PART})
    upstream.link("notes", "main.tf")
    upstream.git("add", "-A")
    upstream.git("update-index", "--add", "--cacheinfo", f"160000,{upstream.head},third_party/lib")
    upstream.git("commit", "-qm", "links")
    await syncing.sync()
