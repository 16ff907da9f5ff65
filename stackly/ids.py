"""Ids are opaque strings that sort by birth: ten characters of time, eight of chance."""

import secrets
from typing import NewType

from stackly import clock

AccountId = NewType("AccountId", str)
IdentityId = NewType("IdentityId", str)
RepoId = NewType("RepoId", str)
StackId = NewType("StackId", str)  # a stack code
StateId = NewType("StateId", str)  # a stack state
RunId = NewType("RunId", str)
AgentId = NewType("AgentId", str)
DecisionId = NewType("DecisionId", str)
ObligationId = NewType("ObligationId", str)
LeaseId = NewType("LeaseId", str)

# Crockford's alphabet, lower case: no i, l, o, u to misread.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def _encode(number: int, width: int) -> str:
    out = []
    for _ in range(width):
        out.append(_ALPHABET[number & 31])
        number >>= 5
    return "".join(reversed(out))


def new_id() -> str:
    """Shape: 18 characters of [0-9a-z]; later ids compare greater, within a millisecond at random."""
    millis = int(clock.now().timestamp() * 1000)
    return _encode(millis, 10) + _encode(secrets.randbits(40), 8)


def new_token(nbytes: int = 32) -> str:
    """Shape: URL-safe text of 256 bits of chance unless told otherwise."""
    return secrets.token_urlsafe(nbytes)
