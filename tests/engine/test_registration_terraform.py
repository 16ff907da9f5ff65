"""Terraform's files as people write them: what Stackly cannot read costs a warning, and Terraform judges later."""

import json

import pytest

from stackly.git import bundles
from tests.engine.syncing import MODULE, PART, SUITE, Syncing, measured, plain

LEGAL = {
    "computed": 'variable "k" {\n  default = "x"\n}\nresource "terraform_data" "a" {\n  input = { (var.k) = 1 }\n}\n',
    "template": 'variable "k" {}\nresource "terraform_data" "a" {\n  input = { "${var.k}-x" = 1, a = 2 }\n}\n',
    "nested": 'resource "terraform_data" "a" {\n  input = [{ b = { (1 + 1) = { c = 1 } } }]\n}\n',
}
UNREAD = {
    "header": 'variable /* knob */ "k" {\n  default = "x"\n}\n',
    "labels": 'resource "terraform_data" # the thing\n "a" {}\n',
    "cyrillic": 'resource "terraform_data" "база" {\n  input = 1\n}\nlocals {\n  база = 2\n}\n',
    "umlaut": 'variable "größe" {}\nlocals {\n  a = var.größe\n}\n',
    "newlines": 'locals {\n  a = "x${\n  1\n  }"\n}\n',
    "broken": 'resource "x" {{\n',
    "nothing like it": "\x00\x01",
}


@pytest.mark.parametrize("name", LEGAL)
async def test_keys_of_every_kind_are_read(syncing: Syncing, name: str) -> None:
    await syncing.pushed(plain("a", "a", module=LEGAL[name]))
    code = await syncing.code("a")
    assert (code.status, code.warnings) == ("active", ())
    assert code.requires == (("k",) if name == "template" else ())


async def test_equal_keys_cost_a_warning_with_their_place(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a", module='variable "v" {}\nlocals {\n  a = { b = 1, b = 2 }\n}\n'))
    code = await syncing.code("a")
    assert (code.status, code.requires) == ("active", ("v",))
    (warning,) = code.warnings
    assert (warning["file"], warning["line"]) == ("a/main.tf", 3)


@pytest.mark.parametrize("name", UNREAD)
async def test_a_file_that_cannot_be_read_costs_a_warning_and_never_the_stack(syncing: Syncing, name: str) -> None:
    commit = await syncing.pushed(plain("a", "a", module=UNREAD[name]))
    code = await syncing.code("a")
    assert (code.status, code.errors, code.requires) == ("active", (), None)
    assert code.bundle is not None
    assert {w["file"] for w in code.warnings} == {"a/main.tf"}
    assert all("Terraform judges it" in w["message"] for w in code.warnings)
    assert [r.commit for r in await syncing.runs()] == [commit]


async def test_a_suites_contract_is_unknown_while_a_file_cannot_be_read(syncing: Syncing) -> None:
    files = measured("m", "m") | {"m/main.tf": PART.replace('variable "stackly" {}', 'variable /* it */ "stackly" {}')}
    await syncing.pushed(files)
    assert (await syncing.code("m")).status == "active"
    assert [r.kind.value for r in await syncing.runs()] == ["benchmark"]
    await syncing.pushed({"m/main.tf": 'variable "stackly" {}\n'})
    code = await syncing.code("m")
    assert code.status == "rejected"
    assert "stackly_user_data" in code.errors[0]["message"]


async def test_a_file_too_large_to_be_read_costs_a_warning(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a") | {"a/big.tf": f"# {'x' * 300_000}\n"})
    code = await syncing.code("a")
    assert (code.status, code.requires) == ("active", None)
    assert [w["file"] for w in code.warnings] == ["a/big.tf"]


async def test_a_warning_goes_with_what_caused_it(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a", module=UNREAD["header"]))
    assert (await syncing.code("a")).warnings
    await syncing.pushed({"a/main.tf": MODULE})
    assert (await syncing.code("a")).warnings == ()


async def bundled(syncing: Syncing, path: str) -> set[str]:
    """The files of a stack's bundle, as it lies in storage."""
    key = (await syncing.code(path)).bundle
    assert key is not None
    entries, _ = bundles.unpack(await syncing.storage.get(key))
    return {entry.path for entry in entries}


def _json_stack(**module: object) -> dict[str, str]:
    return {"j/stackly.hcl": 'stack "j" {\n  target = "module"\n}\n', "j/main.tf.json": json.dumps(module)}


async def test_terraforms_json_makes_a_stack(syncing: Syncing) -> None:
    files = _json_stack(
        resource={"terraform_data": {"web": {"input": "${var.must}"}}},
        variable={"must": {"type": "string"}, "may": {"default": 1}, "//": "a comment"},
        module={"net": {"source": "../net"}},
    )
    await syncing.pushed({**files, "net/main.tf.json": json.dumps({"locals": {"a": 1}})})
    code = await syncing.code("j")
    assert (code.status, code.requires, code.warnings) == ("active", ("must",), ())
    assert await bundled(syncing, "j") == {"j/main.tf.json", "j/stackly.hcl", "net/main.tf.json"}


async def test_terraforms_json_takes_part_in_the_contract(syncing: Syncing) -> None:
    part = {"variable": [{"stackly": {}}, {"stackly_user_data": {"sensitive": True}}]}
    files = {"m/stackly.hcl": 'stack "m" {\n}\n', "m/suite.yaml": SUITE, "m/part.tf.json": json.dumps(part)}
    await syncing.pushed(files)
    assert (await syncing.code("m")).status == "active"
    await syncing.pushed({"m/part.tf.json": json.dumps({"variable": {"stackly": {}}})})
    assert (await syncing.code("m")).status == "rejected"


async def test_json_that_cannot_be_read_costs_a_warning(syncing: Syncing) -> None:
    await syncing.pushed({**_json_stack(), "j/more.tf.json": "[1"})
    code = await syncing.code("j")
    assert (code.status, code.requires) == ("active", None)
    assert [w["file"] for w in code.warnings] == ["j/more.tf.json"]


@pytest.mark.parametrize(
    ("files", "line", "says"),
    [
        ({"m/x.tf": '# one\nimport {\n  to = a.b\n  id = "1"\n}\n'}, 2, "may not import"),
        ({"m/x.tf.json": '{"import": [{"to": "a.b", "id": "1"}]}'}, 1, "may not import"),
        ({"m/x.tf": 'resource "a" "b" {\n  lifecycle {\n    prevent_destroy = true\n  }\n}\n'}, 3, "a.b sets prevent"),
        (
            {"m/x.tf": 'resource /**/ "a" "b" {\n  lifecycle {\n    prevent_destroy = true\n  }\n}\n'},
            3,
            "a.b sets prevent",
        ),
        ({"m/x.tf.json": '{"resource": {"a": {"b": {"lifecycle": [{"prevent_destroy": true}]}}}}'}, 1, "a.b sets"),
    ],
)
async def test_what_no_test_could_be_is_refused_at_its_line(
    syncing: Syncing, files: dict[str, str], line: int, says: str
) -> None:
    await syncing.pushed(
        measured("m", "m") | files | plain("p", "p") | {f.replace("m/", "p/"): t for f, t in files.items()}
    )
    codes = await syncing.codes()
    assert {path: code.status for path, code in codes.items()} == {"m": "rejected", "p": "active"}
    (problem,) = codes["m"].errors
    assert problem["line"] == line
    assert says in problem["message"]


def _reading(path: str, *, module: str = "") -> str:
    return f'resource "terraform_data" "web" {{\n  input = {path}\n}}\n{module}'


OUTSIDE = {
    "shared/motd.txt": "hello\n",
    "shared/conf/a.tpl": "a\n",
    "shared/conf/deep/b.tpl": "b\n",
    "other.txt": "o\n",
}


@pytest.mark.parametrize(
    ("expression", "files"),
    [
        ('file("${path.module}/../shared/motd.txt")', {"shared/motd.txt"}),
        ('file("${path.root}/../shared/motd.txt")', {"shared/motd.txt"}),
        ('file("../shared/motd.txt")', {"shared/motd.txt"}),
        ('filesha256("./../shared/./motd.txt")', {"shared/motd.txt"}),
        ('filebase64(abspath("${path.module}/../other.txt"))', {"other.txt"}),
        ('file(join("/", [path.module, "..", "other.txt"]))', {"other.txt"}),
        ('file(format("%s/../other.txt", path.root))', {"other.txt"}),
        (
            'templatefile("${path.module}/../shared/conf/a.tpl", { x = file("../other.txt") })',
            {"shared/conf/a.tpl", "other.txt"},
        ),
        ('"${upper(file("${path.module}/../other.txt"))} and more"', {"other.txt"}),
        ('<<-EOT\n    ${file("../other.txt")}\n  EOT', {"other.txt"}),
        ('fileset("${path.module}/../shared", "*.txt")', {"shared/motd.txt"}),
        ('fileset("../shared", "**/*.tpl")', {"shared/conf/a.tpl", "shared/conf/deep/b.tpl"}),
        ('fileset(path.module, "../shared/conf/{a,x}.tpl")', {"shared/conf/a.tpl"}),
        (
            'file("${local.s}/motd.txt")\n}\nlocals {\n  s = "${local.up}/shared"\n  up = "${path.module}/.."',
            {"shared/motd.txt"},
        ),
        ('fileexists("../gone.txt") ? 1 : 2', set()),
        ('file("${path.module}/main.tf")', set()),
        ('file("${path.module}/../${var.x}")', set()),
        ('file("${path.module}x/../other.txt")', set()),
        ('"file(\\"../other.txt\\")"', set()),
        ('1 # file("../other.txt")', set()),
    ],
)
async def test_files_read_outside_by_a_constant_path_are_in_the_bundle(
    syncing: Syncing, expression: str, files: set[str]
) -> None:
    await syncing.pushed(plain("a", "a", module=_reading(expression)) | OUTSIDE)
    code = await syncing.code("a")
    assert (code.status, code.warnings) == ("active", ())
    assert await bundled(syncing, "a") == {"a/main.tf", "a/stackly.hcl"} | files


async def test_a_called_module_reads_from_its_own_directory_and_from_the_root(syncing: Syncing) -> None:
    net = _reading(
        '[file("${path.module}/../shared/motd.txt"), file("${path.root}/../other.txt"), file("../shared/conf/a.tpl")]'
    )
    call = 'module "n" {\n  source = "../modules/net"\n}\n'
    await syncing.pushed(
        plain("apps/a", "a", module=call.replace("../modules", "../../modules"))
        | {
            "modules/net/main.tf": net,
            "modules/shared/motd.txt": "m",
            "apps/other.txt": "o",
            "apps/shared/conf/a.tpl": "t",
        }
    )
    inside = {"modules/net/main.tf", "modules/shared/motd.txt", "apps/other.txt", "apps/shared/conf/a.tpl"}
    assert await bundled(syncing, "apps/a") == {"apps/a/main.tf", "apps/a/stackly.hcl"} | inside


async def test_terraforms_json_reads_files_too(syncing: Syncing) -> None:
    files = _json_stack(
        resource={"terraform_data": {"web": {"input": '${file("${local.up}/shared/motd.txt")}'}}},
        locals={"up": "${path.module}/.."},
    )
    await syncing.pushed(files | OUTSIDE)
    assert await bundled(syncing, "j") == {"j/main.tf.json", "j/stackly.hcl", "shared/motd.txt"}


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("../../../etc/passwd", "outside the repository"),
        ("../gone.txt", "not in this commit"),
        ("../link/x.txt", "symbolic link"),
    ],
)
async def test_what_cannot_be_in_the_bundle_is_named_with_its_cure(syncing: Syncing, path: str, why: str) -> None:
    (syncing.upstream.path / "link").symlink_to("shared")
    await syncing.pushed(plain("a", "a", module=_reading(f'file("{path}")')) | OUTSIDE)
    code = await syncing.code("a")
    assert code.status == "active"
    (warning,) = code.warnings
    assert (warning["file"], warning["line"]) == ("a/main.tf", 2)
    assert why in warning["message"]
    assert "put it into this repository" in warning["message"]


async def test_a_change_of_what_is_read_is_a_change_of_the_stack(syncing: Syncing) -> None:
    reading = _reading('[file("../shared/motd.txt"), fileset("../sets", "*.txt"), fileexists("../late/it.txt")]')
    await syncing.pushed(plain("a", "a", module=reading) | plain("b", "b") | OUTSIDE)
    code = await syncing.code("a")

    async def asked(files: dict[str, str | None]) -> list[str]:
        before = {r.id for r in await syncing.runs()}
        await syncing.pushed(files)
        return [r.code for r in await syncing.runs() if r.id not in before]

    assert await asked({"shared/motd.txt": "hello again\n"}) == [code.id]
    assert await asked({"other.txt": "nobody reads it\n"}) == []
    assert await asked({"sets/one.txt": "a new file of the set\n"}) == [code.id]
    assert await asked({"sets/one.md": "not of the set\n"}) == []
    assert await asked({"late/it.txt": "it is there now\n"}) == [code.id]
    assert await asked({"late/it.txt": None}) == [code.id]
    assert await bundled(syncing, "a") == {"a/main.tf", "a/stackly.hcl", "shared/motd.txt", "sets/one.txt"}
