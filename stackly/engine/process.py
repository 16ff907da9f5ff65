"""What the engine's processes share: how they learn their settings, and how they end."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from stackly import log
from stackly.accounts import service as accounts
from stackly.db import Transactions
from stackly.engine import failures
from stackly.errors import Invalid, StacklyError, Unavailable
from stackly.git.github_app import AppKey
from stackly.git.github_client import GitHub
from stackly.git.github_rest import GitHubHost
from stackly.settings import Settings

# How long a component that starts beside its Postgres waits between two tries.
_AGAIN_S = 0.3


def settings_of(component: str) -> Settings:
    """The settings of STACKLY_HOME, with logging set up; without them the process ends with what to do."""
    home = os.environ.get("STACKLY_HOME")
    if not home:
        sys.exit("STACKLY_HOME is not set; run: stackly up")
    try:
        settings = Settings.load(Path(home))
    except StacklyError as e:
        sys.exit(e.detail)
    log.configure(component, level=settings.log_level, foreseen=failures.foreseen)
    return settings


def github_of(settings: Settings) -> GitHub:
    """The GitHub these settings name. Raises: AppKeyInvalid, Invalid when the App's key cannot be read."""
    host = GitHubHost(settings.hub_url, settings.hub_url) if settings.hub_url else GitHubHost.of(settings.github_url)
    app = None
    if settings.github_app and settings.github_app_key:
        try:
            app = AppKey(settings.github_app, settings.github_app_key.read_bytes())
        except OSError as e:
            raise Invalid(f"The GitHub App's key {settings.github_app_key} cannot be read: {e.strerror}") from e
    return GitHub(host, settings.github_token.get_secret_value() or None, app)


async def account_id(transactions: Transactions, name: str) -> str:
    """The account this process serves; keys go by its id. Tries until Postgres answers."""
    while True:
        try:
            async with transactions() as session:
                return (await accounts.ensure_account(session, name)).id
        except Unavailable:
            await asyncio.sleep(_AGAIN_S)


async def until_signal() -> None:
    """Until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    await stop.wait()
