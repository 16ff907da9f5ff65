"""No secret of a test, of the account or of the platform is anywhere but where it must be.

What may hold what, and is left out below for that secret alone: `keyring.json` and `config.json` (0600) hold the
account key and the platform's own passwords; the site agent's `identity.json` (0600) its own private key and the
account key, with which it reads its steps; `token` (0600) the admin token; the hub, which plays GitHub, keeps its
hooks' secrets and its API token; Postgres keeps hook secrets sealed and tokens as SHA-256; a machine's enrolment file
and a running load's password file (0600) live in the machine's directory until it is removed.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import boto3
import pytest
from temporalio.client import Client

from stackly import ids
from stackly.secrets import Keyring, test_credentials
from tests.e2e import sinks
from tests.e2e.house import House
from tests.e2e.sinks import Piece, Watch

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

_SUITE = """version: 1
name: canary
tests:
  - name: by-pgbench
    database: {engine: postgres, version: "16"}
    workload: {driver: pgbench, name: tpcb-like, scale_factor: 1, clients: 2, rate: 100}
    measure: {warmup: 0s, duration: 6s, repeats: 1}
  - name: by-stroppy
    database: {engine: postgres, version: "16"}
    workload: {driver: stroppy, driver_version: 5.7.3, name: tpcb/tx, clients: 2}
    measure: {warmup: 1s, duration: 6s, repeats: 1}
"""


@pytest.fixture(scope="module")
def measured(whole_platform: House, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Watch]:
    """A whole run with both generators, watched from its push to its end."""
    platform = whole_platform.start()
    repo = platform.repository("canary", tmp_path_factory.mktemp("canary") / "clones")
    repo.example("pg-standalone", "bench", stack="canary")
    with Watch(platform.home) as watch:
        repo.push({"bench/suite.yaml": _SUITE}, "both generators")
        (run,) = platform.until(lambda: platform.runs(stack="canary"), bool)
        ended = platform.ended(run["id"], timeout_s=240)
    assert (ended["status"], ended["verdict"]) == ("succeeded", "pass"), ended["reason"]
    return ended, watch


def _key(platform: House) -> bytes:
    (account,) = set(json.loads((platform.home / "keyring.json").read_bytes())["accounts"]) - {"gateway"}
    return Keyring(platform.home / "keyring.json").key(account, 1)[1]


def _passwords(platform: House, run: dict[str, Any]) -> dict[str, bytes]:
    """The real ones of each test, derived as the gateway does it."""
    found = {}
    for test in run["tests"]:
        told = test_credentials(_key(platform), run["id"], test["name"])
        found[f"superuser of {test['name']}"] = told.superuser_password.encode()
        found[f"user of {test['name']}"] = told.user_password.encode()
    return found


def _own(platform: House) -> dict[str, bytes]:
    """What opens the platform itself."""
    key = _key(platform)
    own = {name: platform.secrets[name].encode() for name in ("postgres", "s3_secret", "oauth")}
    return {**own, "account key": key, "admin token": platform.token.encode()}


def _hub_secrets(platform: House) -> dict[str, bytes]:
    with sqlite3.connect(f"file:{platform.home / 'hub' / 'hub.sqlite'}?mode=ro", uri=True) as hub:
        hooks = [s for (s,) in hub.execute("SELECT json_extract(config, '$.secret') FROM hooks")]
    return {"github token": platform.secrets["hub"].encode(), **{f"hook {n}": s.encode() for n, s in enumerate(hooks)}}


def _everywhere(platform: House) -> Iterator[Piece]:
    home = platform.home
    yield from sinks.histories(platform)
    yield from sinks.files("temporal", home / "temporal")
    yield from sinks.files("logs", home / "logs")
    yield from sinks.objects(platform)
    yield from sinks.files("s3", home / "s3")
    yield from sinks.tables(platform)
    yield from sinks.files("database", home / "postgres" / "data")
    yield from sinks.files("agent", home / "agent", home / "mirrors")


def _hub(platform: House) -> Iterator[Piece]:
    yield from sinks.files("hub", platform.home / "hub")


def test_no_secret_is_left_anywhere_after_a_run(platform: House, measured: tuple[dict[str, Any], Watch]) -> None:
    run, watch = measured
    passwords, own, hub = _passwords(platform, run), _own(platform), _hub_secrets(platform)
    tokens = {f"enrolment token {n}": t.encode() for n, t in enumerate(sorted(watch.tokens))}
    assert len(passwords) == 4
    assert len(watch.tokens) >= 4, "two machines of two tests were enrolled while we looked"
    assert {"terraform", "pgbench", "postgres", "stroppy"} <= watch.processes, "the samples saw the work"

    everything = {**passwords, **own, **hub, **tokens}
    identity = platform.home / "agent" / "identity.json"
    assert identity.stat().st_mode & 0o777 == 0o600
    assert sinks.found(everything, _everywhere(platform)) == [("account key", f"agent:{identity}")]
    assert sinks.found({**passwords, **own, **tokens}, _hub(platform)) == []
    assert sinks.found(everything, watch.pieces()) == [], "argv and environment of every process"


def test_what_the_generator_printed_is_kept_with_the_password_masked(
    platform: House, measured: tuple[dict[str, Any], Watch]
) -> None:
    """The Stroppy-shaped program did print its URL: else this room would prove nothing."""
    run, _ = measured
    user = test_credentials(_key(platform), run["id"], "by-stroppy").user.encode()
    printed = [content for where, content in sinks.objects(platform) if user in content and b"postgres://" in content]
    assert printed, "the artifact with what it printed"
    lines = [line for content in printed for line in content.splitlines() if b"Checking db connection" in line]
    assert lines
    assert all(user not in line or b"[" in line or b"*" in line for line in lines)


async def _planted_in_temporal(platform: House, canary: str) -> None:
    client = await Client.connect(platform.endpoints["temporal_address"])
    handle = await client.start_workflow(
        "NobodyCarriesThisOut", canary, id=f"canary-{ids.new_id()}", task_queue="nobody"
    )
    await handle.terminate(canary)


async def _planted_in_postgres(platform: House, canary: str) -> None:
    connection = await asyncpg.connect(platform.settings["database_url"])
    await connection.execute("CREATE TABLE canary (told text, bytes bytea)")
    await connection.execute("INSERT INTO canary VALUES ($1, NULL), (NULL, $2)", canary, canary.encode())
    await connection.close()


async def _gone_from_postgres(platform: House) -> None:
    connection = await asyncpg.connect(platform.settings["database_url"])
    await connection.execute("DROP TABLE IF EXISTS canary")
    await connection.close()


def _planted_in_s3(platform: House, canary: str) -> None:
    told = platform.settings["s3"]
    keys = {"aws_access_key_id": told["access_key"], "aws_secret_access_key": told["secret_key"]}
    client = boto3.client("s3", endpoint_url=told["endpoint"], region_name="us-east-1", **keys)
    bucket = client.list_buckets()["Buckets"][0]["Name"]
    client.put_object(Bucket=bucket, Key="canary/log.gz", Body=gzip.compress(canary.encode()))


def _planted_in_processes(canary: str, home: Path) -> set[str]:
    """One that carries it in its argv, one in its environment. Shape: the kinds of samples that show it."""
    nap = [sys.executable, "-c", "import time; time.sleep(1)"]
    with Watch(home) as watch:
        both = [subprocess.Popen([*nap, canary]), subprocess.Popen(nap, env={**os.environ, "CANARY": canary})]
        for one in both:
            one.wait()
    return {where.split(":")[0] for _, where in sinks.found({"canary": canary.encode()}, watch.pieces())}


def test_a_planted_canary_is_found_in_every_one_of_these_places(platform: House) -> None:
    """Negative control: the same search, over the same places."""
    canary = "canary+/" + base64.b32encode(os.urandom(25)).decode().lower()
    assert _planted_in_processes(canary, platform.home) == {"cmdline", "environ"}

    (platform.home / "logs" / "canary.log").write_text(json.dumps({"event": f'told "{canary}"'}))
    (platform.home / "agent" / "canary.json").write_text(base64.b64encode(b"x:" + canary.encode()).decode())
    _planted_in_s3(platform, canary)
    try:
        asyncio.run(_planted_in_temporal(platform, canary))
        asyncio.run(_planted_in_postgres(platform, canary))
        hits = sinks.found({"canary": canary.encode()}, _everywhere(platform))
    finally:
        asyncio.run(_gone_from_postgres(platform))
    places = {where.split(":")[0] for _, where in hits}
    assert places == {"temporal", "logs", "s3", "postgres", "database", "agent"}, hits
    assert any(str(platform.home / "temporal") in where for _, where in hits), "Temporal's own file as well"
    assert any(where.startswith("temporal:canary-") for _, where in hits), "and its history"
    assert any("unzipped" in where for _, where in hits)


def test_the_search_sees_a_secret_in_each_form_it_could_take() -> None:
    secret = b'a"secret/with+every=thing'
    for text in (
        secret,
        b"x" + base64.b64encode(b"ab" + secret + b"cd"),
        base64.urlsafe_b64encode(b"abc" + secret),
        secret.hex().encode(),
        json.dumps({"k": secret.decode()}).encode(),
        b"postgres://u:a%22secret%2Fwith%2Bevery%3Dthing@h/d",
    ):
        assert sinks.found({"it": secret}, [("here", b"..." + text + b"...")]) == [("it", "here")], text
    assert sinks.found({"it": secret}, [("here", b"a secret with everything")]) == []
