"""Deliveries of the local hub, taken out of its log and sent by the test itself."""

from __future__ import annotations

import json
import random
import sqlite3
from dataclasses import dataclass, replace

import httpx

from stackly import ids
from stackly.git.signatures import sign
from tests.e2e.house import House, Repository


@dataclass(frozen=True)
class Captured:
    """A delivery as GitHub would send it. Shape: `headers` carry its GUID and a signature over exactly `body`."""

    url: str
    headers: dict[str, str]
    body: bytes
    secret: str

    def send(self) -> int:
        return httpx.post(self.url, content=self.body, headers=self.headers, timeout=60).status_code

    def another(self) -> Captured:
        """The same push, told under a GUID of its own."""
        return replace(self, headers={**self.headers, "X-GitHub-Delivery": ids.new_id()})

    def padded(self, size: int) -> Captured:
        """The same push with so many bytes more, which nothing makes fewer, under a GUID of its own."""
        body = json.dumps({**json.loads(self.body), "padding": random.randbytes(size // 2).hex()}).encode()
        return replace(self, headers=_headers(ids.new_id(), self.secret, body), body=body)


def captured(house: House, repo: Repository) -> list[Captured]:
    """Every push of the repository, in the order in which they happened, signed anew with the hook's secret."""
    with sqlite3.connect(f"file:{house.home / 'hub' / 'hub.sqlite'}?mode=ro", uri=True) as hub:
        found = hub.execute(
            "SELECT d.guid, d.body, json_extract(h.config, '$.secret'), json_extract(h.config, '$.url')"
            " FROM deliveries d JOIN hooks h ON h.id = d.hook JOIN repos r ON r.id = h.repo"
            " WHERE r.name = ? AND d.event = 'push' ORDER BY d.id",
            (repo.name,),
        ).fetchall()
    return [Captured(url, _headers(guid, secret, body), body, secret) for guid, body, secret, url in found]


def _headers(guid: str, secret: str, body: bytes) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": guid,
        "X-Hub-Signature-256": sign(secret.encode(), body),
    }
