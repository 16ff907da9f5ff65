"""A program shaped like Stroppy's Go line. It makes real commits and prints its database URL with the password, as the
real one does; it loses clients, transactions or time when the workload's `loadWorkers` says so."""

# ruff: noqa: T201 - a program prints

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import asyncpg

LOSES_CLIENTS, MAKES_NOTHING, STOPS_HALFWAY = 101, 102, 103
_AT = "2026-11-21T07:36:30.828Z"


def install(directory: Path) -> Path:
    """Write this very file as an executable. Returns its path."""
    directory.mkdir(parents=True, mode=0o755)
    path = directory / "stroppy"
    path.write_text(f"#!{sys.executable}\n{Path(__file__).read_text()}")
    path.chmod(0o755)
    return path


def _address(config: dict[str, Any]) -> str:
    """The database, after telling the world how to open it."""
    url = str(config["drivers"]["0"]["url"]).replace("?sslmode=disable", "")
    password = Path(os.environ["PGPASSFILE"]).read_text().strip().split(":", 4)[4]
    told = json.dumps({"url": url.replace("@", f":{password}@", 1)})
    for stream in (sys.stdout, sys.stderr):
        print(f"{_AT}\tDEBUG\tpostgres/driver.go:101\tChecking db connection...\t{told}", file=stream, flush=True)
    return url


async def _prepare(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE recorded (n int)")
    await connection.close()


async def _client(url: str, until: float) -> int:
    connection = await asyncpg.connect(url)
    made = 0
    while time.monotonic() < until:
        await connection.execute("INSERT INTO recorded SELECT 1")
        made += 1
        await asyncio.sleep(0.005)
    await connection.close()
    return made


async def _load(url: str, clients: int, seconds: float) -> int:
    until = time.monotonic() + seconds
    return sum(await asyncio.gather(*(_client(url, until) for _ in range(clients))))


def _lose(clients: int) -> None:
    for vu in range(1, clients):
        told = json.dumps({"vu": vu, "error": "ERROR: could not serialize access (SQLSTATE 40001)"})
        print(f"{_AT}\tERROR\tbench/runtime.go:489\titeration failed\t{told}", file=sys.stderr)


def _measure(url: str, config: dict[str, Any]) -> int:
    mode = config["params"].get("loadWorkers")
    clients, seconds = int(config["run"]["vus"]), float(config["run"]["duration"].removesuffix("s"))
    if mode == MAKES_NOTHING:
        time.sleep(seconds)
        return 0
    if mode == LOSES_CLIENTS:
        _lose(clients)
        clients = 1
    return asyncio.run(_load(url, clients, seconds / 2 if mode == STOPS_HALFWAY else seconds))


def _report(made: int, took: float) -> None:
    print("=== bench summary ===", file=sys.stderr)
    for name in ("iterations_total", "tx_commits_total", "tpcc_new_order_total"):
        print(f"  {name}   {made}.000", file=sys.stderr)
    edges = " ".join(f"p({n})~=5.0" for n in (50, 90, 95, 99))
    print(f"  tx_total_duration   count={made} avg=5.0 {edges}", file=sys.stderr)
    report = {"compliance": {"elapsed_seconds": took, "paced": False}}
    print(json.dumps(report, separators=(",", ":")))


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["version"]:
        print(json.dumps({"pgx": "v5.10.0", "stroppy": "unknown"}))
        return
    config = json.loads(Path(arguments[arguments.index("-f") + 1]).read_text())
    url = _address(config)
    if "--no-steps" in arguments:
        asyncio.run(_prepare(url))
        return
    started = time.monotonic()
    made = _measure(url, config)
    _report(made, time.monotonic() - started)


if __name__ == "__main__":
    main(sys.argv[1:])
