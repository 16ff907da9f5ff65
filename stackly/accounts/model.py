"""Who may do what: four roles, five actions, one table."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from stackly.errors import Denied, Unauthenticated
from stackly.ids import AccountId, IdentityId


class Role(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"


class Action(StrEnum):
    READ = "read"  # everything that only looks
    OPERATE = "operate"  # start, cancel, rerun, sync, redeliver
    APPROVE = "approve"  # vote
    REGISTER = "register"  # add repositories, destroy stacks, waive obligations
    ADMINISTER = "administer"  # people, tokens


ALLOWED = MappingProxyType(
    {
        Role.VIEWER: frozenset({Action.READ}),
        Role.OPERATOR: frozenset({Action.READ, Action.OPERATE}),
        Role.APPROVER: frozenset({Action.READ, Action.APPROVE}),
        Role.ADMIN: frozenset(Action),
    }
)


class KeyKind(StrEnum):
    """What a key opens: the API, the browser's session, or one exchange for a session."""

    TOKEN = "token"  # noqa: S105 - a kind, not a secret
    SESSION = "session"
    LOGIN_KEY = "login"


class RoleInsufficient(Denied):
    title = "None of your roles allows this."


class SignInRequired(Unauthenticated):
    title = "Sign in first."


class KeyInvalid(Unauthenticated):
    title = "This key is unknown, used, revoked or expired."


@dataclass(frozen=True, slots=True)
class Account:
    id: AccountId
    name: str


@dataclass(frozen=True, slots=True)
class Identity:
    id: IdentityId
    account: AccountId
    login: str
    roles: frozenset[Role]
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """A key as lists show it; the secret itself is kept nowhere.

    Shape: `id` is the first 12 characters of the hash.
    """

    id: str
    name: str
    kind: KeyKind
    login: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is asking, with the rights they had when they asked."""

    account: AccountId
    identity: IdentityId
    login: str
    roles: frozenset[Role]
    groups: tuple[str, ...]

    def may(self, action: Action) -> bool:
        return any(action in ALLOWED[role] for role in self.roles)

    def must(self, action: Action) -> None:
        """Raises: RoleInsufficient, naming the roles that would do."""
        if self.may(action):
            return
        enough = sorted(role.value for role, actions in ALLOWED.items() if action in actions)
        raise RoleInsufficient(
            f"{self.login} may not {action.value}; one of these roles may: {', '.join(enough)}.",
            action=action.value,
            roles=enough,
        )

    def as_json(self) -> dict[str, Any]:
        return {"login": self.login, "roles": sorted(self.roles), "groups": list(self.groups)}
