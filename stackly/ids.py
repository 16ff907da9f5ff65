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


_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


def _encode(number: int, pairs: int) -> str:
    return "".join([_PAIRS[number >> 10 * n & 1023] for n in reversed(range(pairs))])


def new_id() -> str:
    """Shape: 18 characters of [0-9a-z]; later ids compare greater, within a millisecond at random."""
    millis = int(clock.now().timestamp() * 1000)
    return _encode(millis, 5) + _encode(secrets.randbits(40), 4)


def new_token(nbytes: int = 32) -> str:
    """Shape: URL-safe text of 256 bits of chance unless told otherwise."""
    return secrets.token_urlsafe(nbytes)
