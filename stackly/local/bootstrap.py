"""What a home needs besides processes: database, schema, account, local-admin, bucket, enrolment of its agent.

`python -m stackly.local.bootstrap postgres|platform|enrolment|link`: harmless when repeated, prints nothing secret.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg

from stackly import db
from stackly.accounts import service as accounts
from stackly.accounts.model import Identity, Role
from stackly.agents import service as agents
from stackly.agents import store as edges
from stackly.agents.authority import Authority
from stackly.errors import StacklyError, Unauthenticated, Unavailable
from stackly.events import store as events
from stackly.events.model import Bell
from stackly.local import components, machines, postgres, schema
from stackly.local.home import Config, Home, configured, write_endpoints, write_private
from stackly.runs import steps
from stackly.settings import Settings
from stackly.storage import Store

ADMIN = "local-admin"
SITE_AGENT = "local"
EVERY_GROUP = "*"  # of all groups, also of those that a policy names tomorrow
_PATIENCE_S = 60.0


def make_postgres(home: Home, config: Config) -> None:
    """The cluster of a home, before its server starts. Raises: Unavailable with initdb's own words."""
    postgres.prepare(components.cluster(home, config))


async def make_platform(home: Home, config: Config) -> None:
    settings = Settings.load(home.path)
    await _create_database(components.cluster(home, config))
    schema.upgrade(settings.database_url)
    await _objects(settings).ensure_bucket()
    await _admin_and_link(home, config, settings)
    await _tell_ended(home, settings)


async def _tell_ended(home: Home, settings: Settings) -> None:
    """Whose machines the last `down`, or an upgrade, ended: their steps are gone, their tests end with that reason."""
    ended = machines.ended_before(home)
    if not ended:
        return
    engine = db.engine(settings.database_url, size=1, application="bootstrap")
    try:
        async with db.transactions(engine)() as session:
            for one in ended:
                agent, run, test, why = one["agent"], one["run"], one["test"], one["reason"]
                if await edges.end_edge(session, agent, run=run, test=test, reason=why, enrolment=None):
                    await steps.report_gone(session, agent, "")
                    await events.ring(session, Bell.TEST_RING, f"{run}/{test}")
    finally:
        await engine.dispose()
    machines.ended_file(home).unlink(missing_ok=True)


async def renew_link(home: Home, config: Config) -> None:
    await _admin_and_link(home, config, Settings.load(home.path))


async def make_enrolment(home: Home) -> None:
    """A fresh one-time token for the home's site agent, beside what it needs to enrol with."""
    settings = Settings.load(home.path)
    authority = Authority.open(settings.ca)
    engine = db.engine(settings.database_url, size=1, application="bootstrap")
    try:
        async with db.transactions(engine)() as session:
            account = await accounts.ensure_account(session, settings.account)
            issued = await agents.create_site_agent(session, account.id, SITE_AGENT, {"home": "local"})
    finally:
        await engine.dispose()
    told = {
        "token": issued.token,
        "enrol_address": settings.enrol_address,
        "ca_pem": authority.ca_pem.decode(),
        "agent_id": issued.agent.id,
    }
    write_private(home.enrolment, json.dumps(told))


async def _create_database(cluster: postgres.Cluster) -> None:
    connection = await _when_up(lambda: asyncpg.connect(cluster.url("postgres"), timeout=5))
    try:
        await connection.execute(f'CREATE DATABASE "{postgres.USER}"')
    except asyncpg.DuplicateDatabaseError:
        return
    finally:
        await connection.close()


async def _when_up(connect: Callable[[], Awaitable["asyncpg.Connection"]]) -> "asyncpg.Connection":
    """A server that takes TCP may still be recovering."""
    until = asyncio.get_running_loop().time() + _PATIENCE_S
    while True:
        try:
            return await connect()
        except asyncpg.CannotConnectNowError:
            # It answers that it is recovering: however long that takes, it gets on.
            until = asyncio.get_running_loop().time() + _PATIENCE_S
            await asyncio.sleep(0.1)
        except (OSError, asyncpg.TooManyConnectionsError) as e:
            if asyncio.get_running_loop().time() > until:
                raise Unavailable(f"Postgres does not answer: {e}; look at: stackly logs postgres") from e
            await asyncio.sleep(0.1)


async def _admin_and_link(home: Home, config: Config, settings: Settings) -> None:
    engine = db.engine(settings.database_url, size=1, application="bootstrap")
    try:
        async with db.transactions(engine)() as session:
            account = await accounts.ensure_account(session, settings.account)
            admin = await accounts.ensure_identity(session, account.id, ADMIN, list(Role), [EVERY_GROUP])
            await _ensure_token(session, home, admin)
            link = await accounts.issue_login_key(session, admin.id)
    finally:
        await engine.dispose()
    write_endpoints(home, config, link)


async def _ensure_token(session: db.Session, home: Home, admin: Identity) -> None:
    """Keep the token of the home while it opens the API; a lost or revoked one is replaced."""
    if home.token.exists():
        try:
            await accounts.authenticate(session, bearer=home.token.read_text().strip(), cookie=None)
        except Unauthenticated:
            pass
        else:
            return
    write_private(home.token, await accounts.issue_key(session, admin.id, name="local") + "\n")


def _objects(settings: Settings) -> Store:
    s3 = settings.s3
    return Store(s3.endpoint, s3.bucket, s3.access_key, s3.secret_key.get_secret_value(), region=s3.region)


def main(argv: list[str]) -> None:
    home = Home(Path(os.environ["STACKLY_HOME"]).resolve())
    config = configured(home)
    try:
        match argv:
            case ["postgres"]:
                make_postgres(home, config)
            case ["platform"]:
                asyncio.run(make_platform(home, config))
            case ["enrolment"]:
                asyncio.run(make_enrolment(home))
            case ["link"]:
                asyncio.run(renew_link(home, config))
            case _:
                sys.exit("usage: bootstrap postgres|platform|enrolment|link")
    except StacklyError as e:
        sys.exit(e.detail)


if __name__ == "__main__":
    main(sys.argv[1:])
