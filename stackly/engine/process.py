"""What the engine's processes share: how they learn their settings, and how they end."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from stackly import log
from stackly.errors import StacklyError
from stackly.settings import Settings


def settings_of(component: str) -> Settings:
    """The settings of STACKLY_HOME, with logging set up; without them the process ends with what to do."""
    home = os.environ.get("STACKLY_HOME")
    if not home:
        sys.exit("STACKLY_HOME is not set; run: stackly up")
    try:
        settings = Settings.load(Path(home))
    except StacklyError as e:
        sys.exit(e.detail)
    log.configure(component, level=settings.log_level)
    return settings


async def until_signal() -> None:
    """Until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    await stop.wait()
