"""The rules of GitHub's OAuth that need no memory: where an answer may go, which scopes there are, PKCE."""

import base64
import hashlib
import hmac
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

_PORTS = {"http": 80, "https": 443}
_UNSAFE = re.compile(r"[^\x21-\x7e]|[\\\"<>^`{|}#]")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}\Z")
# Source: "Scopes for OAuth apps" of GitHub's documentation; a scope includes those named behind it.
_SCOPES: dict[str, tuple[str, ...]] = {
    "repo": ("repo:status", "repo_deployment", "public_repo", "repo:invite", "security_events"),
    "admin:repo_hook": ("write:repo_hook", "read:repo_hook"),
    "write:repo_hook": ("read:repo_hook",),
    "admin:org": ("write:org", "read:org"),
    "write:org": ("read:org",),
    "admin:public_key": ("write:public_key", "read:public_key"),
    "write:public_key": ("read:public_key",),
    "admin:org_hook": (),
    "gist": (),
    "notifications": (),
    "user": ("read:user", "user:email", "user:follow"),
    "project": ("read:project",),
    "delete_repo": (),
    "write:packages": ("read:packages",),
    "delete:packages": (),
    "workflow": (),
}
_KNOWN = set(_SCOPES).union(*_SCOPES.values())
EVERYTHING = tuple(sorted(_SCOPES))


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as OAuth tells it. Shape: `anchor` is its place in GitHub's documentation."""

    error: str
    description: str
    anchor: str = ""

    def told(self) -> dict[str, str]:
        uri = f"https://docs.github.com/{self.anchor}" if self.anchor else ""
        whole = {"error": self.error, "error_description": self.description, "error_uri": uri}
        return {name: value for name, value in whole.items() if value}


_EXCHANGE = "apps/managing-oauth-apps/troubleshooting-oauth-app-access-token-request-errors/"
_REQUEST = "apps/managing-oauth-apps/troubleshooting-authorization-request-errors/"
_MISMATCH = "The redirect_uri MUST match the registered callback URL for this application."
REDIRECT_MISMATCH = Refusal("redirect_uri_mismatch", _MISMATCH, f"{_REQUEST}#redirect-uri-mismatch")
EXCHANGE_MISMATCH = Refusal("redirect_uri_mismatch", _MISMATCH, f"{_EXCHANGE}#redirect-uri-mismatch")
DENIED = Refusal("access_denied", "The user has denied your application access.", f"{_REQUEST}#access-denied")
BAD_CHALLENGE = Refusal(
    "invalid_request", "A code_challenge needs code_challenge_method=S256 and 43 characters of base64url."
)
BAD_CLIENT = Refusal(
    "incorrect_client_credentials",
    "The client_id and/or client_secret passed are incorrect.",
    f"{_EXCHANGE}#incorrect-client-credentials",
)
BAD_CODE = Refusal(
    "bad_verification_code", "The code passed is incorrect or expired.", f"{_EXCHANGE}#bad-verification-code"
)


def may_redirect(callback: str, asked: str) -> bool:
    """Whether an answer may go there: scheme, host and port of the registered callback, at its path or below.

    On a loopback host the port is free. Dots, escapes and user names that browsers read otherwise are refused.
    """
    if _UNSAFE.search(asked):
        return False
    try:
        own, other = urlsplit(callback), urlsplit(asked)
        same_port = _port(own) == _port(other)
    except ValueError:
        return False
    if "@" in other.netloc or (own.scheme, own.hostname) != (other.scheme, other.hostname):
        return False
    return (same_port or _loopback(own.hostname or "")) and _below(own.path, other.path)


def with_answer(redirect: str, answer: dict[str, str]) -> str:
    """The address with the answer in its query; what it said under the same names before is gone."""
    parts = urlsplit(redirect)
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in answer]
    return urlunsplit(parts._replace(query=urlencode([*kept, *answer.items()])))


def granted(asked: str) -> tuple[str, ...]:
    """The known ones of the scopes that were asked for, without those that another one includes; sorted."""
    known = {scope for scope in re.split(r"[\s,]+", asked) if scope in _KNOWN}
    included = {part for scope in known for part in _SCOPES.get(scope, ())}
    return tuple(sorted(known - included))


def covers(scopes: tuple[str, ...], needed: str) -> bool:
    return any(needed == scope or needed in _SCOPES.get(scope, ()) for scope in scopes)


def good_challenge(challenge: str | None, method: str | None) -> bool:
    """PKCE is asked for with S256 or not at all."""
    if challenge is None:
        return method is None
    return method == "S256" and _CHALLENGE.match(challenge) is not None


def proves(challenge: str | None, verifier: str | None) -> bool:
    """Whether the verifier is the challenge's; one that answers no challenge is refused, or PKCE could be stripped."""
    if challenge is None or verifier is None:
        return challenge is None and not verifier
    if not _VERIFIER.match(verifier):
        return False
    digest = hashlib.sha256(verifier.encode()).digest()
    return hmac.compare_digest(base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), challenge)


def _port(parts: SplitResult) -> int | None:
    return parts.port or _PORTS.get(parts.scheme)


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _below(base: str, path: str) -> bool:
    parts = [unquote(part) for part in path.split("/")]
    if any(part in {".", ".."} or "/" in part or "\\" in part for part in parts):
        return False
    base = base.rstrip("/")
    return path in {base, f"{base}/"} or path.startswith(f"{base}/")
