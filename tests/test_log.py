"""What looks like a secret is masked in any text, and no text makes that slow."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackly.log import MASK, redact_text

BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQ=="


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("fatal: https://u:hunter2@host/x", f"fatal: https://u:{MASK}@host/x"),
        ("HTTPS://u:hunter2@host", f"HTTPS://u:{MASK}@host"),
        ("postgresql+asyncpg://u:p:q@h/d", f"postgresql+asyncpg://u:{MASK}@h/d"),
        ("https://host:8080/a@b", "https://host:8080/a@b"),
        ("Authorization: Bearer abcdefgh123", f"Authorization: Bearer {MASK}"),
        ("basic YWJjZGVmZ2g=", f"basic {MASK}"),
        ("token stk_agent_abcdefghij", f"token stk_agent_{MASK}"),
        (f"a -----BEGIN RSA PRIVATE KEY-----{BODY}-----END RSA PRIVATE KEY----- b", f"a {MASK} b"),
        (f"cut off: -----BEGIN PRIVATE KEY-----{BODY}", f"cut off: {MASK}"),
        ("nothing to hide: a://b, 10:30@noon", "nothing to hide: a://b, 10:30@noon"),
    ],
)
def test_what_is_masked(text: str, masked: str) -> None:
    assert redact_text(text) == masked


@given(st.text("ab:/@ ", max_size=12), st.text("qz", min_size=1, max_size=8), st.text("ab:/@ ", max_size=12))
def test_a_password_in_a_url_is_masked_wherever_it_stands(before: str, password: str, after: str) -> None:
    assert password not in redact_text(f"{before}://user:{password}@host{after}")


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece",
    [
        "x",
        "a+",
        "a://b:",
        "://a",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN ",
        "bearer ",
        "bearer\t\t\t",
        "-stk_a_",
        "stk_",
    ],
)
def test_a_megabyte_made_to_hurt_is_soon_read(piece: str) -> None:
    """Each took minutes, or would, where a part of the pattern looks ahead for what never comes."""
    redact_text(piece * (1_000_000 // len(piece)))


@pytest.mark.parametrize("as_json", [True, False])
def test_a_full_disk_costs_lines_and_never_the_process(as_json: bool) -> None:
    """`/dev/full` answers every write as a full disk does."""
    program = f"""
import logging
from stackly import log
log.configure("x", json={as_json})
log.get("x").warning("one", reason="two")
logging.getLogger("asyncio").error("three")
print("alive", flush=True)
"""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=full, check=False)
    assert done.stdout == b"alive\n"
