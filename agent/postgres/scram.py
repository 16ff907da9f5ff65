"""A SCRAM-SHA-256 verifier (RFC 5803), so that a clear password is in no statement and in no server log."""

import base64
import hashlib
import hmac
import secrets

ITERATIONS = 4096


def verifier(password: str, salt: bytes | None = None) -> str:
    """Shape: as pg_authid.rolpassword holds it. Only for passwords of printable ASCII (SASLprep leaves those alone)."""
    salt = secrets.token_bytes(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored = hashlib.sha256(client_key).digest()
    b64 = [base64.b64encode(part).decode() for part in (salt, stored, server_key)]
    return f"SCRAM-SHA-256${ITERATIONS}:{b64[0]}${b64[1]}:{b64[2]}"
