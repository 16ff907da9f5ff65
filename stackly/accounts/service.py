"""Commands on accounts: people, their keys, and who is asking."""

import hashlib
from collections.abc import Sequence
from datetime import timedelta

from stackly.accounts import store
from stackly.accounts.model import Account, Actor, Identity, KeyInvalid, KeyKind, Role, SignInRequired
from stackly.db import Session
from stackly.errors import NotFound
from stackly.ids import AccountId, IdentityId, new_token

DEFAULT_ACCOUNT = "default"
SESSION_LIFETIME = timedelta(days=30)
SESSION_IDLE = timedelta(hours=12)
LOGIN_KEY_LIFETIME = timedelta(days=1)


def digest_of(secret: str) -> str:
    """What is stored instead of a key. Keys hold 256 bits of chance, so one plain SHA-256 is enough."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


async def ensure_account(session: Session, name: str = DEFAULT_ACCOUNT) -> Account:
    return await store.upsert_account(session, name)


async def ensure_identity(
    session: Session, account: AccountId, login: str, roles: Sequence[Role], groups: Sequence[str] = ()
) -> Identity:
    """Create the person, or set the roles and groups of the one of that login."""
    return await store.upsert_identity(session, account, login, roles, groups)


async def issue_key(
    session: Session,
    identity: IdentityId,
    *,
    name: str,
    kind: KeyKind = KeyKind.TOKEN,
    lifetime: timedelta | None = None,
) -> str:
    """Shape: `stk_<kind>_<secret>`, seen here and never again. Without `lifetime` it lives until revoked."""
    secret = f"stk_{kind.value}_{new_token()}"
    await store.insert_key(
        session, digest=digest_of(secret), identity=identity, name=name, kind=kind, lifetime=lifetime
    )
    return secret


async def issue_login_key(session: Session, identity: IdentityId) -> str:
    """A one-time key for the link that opens the page."""
    return await issue_key(session, identity, name="link", kind=KeyKind.LOGIN_KEY, lifetime=LOGIN_KEY_LIFETIME)


async def login(session: Session, login_key: str) -> str:
    """Exchange a one-time key for a session's secret. Raises: KeyInvalid, also at the second use."""
    identity = await store.spend_key(session, digest_of(login_key), KeyKind.LOGIN_KEY)
    if identity is None:
        raise KeyInvalid("This sign-in link was used or has expired; `stackly status` prints a new one.")
    return await issue_key(session, identity, name="browser", kind=KeyKind.SESSION, lifetime=SESSION_LIFETIME)


async def logout(session: Session, session_secret: str) -> None:
    await store.revoke_digest(session, digest_of(session_secret))


async def authenticate(session: Session, *, bearer: str | None, cookie: str | None) -> Actor:
    """Tell who is asking; a bearer token is preferred. Raises: SignInRequired, KeyInvalid."""
    secret = bearer or cookie
    if not secret:
        raise SignInRequired("Send `Authorization: Bearer <token>`, or open the page by its sign-in link.")
    kind = KeyKind.TOKEN if bearer else KeyKind.SESSION
    idle = SESSION_IDLE if kind is KeyKind.SESSION else None
    actor = await store.find_actor(session, digest_of(secret), kind, idle=idle)
    if actor is None:
        raise KeyInvalid("The key is unknown, revoked or expired; sign in again.")
    return actor


async def revoke(session: Session, account: AccountId, key_id: str) -> None:
    if not await store.revoke_key(session, account, key_id):
        raise NotFound(f"There is no key {key_id}.", id=key_id)


async def find_person(session: Session, account: AccountId, login_name: str) -> Identity:
    for identity in await store.list_identities(session, account):
        if identity.login == login_name:
            return identity
    raise NotFound(f"There is nobody called {login_name}.", login=login_name)
