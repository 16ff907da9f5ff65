"""`python -m stackly.api.main`: the HTTP API."""

import asyncio
import os
import sys
from pathlib import Path

import uvicorn

from stackly import log
from stackly.api import app as apps
from stackly.api.parts import Parts
from stackly.errors import StacklyError
from stackly.settings import Settings

_STOP_WITHIN_S = 5
_KEEP_ALIVE_S = 30


def server(settings: Settings, parts: Parts) -> uvicorn.Server:
    config = uvicorn.Config(
        apps.application(parts),
        host=settings.api_host,
        port=settings.api_port,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_STOP_WITHIN_S,
    )
    return uvicorn.Server(config)


def main() -> None:
    home = os.environ.get("STACKLY_HOME")
    if not home:
        sys.exit("STACKLY_HOME is not set; run: stackly up")
    try:
        settings = apps.load_settings(Path(home))
    except StacklyError as e:
        sys.exit(e.detail)
    log.configure("api", level=settings.log_level)
    with asyncio.Runner(loop_factory=_loop) as runner:
        try:
            runner.run(server(settings, apps.assemble_from(settings)).serve())
        except StacklyError as e:
            sys.exit(e.detail)


def _loop() -> asyncio.AbstractEventLoop:
    import uvloop  # absent on Windows

    return uvloop.new_event_loop()


if __name__ == "__main__":
    main()
