"""`python -m stackly.api.grpc.main`: the agents' gateway, a process of its own: no agent's call touches a webhook."""

import asyncio
import sys
from collections.abc import Callable
from datetime import timedelta

from stackly import db, log
from stackly.agents.authority import Authority
from stackly.api.grpc import served, server
from stackly.api.grpc.health import Health, answering, postgres_answers
from stackly.engine.process import settings_of, until_signal
from stackly.errors import StacklyError
from stackly.secrets import Keyring
from stackly.settings import Settings
from stackly.storage import Store

_log = log.get("gateway")
# A certificate lasts for this and as long again, thrice: an open connection never outlives it.
_RENEW_AFTER = timedelta(days=7)


async def serve(settings: Settings) -> None:
    """Until a signal. Raises: Unavailable when an address is taken."""
    engine = db.engine(settings.database_url, size=settings.database_pool, application="stackly-gateway")
    transactions = db.transactions(engine)
    s3 = settings.s3
    store = Store(s3.endpoint, s3.bucket, s3.access_key, s3.secret_key.get_secret_value(), region=s3.region)
    authority, keys = Authority.open(settings.ca), Keyring(settings.keyring)
    health = Health({"postgres": postgres_answers(transactions)})
    stop, recording = asyncio.create_task(until_signal()), asyncio.create_task(served.record(transactions))
    try:
        async with answering(settings.gateway_health_address, health):
            await server.serve_until(
                stop, _RENEW_AFTER, lambda: server.start(settings, transactions, store, keys, authority)
            )
    finally:
        for task in (stop, recording):
            task.cancel()
        await asyncio.gather(stop, recording, return_exceptions=True)
        await engine.dispose()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    import uvloop  # absent on Windows

    return uvloop.new_event_loop


def main() -> None:
    settings = settings_of("gateway")
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        try:
            runner.run(serve(settings))
        except StacklyError as e:
            sys.exit(e.detail)


if __name__ == "__main__":
    main()
