"""`python -m stackly.local.hub --home DIR --host 127.0.0.1 --port N`"""

import argparse
import ipaddress
from pathlib import Path

import uvicorn

from stackly import log
from stackly.local.hub.app import app
from stackly.local.hub.oauth import keys_of, registered


def main() -> None:
    parser = argparse.ArgumentParser(prog="stackly.local.hub", description="A GitHub of one machine.")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--base-url", help="how others reach it, when that differs")
    parser.add_argument("--config", type=Path, help="a home's config.json, which names keys and the OAuth application")
    given = parser.parse_args()
    if not _loopback(given.host):
        parser.error("--host must be a loopback address: keys travel in clear here")
    log.configure("hub")
    base_url = given.base_url or f"http://{given.host}:{given.port}"
    uvicorn.run(
        app(
            given.home,
            base_url,
            oauth=given.config and registered(given.config),
            keys=given.config and keys_of(given.config),
        ),
        host=given.host,
        port=given.port,
        # uvloop closes a child's stdin under the writer when git ends early; asyncio's own loop does not.
        loop="asyncio",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    main()
