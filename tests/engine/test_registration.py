"""Register, update, move, deregister: a real repository, synced; nothing is ever destroyed by a push."""

from tests.engine.syncing import Syncing, measured, plain


async def test_three_commits_register_update_and_deregister_in_that_order(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    await syncing.pushed({"a/main.tf": 'resource "terraform_data" "y" {}\n'})
    code = await syncing.code("a")
    syncing.upstream.remove("a")
    await syncing.sync()
    names = [r["name"] for r in await syncing.rows("SELECT name FROM events WHERE subject LIKE 'stack/%' ORDER BY id")]
    told = [n for n in names if n.startswith("module_")]
    assert told == ["module_registered", "module_updated", "module_deregistered"]
    assert (await syncing.code_by_id(code.id)).status == "deregistered"
    assert await syncing.codes() == {}


async def test_a_directory_without_stackly_hcl_is_no_stack(syncing: Syncing) -> None:
    await syncing.pushed({"a/main.tf": "# nothing\n"} | plain("b", "b"))
    assert list(await syncing.codes()) == ["b"]


async def test_a_stack_that_cannot_be_read_hides_no_other(syncing: Syncing) -> None:
    broken = {"bad/stackly.hcl": 'stack "bad" {\n  target = \n}\n', "bad/main.tf": "# x\n"}
    await syncing.pushed(plain("a", "a") | broken | measured("m", "m"))
    codes = await syncing.codes()
    assert {path: c.status for path, c in codes.items()} == {"a": "active", "bad": "rejected", "m": "active"}
    (problem, *_) = codes["bad"].errors
    assert (problem["file"], problem["line"]) == ("bad/stackly.hcl", 2)


async def test_a_push_makes_the_run_that_the_stack_is_for(syncing: Syncing) -> None:
    commit = await syncing.pushed(plain("a", "a") | measured("m", "m"))
    assert sorted((r.kind.value, r.commit) for r in await syncing.runs()) == [("benchmark", commit), ("deploy", commit)]


async def test_a_sync_that_finds_nothing_changed_writes_nothing(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    before = await syncing.rows("SELECT count(*) FROM events")
    assert await syncing.sync() == []
    assert await syncing.rows("SELECT count(*) FROM events") == before
