"""SQL of accounts, identities, keys and remembered answers."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import CursorResult, RowMapping, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import Text

from stackly.accounts.model import Account, Actor, Identity, Key, KeyKind, Role
from stackly.db import Json, Session
from stackly.ids import AccountId, IdentityId, new_id

_PEOPLE = (bindparam("roles", type_=ARRAY(Text)), bindparam("groups", type_=ARRAY(Text)))


async def upsert_account(session: Session, name: str) -> Account:
    """Create it unless it exists; concurrent callers get the same row."""
    await session.execute(
        text("INSERT INTO accounts (id, name) VALUES (:id, :name) ON CONFLICT (name) DO NOTHING"),
        {"id": new_id(), "name": name},
    )
    row = (
        (await session.execute(text("SELECT id, name FROM accounts WHERE name = :name"), {"name": name}))
        .mappings()
        .one()
    )
    return Account(id=AccountId(row["id"]), name=row["name"])


async def upsert_identity(
    session: Session, account: AccountId, login: str, roles: Sequence[Role], groups: Sequence[str]
) -> Identity:
    statement = text(
        "INSERT INTO identities (id, account, login, roles, groups)"
        " VALUES (:id, :account, :login, :roles, :groups)"
        " ON CONFLICT (account, login) DO UPDATE SET roles = excluded.roles, groups = excluded.groups"
        " RETURNING id, account, login, roles, groups"
    ).bindparams(*_PEOPLE)
    given = {
        "id": new_id(),
        "account": account,
        "login": login,
        "roles": [role.value for role in roles],
        "groups": list(groups),
    }
    return _identity((await session.execute(statement, given)).mappings().one())


async def list_identities(session: Session, account: AccountId) -> list[Identity]:
    """Shape: by login."""
    statement = text("SELECT id, account, login, roles, groups FROM identities WHERE account = :account ORDER BY login")
    return [_identity(row) for row in (await session.execute(statement, {"account": account})).mappings()]


def _identity(row: RowMapping) -> Identity:
    return Identity(
        id=IdentityId(row["id"]),
        account=AccountId(row["account"]),
        login=row["login"],
        roles=frozenset(Role(r) for r in row["roles"]),
        groups=tuple(row["groups"]),
    )


async def insert_key(
    session: Session,
    *,
    digest: str,
    identity: IdentityId,
    name: str,
    kind: KeyKind,
    lifetime: timedelta | None,
) -> None:
    statement = text(
        "INSERT INTO api_tokens (hash, identity, name, kind, expires_at)"
        " VALUES (:hash, :identity, :name, :kind, clock_timestamp() + CAST(:lifetime AS interval))"
    )
    given = {"hash": digest, "identity": identity, "name": name, "kind": kind.value, "lifetime": lifetime}
    await session.execute(statement, given)


async def find_actor(session: Session, digest: str, kind: KeyKind, *, idle: timedelta | None = None) -> Actor | None:
    """Whose living key this is, used within `idle`. Notes its use at most once a minute, so that reads stay reads."""
    statement = text(
        "WITH k AS (SELECT hash, identity, used_at FROM api_tokens WHERE hash = :hash AND kind = :kind"
        "   AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())"
        "   AND (CAST(:idle AS interval) IS NULL"
        "     OR coalesce(used_at, created_at) > clock_timestamp() - CAST(:idle AS interval))),"
        " u AS (UPDATE api_tokens t SET used_at = clock_timestamp() FROM k WHERE t.hash = k.hash"
        "   AND (k.used_at IS NULL OR k.used_at < clock_timestamp() - interval '1 minute'))"
        " SELECT i.account, i.id, i.login, i.roles, i.groups FROM k JOIN identities i ON i.id = k.identity"
    )
    row = (
        (await session.execute(statement, {"hash": digest, "kind": kind.value, "idle": idle})).mappings().one_or_none()
    )
    return _actor(row) if row else None


async def spend_key(session: Session, digest: str, kind: KeyKind) -> IdentityId | None:
    """Use a one-time key up. Of any number of concurrent callers one gets the identity."""
    statement = text(
        "UPDATE api_tokens SET used_at = clock_timestamp() WHERE hash = :hash AND kind = :kind"
        " AND used_at IS NULL AND revoked_at IS NULL"
        " AND (expires_at IS NULL OR expires_at > clock_timestamp()) RETURNING identity"
    )
    found = (await session.execute(statement, {"hash": digest, "kind": kind.value})).scalar_one_or_none()
    return IdentityId(found) if found else None


def _actor(row: RowMapping) -> Actor:
    return Actor(
        account=AccountId(row["account"]),
        identity=IdentityId(row["id"]),
        login=row["login"],
        roles=frozenset(Role(r) for r in row["roles"]),
        groups=tuple(row["groups"]),
    )


async def list_keys(session: Session, account: AccountId, kind: KeyKind) -> list[Key]:
    """Shape: newest first, revoked ones included."""
    statement = text(
        "SELECT left(t.hash, 12) AS id, t.name, t.kind, i.login,"
        " t.created_at, t.expires_at, t.used_at, t.revoked_at"
        " FROM api_tokens t JOIN identities i ON i.id = t.identity"
        " WHERE i.account = :account AND t.kind = :kind ORDER BY t.created_at DESC, t.hash"
    )
    rows = (await session.execute(statement, {"account": account, "kind": kind.value})).mappings()
    return [Key(**{**row, "kind": KeyKind(row["kind"])}) for row in rows]


async def revoke_key(session: Session, account: AccountId, key_id: str) -> bool:
    """`key_id` as `list_keys` shows it; False when this account has no such key."""
    statement = text(
        "UPDATE api_tokens t SET revoked_at = coalesce(t.revoked_at, clock_timestamp()) FROM identities i"
        " WHERE i.id = t.identity AND i.account = :account AND left(t.hash, 12) = :key"
    )
    return await _touched(session, statement, {"account": account, "key": key_id}) > 0


async def revoke_digest(session: Session, digest: str) -> None:
    await session.execute(
        text("UPDATE api_tokens SET revoked_at = clock_timestamp() WHERE hash = :hash AND revoked_at IS NULL"),
        {"hash": digest},
    )


async def _touched(session: Session, statement: Any, given: Json) -> int:
    result = await session.execute(statement, given)
    assert isinstance(result, CursorResult)
    return result.rowcount


async def claim_answer(session: Session, account: AccountId, key: str, request: str) -> Json | None:
    """Claim an idempotency key in this transaction, or read what it answered before.

    A concurrent holder is waited for: until it commits (its answer) or rolls back (ours to claim).
    Shape: None when it is ours; else `request_sha256`, `status`, `response`.
    """
    claimed = await _touched(
        session,
        text(
            "INSERT INTO idempotency_keys (account, key, request_sha256) VALUES (:account, :key, :request)"
            " ON CONFLICT (account, key) DO NOTHING"
        ),
        {"account": account, "key": key, "request": request},
    )
    if claimed:
        return None
    # A later statement: it sees what the holder committed (engine rule 7).
    statement = text(
        "SELECT request_sha256, status, response FROM idempotency_keys WHERE account = :account AND key = :key"
    )
    return dict((await session.execute(statement, {"account": account, "key": key})).mappings().one())


async def keep_answer(session: Session, account: AccountId, key: str, status: int, body: Json) -> None:
    statement = text(
        "UPDATE idempotency_keys SET status = :status, response = :body WHERE account = :account AND key = :key"
    ).bindparams(bindparam("body", type_=JSONB))
    await session.execute(statement, {"account": account, "key": key, "status": status, "body": body})


async def hold_key(session: Session, account: AccountId, key: str, seconds: int) -> list[str] | None:
    """Carry a claimed request out, alone, for so long. Shape: what of it is done; None when another carries it out."""
    found = await session.execute(
        text(
            "UPDATE idempotency_keys SET held_until = clock_timestamp() + make_interval(secs => :seconds)"
            " WHERE account = :account AND key = :key AND status IS NULL"
            " AND (held_until IS NULL OR held_until < clock_timestamp()) RETURNING done"
        ),
        {"account": account, "key": key, "seconds": seconds},
    )
    done: list[str] | None = found.scalar_one_or_none()
    return done


async def mark_done(session: Session, account: AccountId, key: str, part: str) -> None:
    """In the transaction that does it."""
    await session.execute(
        text(
            "UPDATE idempotency_keys SET done = array_append(done, CAST(:part AS text)) WHERE account = :account"
            " AND key = :key"
        ),
        {"account": account, "key": key, "part": part},
    )


async def let_key_go(session: Session, account: AccountId, key: str) -> None:
    """Whoever repeats the request may carry on; where nothing was done, the key is as if never used."""
    told = {"account": account, "key": key}
    await session.execute(
        text("DELETE FROM idempotency_keys WHERE account = :account AND key = :key AND status IS NULL AND done = '{}'"),
        told,
    )
    await session.execute(
        text("UPDATE idempotency_keys SET held_until = NULL WHERE account = :account AND key = :key"), told
    )
