"""The page as a person has it: what it shows of loose stacks, and that its buttons do what they say."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, Page, expect
from sqlalchemy import text

from stackly.accounts.model import Role
from tests.web.conftest import GUIDS, Site, Visit
from tests.web.looking import faults
from tests.web.seeding import REPO

pytestmark = pytest.mark.real


async def test_the_one_time_key_signs_in_once(browser: Browser, site: Site) -> None:
    key = await site.key()
    for is_first in (True, False):
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(site.url)
        await expect(page.get_by_role("heading", name="Sign in to Stackly")).to_be_visible()
        await page.goto(f"{site.url}/login?key={key}")
        if is_first:
            await expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
            await expect(page.get_by_text("ada-admin")).to_be_visible()
        else:
            await expect(page.get_by_role("heading", name="Runs", exact=True)).to_have_count(0)
        await context.close()


async def test_a_loose_stack_stands_out_in_the_list_with_its_whole_reason(visit: Visit) -> None:
    page = await visit.open("/stacks")
    billing = page.get_by_role("row").filter(has=page.get_by_role("link", name="billing", exact=True))
    await expect(billing.locator(".chip")).to_have_text("loose")
    await expect(billing).to_contain_text("services/billing is not in main any more since abc1234; ")
    await expect(billing).to_contain_text("stackly stack destroy")
    ledger = page.get_by_role("row").filter(has=page.get_by_role("link", name="ledger", exact=True))
    await expect(ledger).to_contain_text("the plan against regions/eu/ledger would add 1, change 0, destroy 1; ")
    await expect(page.get_by_role("row").filter(has_text="cache")).to_contain_text("State default is destroyed in 24 h")
    await expect(page.get_by_role("status").filter(has_text="what they deployed is not")).to_contain_text("billing")
    await page.get_by_label("Status").select_option("loose")
    await expect(page).to_have_url(re.compile("status=loose"))
    await expect(page.get_by_role("row")).to_have_count(6)
    await page.get_by_label("Status").select_option("rejected")
    await expect(page.get_by_role("row")).to_have_count(2)
    await expect(page.get_by_role("row").last.locator(".chip")).to_have_text("rejected")
    await page.get_by_label("Status").select_option("deregistered")
    await expect(page.get_by_role("heading", name="No stack matches")).to_be_visible()


async def test_a_stack_tells_what_its_state_waits_for(visit: Visit) -> None:
    page = await visit.stack("ledger")
    state = page.locator(".state-of")
    await expect(state).to_contain_text("Moved to regions/eu/ledger")
    await expect(state).to_contain_text("would add 1, change 0, destroy 1")
    await expect(state).to_contain_text(f"plan in run {visit.site.seeded.runs['move']}")
    history = page.get_by_role("table", name="Runs of its states")
    await expect(history.get_by_role("row")).to_have_count(3)
    await expect(history).to_contain_text("preview")
    page = await visit.stack("vault")
    await expect(page.locator(".state-of")).to_contain_text("is in the history of main no more")
    page = await visit.stack("ha")
    await expect(page.get_by_role("listitem").filter(has_text="ha/stackly.hcl:12:3")).to_contain_text("did you mean")
    await expect(page.get_by_role("listitem").filter(has_text="ha/suite.yaml:4:15")).to_be_visible()


async def _associate_with(page: Page, target: str) -> None:
    targets = page.get_by_label("Stack that takes it over")
    await expect(targets.locator("option", has_text=f"{target}: ")).to_have_count(1)
    chosen = await targets.locator("option", has_text=f"{target}: ").get_attribute("value")
    await targets.select_option(chosen)
    await page.get_by_role("button", name="Associate and deploy").click()


async def test_an_association_is_refused_with_every_reason_then_made(visit: Visit) -> None:
    visit.expected.add(409)
    page = await visit.stack("billing")
    await page.get_by_role("button", name="Associate …").click()
    options = page.get_by_label("Stack that takes it over").locator("option")
    await expect(options.filter(has_text="network")).to_have_count(1)
    # Neither itself, nor what is loose, rejected, or measured rather than deployed.
    await expect(options.filter(has_text=re.compile("billing|cache|ha:|smoke"))).to_have_count(0)
    await _associate_with(page, "strict")
    refusals = page.get_by_role("alert").get_by_role("listitem")
    await expect(refusals).to_have_count(2)
    await expect(refusals.first).to_contain_text('variable "region"')
    await expect(refusals.last).to_contain_text('variable "db_password"')
    # Its default state is taken: under another name, which its file has not, it is refused for that alone.
    await _associate_with(page, "network")
    await expect(page.get_by_role("alert")).to_contain_text("has a state default of its own")


async def test_a_moved_state_is_given_its_new_code_by_keyboard(visit: Visit) -> None:
    page = await visit.stack("orders")
    await page.get_by_role("button", name="Associate …").focus()
    await page.keyboard.press("Enter")
    targets = page.get_by_label("Stack that takes it over")
    await expect(targets).to_be_focused()
    await expect(targets.locator("option:checked")).to_contain_text("its code moved here")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Associate …")).to_be_focused()
    await expect(targets).to_have_count(0)
    await page.keyboard.press("Enter")
    await expect(targets.locator("option:checked")).to_contain_text(
        "its code moved here"
    )  # until then Enter does nothing
    await page.get_by_label("Reason").fill("the move was reviewed")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile("/runs/"))
    await expect(page.get_by_role("heading", level=1)).to_contain_text("deploy")
    page = await visit.stack("orders-eu")
    await expect(page.locator(".state-of .mark").first).to_have_text("active")
    await expect(page.get_by_role("table", name="Runs of its states")).to_contain_text("the move was reviewed")
    page = await visit.stack("orders")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("deregistered")


async def test_a_destroy_is_confirmed_by_name_followed_and_called_off(visit: Visit) -> None:
    page = await visit.stack("reports")
    await page.get_by_role("button", name="Destroy …").click()
    sure = page.get_by_role("button", name="Destroy it")
    await expect(sure).to_be_disabled()
    await page.get_by_label("Reason").fill("the team has moved on")
    await page.get_by_label("Type default to confirm").fill("defaul")
    await expect(sure).to_be_disabled()
    await page.get_by_label("Type default to confirm").press("End")
    await page.keyboard.type("t")
    await sure.click()
    await expect(page).to_have_url(re.compile("/runs/"))
    await expect(page.get_by_role("heading", level=1)).to_contain_text("destroy")
    await expect(page.locator(".state")).to_contain_text("queued")
    page = await visit.stack("reports")
    await expect(page.locator(".state-of .mark").first).to_have_text("destroying")
    await page.get_by_role("button", name="Call the destroy off").click()
    await expect(page.locator(".state-of .chip")).to_have_text("loose")
    await expect(page.get_by_role("button", name="Call the destroy off")).to_have_count(0)


async def test_a_destroy_that_is_due_is_called_off(visit: Visit) -> None:
    page = await visit.stack("cache")
    await expect(page.locator(".state-of")).to_contain_text("unless it is associated")
    await page.get_by_role("button", name="Call the destroy off").click()
    await expect(page.get_by_text("unless it is associated")).to_have_count(0)
    await expect(page.get_by_role("button", name="Destroy …")).to_be_visible()


async def test_a_finished_run_is_told_whole(visit: Visit) -> None:
    page = await visit.open(f"/runs/{visit.site.seeded.runs['benchmark']}")
    await expect(page.locator(".state")).to_contain_text("succeeded")
    await expect(page.locator(".facts").first).to_contain_text("pass")
    await expect(page.locator(".facts").first).to_contain_text("allow")
    await expect(page.locator(".chart svg").first).to_be_visible()
    await expect(page.locator(".log")).to_contain_text("progress: 39.0 s")
    await expect(page.get_by_role("button", name="Cancel run")).to_have_count(0)
    await expect(page.get_by_role("button", name="Run again")).to_be_enabled()


async def test_a_repository_shows_what_failed_and_what_arrived(visit: Visit) -> None:
    page = await visit.open("/repos")
    attic = page.get_by_role("row").filter(has_text="octo/attic")
    await expect(attic.locator(".chip")).to_have_text("archived")
    await expect(attic).to_contain_text("it was archived on GitHub by ada")
    await page.get_by_role("link", name="octo/smoke").click()
    refs = page.get_by_role("table", name="Refs and what was processed last")
    await expect(refs.get_by_role("row").nth(1)).to_contain_text("huge-dump")
    await expect(refs.get_by_role("row").nth(1)).to_contain_text("keep it out of git")
    await expect(refs.get_by_role("row").nth(2)).to_contain_text("5555555")
    await page.get_by_role("button", name="Sync now").click()
    await expect(page.get_by_role("status").filter(has_text="compared with what was read last")).to_be_visible()
    arrived = page.get_by_role("row").filter(has_text=GUIDS[0])
    await expect(arrived.get_by_role("cell")).to_contain_text(["received", GUIDS[0], "push", "2"])
    await expect(page.get_by_role("row").filter(has_text=GUIDS[1])).to_contain_text("ignored")
    await page.get_by_role("button", name=f"Redeliver {GUIDS[0]}").click()
    await expect(page.get_by_role("status").filter(has_text="send")).to_contain_text(GUIDS[0])
    assert visit.site.github.asked == ["1"]


async def test_a_repository_out_of_reach_has_no_buttons(visit: Visit) -> None:
    page = await visit.open(f"/repos/{visit.site.seeded.archived}")
    await expect(page.get_by_text("what is deployed stays as it is")).to_be_visible()
    await expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)


async def test_who_may_only_look_is_shown_no_button(browser: Browser, site: Site) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"{site.url}/login?key={await site.key(Role.VIEWER)}")
    for path, shown in (
        (f"/stacks/{site.seeded.stacks['cache']}", "States"),
        (f"/repos/{site.seeded.repo}", "Deliveries"),
        (f"/runs/{site.seeded.runs['benchmark']}", "Decision, and why"),
    ):
        await page.goto(site.url + path)
        await expect(page.get_by_role("heading", name=shown)).to_be_visible()
        await expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)
    await context.close()


async def test_every_page_can_be_read_and_used(visit: Visit) -> None:
    """Names for everything that can be used, one heading, no sideways scrolling, contrast of every text."""
    site, page = visit.site, visit.page
    stacks = [f"/stacks/{site.seeded.stacks[name]}" for name in ("ledger", "vault", "ha", "smoke")]
    repos = ["/repos", f"/repos/{site.seeded.repo}", f"/repos/{site.seeded.archived}"]
    runs = ["/runs", f"/runs/{site.seeded.runs['benchmark']}"]
    found = {}
    for path in [*runs, "/stacks", *stacks, *repos, "/agents", "/inventory"]:
        await visit.open(path)
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await expect(page.get_by_text("Reading ")).to_have_count(0)
        found[path] = await _faults_on_any_screen(page)
    page = await visit.stack("billing")
    for opener in ("Associate …", "Destroy …", "Waive …"):
        await page.get_by_role("button", name=opener).click()
        found[opener] = await _faults_on_any_screen(page)
    assert {where: what for where, what in found.items() if what} == {}


async def test_what_is_owed_can_be_read_on_any_screen(visit: Visit) -> None:
    site, page = visit.site, visit.page
    async with site.transactions() as session:
        await session.execute(
            text(
                "INSERT INTO obligations (id, account, state, run, kit, due_at, ladder, reason)"
                " SELECT '01m8j28b643wty93rh', account, state, id, '{}', clock_timestamp(), 2,"
                " 'terraform destroy failed (exit 1): main.tf:9: Instance cannot be destroyed'"
                " FROM operations WHERE account = :account LIMIT 1"
            ),
            {"account": site.seeded.account},
        )
    await visit.open("/inventory")
    owed = page.get_by_role("table", name="What is still to be destroyed")
    await expect(owed.get_by_text(REPO)).to_be_visible()
    await expect(owed.get_by_text("stackly obligation waive 01m8j28b643wty93rh")).to_be_visible()
    assert await _faults_on_any_screen(page) == []


async def _faults_on_any_screen(page: Page) -> list[str]:
    found: list[str] = []
    for width in (1280, 390):
        await page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            found += [f"{width}, {scheme}: {fault}" for fault in await faults(page)]
    return found
