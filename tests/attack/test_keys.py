"""What was a key once: used links and tokens, replaced secrets, revoked keys, replayed deliveries."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import httpx
import pytest

from agent import gateway as agents
from stackly import ids
from stackly.errors import Unauthenticated
from stackly.git.signatures import sign
from tests.attack.conftest import Stranger
from tests.e2e.deliveries import captured
from tests.e2e.house import PLAIN_TF, House, plain

pytestmark = [pytest.mark.e2e, pytest.mark.real, pytest.mark.timeout(420)]


def test_a_used_link_opens_nothing(platform: House, stranger: Stranger) -> None:
    link = platform.start().endpoints["ui_url"]
    assert platform.http.get(link, follow_redirects=False).status_code == 303
    seen, again = stranger.run(
        "asks", requests=[{"method": "GET", "url": u} for u in (link, link.replace("key=", "k="))]
    )
    assert (seen["status"], again["status"]) == (401, 401)


async def test_a_used_enrolment_token_is_nobodys(platform: House) -> None:
    """The site agent's own, which lies in its run directory after its use."""
    told = json.loads((platform.home / "run" / "agent" / "enrolment.json").read_text())
    for token in (told["token"], told["token"].swapcase(), "", "x" * 100_000):
        with pytest.raises(Unauthenticated):
            await agents.enrol(
                told["enrol_address"], told["ca_pem"].encode(), token, version="1", capabilities={"targets": ["local"]}
            )


def _secret(platform: House, name: str) -> str:
    with sqlite3.connect(f"file:{platform.home / 'hub' / 'hub.sqlite'}?mode=ro", uri=True) as hub:
        found = hub.execute(
            "SELECT json_extract(h.config, '$.secret') FROM hooks h JOIN repos r ON r.id = h.repo WHERE r.name = ?",
            (name,),
        )
        (secret,) = next(iter(found))
    return str(secret)


def test_a_secret_that_was_replaced_twice_signs_nothing(platform: House, clones: Path) -> None:
    repo = platform.repository("attack-secrets", clones)
    repo.push({"a/stackly.hcl": plain("attack-secrets"), "a/main.tf": PLAIN_TF}, "first")
    (delivery,) = platform.until(lambda: captured(platform, repo), bool)
    secrets = [_secret(platform, repo.name)]
    for _ in range(2):
        platform.post(f"repos/{repo.id}/rotate")
        secrets.append(_secret(platform, repo.name))
    assert len(set(secrets)) == 3

    def status(secret: str) -> int:
        headers = {
            **delivery.headers,
            "X-GitHub-Delivery": ids.new_id(),
            "X-Hub-Signature-256": sign(secret.encode(), delivery.body),
        }
        return httpx.post(delivery.url, content=delivery.body, headers=headers, timeout=60).status_code

    assert [status(s) for s in secrets] == [401, 202, 202]


def test_a_replayed_delivery_starts_nothing(platform: House, clones: Path) -> None:
    """Whoever recorded one may send it again, also under another number: git says what is there, not the message."""
    repo = platform.repository("attack-replay", clones)
    commit = repo.push({"a/stackly.hcl": plain("attack-replay"), "a/main.tf": PLAIN_TF}, "first")
    platform.processed(repo, main=commit)
    (run,) = platform.runs(stack="attack-replay")
    assert platform.ended(run["id"])["status"] == "succeeded"
    (delivery, *_) = captured(platform, repo)
    for one in (delivery, delivery.another(), delivery):
        assert one.send() in {200, 202}
    last = repo.push({"a/README.md": "words"}, "second")
    platform.processed(repo, main=last)
    assert {r["commit"] for r in platform.runs(stack="attack-replay")} <= {commit, last}
    assert len([r for r in platform.runs(stack="attack-replay") if r["commit"] == commit]) == 1
