"""Is this body from who holds the secret? Only HMAC-SHA256 over the raw bytes counts."""

import hmac
from collections.abc import Sequence

_PREFIX = "sha256="
_LENGTH = len(_PREFIX) + 64


def sign(secret: bytes, body: bytes) -> str:
    """Shape: the value of `X-Hub-Signature-256`."""
    return _PREFIX + hmac.digest(secret, body, "sha256").hex()


def verify(secrets: Sequence[bytes], body: bytes, header: str | None) -> bool:
    """True when one of the secrets (current, previous) made this header over this body.

    Never raises: a header is compared as bytes, since text outside ASCII makes `compare_digest` throw.
    An empty secret signs nothing. The legacy SHA-1 header is not a substitute.
    """
    given = (header or "").encode("utf-8", "replace")
    if len(given) != _LENGTH:
        return False
    good = False
    for secret in secrets:  # every secret is tried: how long it takes does not tell which one fits
        wanted = sign(secret, body).encode()
        good |= hmac.compare_digest(wanted, given) and bool(secret)
    return good
