"""Every place where a secret could end up, as named pieces of bytes, and the forms in which it would be seen."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import os
import threading
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import asyncpg
import boto3
from temporalio.client import Client

from tests.e2e.house import House

Piece = tuple[str, bytes]


def forms(secret: bytes) -> set[bytes]:
    """As it is, and as JSON, URLs, hex dumps and base64 at each of the three offsets carry it."""
    seen = {secret, secret.hex().encode(), urllib.parse.quote_from_bytes(secret, safe="").encode()}
    with contextlib.suppress(UnicodeDecodeError):
        seen.add(json.dumps(secret.decode())[1:-1].encode())
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + secret)
        # The first and last group mix with what stands beside the secret.
        middle = coded[4 if offset else 0 : -4 if len(coded) > 24 else None]
        seen |= {middle, middle.replace(b"+", b"-").replace(b"/", b"_")}
    return {form for form in seen if len(form) >= 12}


def found(secrets: Mapping[str, bytes], pieces: Iterable[Piece]) -> list[tuple[str, str]]:
    """Shape: (name of the secret, where it was seen)."""
    wanted = {name: forms(secret) for name, secret in secrets.items()}
    hits = []
    for where, content in pieces:
        hits += [(name, where) for name, those in wanted.items() if any(form in content for form in those)]
    return hits


def files(label: str, *roots: Path) -> Iterator[Piece]:
    """Raw bytes, and what gzip hides. A link holds nothing: what it names lies elsewhere."""
    for root in roots:
        for path in (
            [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file() and not p.is_symlink())
        ):
            try:
                content = path.read_bytes()
            except OSError:
                continue  # a socket, or a file that went away
            yield f"{label}:{path}", content
            yield from _unzipped(f"{label}:{path}", content)


def _unzipped(where: str, content: bytes) -> Iterator[Piece]:
    if content[:2] == b"\x1f\x8b":
        with contextlib.suppress(OSError, EOFError):
            yield f"{where} (unzipped)", gzip.decompress(content)


def objects(house: House) -> Iterator[Piece]:
    """What S3 answers with, which may be packed on its disk."""
    told = house.settings["s3"]
    client = boto3.client(
        "s3",
        endpoint_url=told["endpoint"],
        aws_access_key_id=told["access_key"],
        aws_secret_access_key=told["secret_key"],
        region_name="us-east-1",
    )
    for bucket in client.list_buckets()["Buckets"]:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket["Name"]):
            for item in page.get("Contents", []):
                content = client.get_object(Bucket=bucket["Name"], Key=item["Key"])["Body"].read()
                yield f"s3:{item['Key']}", content
                yield from _unzipped(f"s3:{item['Key']}", content)


async def _histories(address: str) -> list[Piece]:
    client = await Client.connect(address)
    pieces = []
    async for one in client.list_workflows():
        history = await client.get_workflow_handle(one.id, run_id=one.run_id).fetch_history()
        pieces.append((f"temporal:{one.id}", (one.id + history.to_json()).encode()))
        pieces += [(f"temporal:{one.id} (raw)", event.SerializeToString()) for event in history.events]
    return pieces


def histories(house: House) -> list[Piece]:
    """As `temporal workflow show --output json` gives them, and every event's own bytes."""
    return asyncio.run(_histories(house.endpoints["temporal_address"]))


async def _tables(url: str) -> list[Piece]:
    connection = await asyncpg.connect(url)
    try:
        names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        pieces = []
        for (name,) in names:
            rows = await connection.fetch(f'SELECT t.*::text AS row FROM "{name}" t')
            pieces.append((f"postgres:{name}", "\n".join(r["row"] for r in rows).encode()))
        return pieces
    finally:
        await connection.close()


def tables(house: House) -> list[Piece]:
    """A dump: every row of every table as text, bytea as hex."""
    return asyncio.run(_tables(house.settings["database_url"]))


@dataclass
class Watch:
    """Samples every process's argv and environment, and one-time tokens on disk, while something runs."""

    home: Path
    seen: dict[tuple[str, bytes], None] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    processes: set[str] = field(default_factory=set)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def pieces(self) -> list[Piece]:
        return list(self.seen)

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self._processes()
            self._enrolments()

    def _processes(self) -> None:
        for process in Path("/proc").glob("[0-9]*"):
            if process.name == str(os.getpid()):
                continue
            for part in ("cmdline", "environ"):
                with contextlib.suppress(OSError):
                    content = (process / part).read_bytes()
                    self.seen[(f"{part}:{content[:80]!r}", content)] = None
                    if part == "cmdline":
                        self.processes |= {Path(w.decode(errors="replace")).name for w in content.split(b"\0")[:3]}

    def _enrolments(self) -> None:
        for path in (self.home / "run" / "agent", *(self.home / "agent").glob("*/*")):
            with contextlib.suppress(OSError, ValueError, KeyError):
                told: dict[str, Any] = json.loads((path / "enrolment.json").read_bytes())
                self.tokens.add(told["token"])
