"""A real dispatcher in a process of its own; told to, it dies by SIGKILL around the act on a doorbell.

`KILL_AT=before`: the doorbell is claimed and nothing was started. `KILL_AT=after`: started, the doorbell not deleted.
"""

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client

from stackly.control.dispatcher import __main__ as dispatcher
from stackly.control.dispatcher import bells, outbox
from stackly.events.model import Bell
from stackly.settings import Settings

HOLD = timedelta(seconds=2)


async def _deadly(client: Client, key: str) -> None:
    if os.environ["KILL_AT"] == "after":
        await bells.start_run(client, key)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    home = Path(os.environ["STACKLY_HOME"])
    settings = Settings(
        home=home,
        database_url=os.environ["OWN_DATABASE"],
        temporal_address=os.environ["OWN_TEMPORAL"],
        keyring=home / "keyring.json",
        ca=home / "ca",
        mirrors=home / "mirrors",
        sweep_every_s=100_000,
    )
    outbox.HOLD = HOLD
    if os.environ.get("KILL_AT"):
        acts: Any = bells.ACTS
        acts[Bell.RUN_START] = _deadly
    asyncio.run(dispatcher.run(settings))


if __name__ == "__main__":
    main()
