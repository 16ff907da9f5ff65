"""The repository that the load's pushes are about, connected by a webhook of its own."""

from stackly import db
from stackly.accounts import service
from stackly.api.hooks import HookBook
from stackly.events.model import Bell
from stackly.events.reads import rows
from stackly.stacks import store as stacks
from tests.bench.accept_load import REPOSITORY
from tests.bench.accept_servers import OneKey


async def connected(transactions: db.Transactions) -> tuple[str, bytes]:
    """The webhook's path and secret, as the servers find them in Postgres."""
    async with transactions() as session:
        account = await service.ensure_account(session)
        repo = await stacks.insert_repo(
            session,
            account.id,
            github_id=REPOSITORY,
            full_name="acme/shop",
            clone_url="http://127.0.0.1:1/acme/shop.git",
            default_branch="main",
            hook="",
        )
        found, secret = await HookBook(transactions, OneKey()).create(session, account.id, repo.id)
    return f"/webhooks/github/{found}", secret


async def is_rung(transactions: db.Transactions) -> bool:
    """Whether what was delivered starts a sync: what is only recorded costs less."""
    async with transactions() as session:
        [found] = await rows(session, "SELECT count(*) AS n FROM outbox WHERE kind = :kind", kind=Bell.REPO_SYNC)
    return bool(found["n"])
