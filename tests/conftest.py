"""Real parts for every test: Postgres, Temporal, S3. Each is started by the first test that asks for it."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import boto3
import pytest
import structlog
from moto.server import ThreadedMotoServer
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.testing import WorkflowEnvironment

from stackly import db, ids
from stackly.local import postgres as local_postgres
from stackly.local import schema
from stackly.local.scratch import shared_postgres
from stackly.settings import S3
from tests.longest import longest_first

if TYPE_CHECKING:
    from tests.e2e.house import House

REAL = os.environ.get("STACKLY_REQUIRE_REAL") == "1"
Require = Callable[[object, str], None]

# Makes a half-hour transaction impossible to forget: everything a test left is gone before the next one.
_EMPTY = """
DO $$
DECLARE t regclass; filled boolean;
BEGIN
  SET LOCAL lock_timeout = '5s';
  SET LOCAL session_replication_role = replica;
  FOR t IN SELECT c.oid FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
           AND c.relname <> 'alembic_version'
  LOOP
    EXECUTE format('SELECT EXISTS (SELECT 1 FROM %s)', t) INTO filled;
    IF filled THEN EXECUTE format('DELETE FROM %s', t); END IF;
  END LOOP;
END $$
"""


def pytest_configure() -> None:
    """As structlog is by itself, but for its traces: those with all locals of all frames cost seconds each."""
    shape = structlog.get_config()["processors"]
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*shape[:-1], plain])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under STACKLY_REQUIRE_REAL=1 a skip is a failure; only a test that needs a given Stroppy may be absent."""
    report = yield
    if REAL and report.skipped and not hasattr(report, "wasxfail") and not item.get_closest_marker("stroppy"):
        report.outcome = "failed"
        report.longrepr = f"STACKLY_REQUIRE_REAL=1 and this would skip: {call.excinfo and call.excinfo.value}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if REAL and report.outcome == "skipped":
        report.outcome = "failed"
        report.longrepr = f"STACKLY_REQUIRE_REAL=1 and {collector.nodeid} would skip: {report.longrepr}"
    return report


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are numbered, never spelt: what is compressed holds the second of its making, and workers collect apart."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes long is not asked for every day; it is deselected, and counted, never skipped."""
    if hasattr(config, "workerinput"):
        longest_first(items)
    if os.environ.get("STACKLY_NIGHTLY") == "1":
        return
    left = [item for item in items if item.get_closest_marker("nightly")]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


@pytest.fixture(scope="session")
def require() -> Require:
    """`require(part, reason)`: skip without the part; under STACKLY_REQUIRE_REAL=1 that is a failure."""

    def check(part: object, reason: str) -> None:
        if not part:
            pytest.skip(reason)

    return check


@pytest.fixture(scope="session")
def postgres() -> Iterator[local_postgres.Cluster]:
    """One server for all workers of a run, without durability. Shape: `.url(database)` is a superuser's URL."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or ids.new_id()
    directory = Path(tempfile.gettempdir()) / f"stackly-test-{run[:12] if len(run) > 18 else run}"
    directory.mkdir(mode=0o711, exist_ok=True)
    with shared_postgres(directory) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def empty_database(postgres: local_postgres.Cluster) -> Callable[[], str]:
    """Each call makes another database without tables. Shape: its URL."""

    def make() -> str:
        name = f"empty_{ids.new_id()}"
        _administer(postgres, f"CREATE DATABASE {name}")
        return postgres.url(name)

    return make


@pytest.fixture(scope="session")
def fresh_database(postgres: local_postgres.Cluster) -> Callable[[], str]:
    """Each call makes another migrated database, for tests that need one alone. Shape: its URL."""
    template = f"template_{ids.new_id()}"
    _administer(postgres, f"CREATE DATABASE {template}")
    schema.upgrade(postgres.url(template))

    def make() -> str:
        name = f"test_{ids.new_id()}"
        _administer(postgres, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return postgres.url(name)

    return make


@pytest.fixture(scope="session")
def database_url(fresh_database: Callable[[], str]) -> str:
    """This worker's migrated database; `transactions` and `database` empty it before each test."""
    return fresh_database()


@pytest.fixture(scope="session")
async def database_engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = db.engine(database_url, application="tests")
    yield engine
    await engine.dispose()


@pytest.fixture
async def database(database_url: str, database_engine: AsyncEngine) -> str:
    """The worker's database, empty. Shape: its URL."""
    async with database_engine.begin() as connection:
        await connection.execute(text(_EMPTY))
    return database_url


@pytest.fixture
def transactions(database: str, database_engine: AsyncEngine) -> db.Transactions:
    """Transactions on an empty, migrated database."""
    return db.transactions(database_engine)


@pytest.fixture
async def session(transactions: db.Transactions) -> AsyncIterator[AsyncConnection]:
    """One open transaction on an empty database, committed after the test."""
    async with transactions() as opened:
        yield opened


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[WorkflowEnvironment]:
    """A real dev server whose workflows skip time; `with temporal.with_time_skipping_disabled():` for the others."""
    server = Path(sys.executable).parent / "temporal"
    flags = (
        "frontend.WorkflowTimeSkippingEnabled=true",
        "history.transferProcessorMaxPollRPS=1000",
        "frontend.enableCancelWorkerPollsOnShutdown=true",
    )
    environment = await WorkflowEnvironment.start_time_skipping_v2(
        dev_server_existing_path=str(server),
        dev_server_log_level="error",
        dev_server_extra_args=[part for flag in flags for part in ("--dynamic-config-value", flag)],
    )
    yield environment
    await environment.shutdown()
    # The core's threads outlive the client a moment; leaving at once aborts the interpreter.
    await asyncio.sleep(0.3)


@pytest.fixture(scope="session")
def whole_platform() -> "Iterator[House]":
    """One running platform for all tests of a worker that need one, with a Stroppy-shaped recorder as its Stroppy."""
    from tests.e2e.house import running  # what only they need is not imported for all others

    with running("tests") as house:
        yield house


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """An S3 server with conditional writes and an empty bucket of its own. Shape: settings.S3."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    told = S3(
        endpoint=f"http://{host}:{port}", access_key="test", secret_key=SecretStr("testtest"), bucket="stackly-test"
    )
    boto3.client(
        "s3",
        endpoint_url=told.endpoint,
        aws_access_key_id=told.access_key,
        aws_secret_access_key=told.secret_key.get_secret_value(),
        region_name=told.region,
    ).create_bucket(Bucket=told.bucket)
    yield told
    server.stop()


def _administer(cluster: local_postgres.Cluster, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(cluster.url("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    # A thread of its own: a loop may be running in this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, run()).result()
