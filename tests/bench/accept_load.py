"""A closed loop of raw HTTP/1.1 connections that POST a signed push each with its own GUID."""

import asyncio
import hashlib
import hmac
import json
from dataclasses import dataclass, field

from stackly import clock, ids

REPOSITORY = 7  # GitHub's number of it
_FILES = [f"src/module_{n}/some_file_of_a_usual_length.py" for n in range(180)]


def push_body() -> bytes:
    """Like GitHub's: about 10 KB."""
    said = {
        "ref": "refs/heads/main",
        "before": "a" * 40,
        "after": "b" * 40,
        "repository": {"id": REPOSITORY, "full_name": "acme/shop", "default_branch": "main"},
        "commits": [{"id": "b" * 40, "message": "m", "added": _FILES, "removed": [], "modified": []}],
        "sender": {"login": "ann", "id": 1},
    }
    return json.dumps(said).encode()


@dataclass
class Load:
    """Shape: `acked` holds the GUIDs that were answered with 202."""

    port: int
    path: str
    secret: bytes
    acked: list[str] = field(default_factory=list)
    refused: int = 0
    stopping: bool = False

    async def run(self, connections: int, seconds: float) -> float:
        """Requests acknowledged a second."""
        body = push_body()
        signature = "sha256=" + hmac.new(self.secret, body, hashlib.sha256).hexdigest()
        began = clock.monotonic()
        tasks = [asyncio.create_task(self._one(n, body, signature)) for n in range(connections)]
        await asyncio.sleep(seconds)
        self.stopping = True
        took = clock.monotonic() - began
        done = len(self.acked)
        await asyncio.gather(*tasks)
        return done / took

    async def _one(self, n: int, body: bytes, signature: str) -> None:
        mark, sent = ids.new_id(), 0
        while not self.stopping:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            try:
                while not self.stopping:
                    sent += 1
                    guid = f"{mark}-{n}-{sent}"
                    writer.write(self._head(guid, signature, len(body)) + body)
                    if await _status(reader) == 202:
                        self.acked.append(guid)
                    else:
                        self.refused += 1
            except (OSError, asyncio.IncompleteReadError, ValueError):
                self.refused += 1
            finally:
                writer.close()

    def _head(self, guid: str, signature: str, size: int) -> bytes:
        return (
            f"POST {self.path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-GitHub-Event: push\r\n"
            f"X-GitHub-Delivery: {guid}\r\nX-Hub-Signature-256: {signature}\r\nContent-Length: {size}\r\n\r\n"
        ).encode()


async def _status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.split(b":")[1]))
    return int(head[9:12])
