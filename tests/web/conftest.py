"""A browser on the built page, in front of a real API process on a seeded Postgres."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, BrowserContext, Page, Request, Response, async_playwright, expect

from stackly import db
from stackly.accounts.model import Role
from stackly.api.hooks import HookBook
from stackly.api.parts import ApiConfig
from stackly.git.signatures import sign
from stackly.ids import AccountId, RepoId
from stackly.secrets import Keyring
from stackly.stacks import reads
from tests.conftest import Require
from tests.web.seeding import REPO, Seeded, seed, sign_in_key
from tests.web.serving import Upstream, listening, serving

GUIDS = ("3f1c6d1e-0000-11ef-8000-00000000000a", "3f1c6d1e-0000-11ef-8000-00000000000b")
HEIGHT = 900
# Patience, not a promise: the machine may be doing much else.
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


@dataclass(frozen=True)
class Site:
    url: str
    transactions: db.Transactions
    seeded: Seeded
    github: Upstream

    async def key(self, role: Role = Role.ADMIN) -> str:
        return await sign_in_key(self.transactions, self.seeded.account, role)


@dataclass
class Visit:
    """A page, and everything that went wrong on it. Shape: `expected` are statuses that the test asks for."""

    page: Page
    site: Site
    troubles: list[str] = field(default_factory=list)
    expected: set[int] = field(default_factory=set)

    def watch(self) -> Visit:
        self.page.on("console", lambda m: self._note(m.type == "error" and self._is_news(m.text), m.text))
        self.page.on("pageerror", lambda e: self._note(True, str(e)))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)
        return self

    async def open(self, path: str) -> Page:
        await self.page.goto(self.site.url + path)
        return self.page

    async def stack(self, name: str) -> Page:
        return await self.open(f"/stacks/{self.site.seeded.stacks.get(name, name)}")

    def _note(self, is_trouble: bool, what: str) -> None:
        if is_trouble:
            self.troubles.append(what)

    def _is_news(self, said: str) -> bool:
        """The browser repeats every refused request on its console."""
        return not any(f"status of {status}" in said for status in self.expected)

    def _failed(self, request: Request) -> None:
        # Leaving a page ends what it was still asking for.
        self._note(request.failure != "net::ERR_ABORTED", f"{request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        self._note(response.status >= 400 and response.status not in self.expected, f"{response.status} {response.url}")


@pytest.fixture(scope="module")
def chromium(require: Require) -> str:
    found = shutil.which("chromium")
    require(found, "no chromium in PATH: apt-get install chromium")
    web_dir = ApiConfig("", "", "", "").web_dir
    require((web_dir / "index.html").is_file(), "the page is not built: make setup")
    assert found is not None
    return found


@pytest.fixture(scope="module")
async def site(
    chromium: str,
    fresh_database: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Site]:
    home, url = tmp_path_factory.mktemp("home"), fresh_database()
    engine = db.engine(url, application="tests")
    transactions = db.transactions(engine)
    seeded = await seed(transactions)
    hook, secret = await _hooked(home, transactions, seeded)
    with listening() as github:
        async with serving(home, url, github.url) as address:
            github.guids += GUIDS
            await _deliver(f"{address}/webhooks/github/{hook}", secret)
            yield Site(address, transactions, seeded, github)
    await engine.dispose()


async def _hooked(home: Path, transactions: db.Transactions, seeded: Seeded) -> tuple[str, bytes]:
    async with transactions() as session:
        await reads.set_repo_hook(session, seeded.repo, "1")
        book = HookBook(transactions, Keyring(home / "keyring.json"))
        return await book.create(session, AccountId(seeded.account), RepoId(seeded.repo))


async def _deliver(address: str, secret: bytes) -> None:
    """A push, and an event that asks for nothing; the first arrives twice."""
    async with httpx.AsyncClient() as client:
        for guid, event in ((GUIDS[0], "push"), (GUIDS[0], "push"), (GUIDS[1], "watch")):
            body = json.dumps(_said(event)).encode()
            headers = {
                "Content-Type": "application/json",
                "X-GitHub-Event": event,
                "X-GitHub-Delivery": guid,
                "X-Hub-Signature-256": sign(secret, body),
            }
            (await client.post(address, content=body, headers=headers)).raise_for_status()


def _said(event: str) -> dict[str, object]:
    about = {"repository": {"id": 1, "full_name": REPO, "default_branch": "main"}, "sender": {"login": "ada", "id": 1}}
    if event == "watch":
        return {**about, "action": "started"}
    return {**about, "ref": "refs/heads/main", "before": "a" * 40, "after": "b" * 40, "commits": []}


@pytest.fixture(scope="module")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        opened = await driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        await opened.close()


@pytest.fixture(scope="module")
async def signed_in(browser: Browser, site: Site) -> AsyncIterator[BrowserContext]:
    """One administrator's session for all tests that need nothing else."""
    context = await browser.new_context(viewport={"width": 1280, "height": HEIGHT}, locale="en")
    page = await context.new_page()
    await page.goto(f"{site.url}/login?key={await site.key()}")
    await page.close()
    yield context
    await context.close()


@pytest.fixture
async def visit(signed_in: BrowserContext, site: Site) -> AsyncIterator[Visit]:
    """A fresh page of an administrator; whatever went wrong on it fails the test."""
    page = await signed_in.new_page()
    page.set_default_timeout(PATIENCE_MS)
    made = Visit(page, site).watch()
    yield made
    await page.close()
    assert made.troubles == []
