"""Roles and actions."""

import pytest

from stackly.accounts.model import ALLOWED, Action, Actor, Role, RoleInsufficient
from stackly.ids import AccountId, IdentityId


def _actor(*roles: Role) -> Actor:
    return Actor(AccountId("a"), IdentityId("i"), "ann", frozenset(roles), ())


def test_every_role_reads_and_only_an_administrator_does_everything() -> None:
    assert all(Action.READ in actions for actions in ALLOWED.values())
    assert [role for role, actions in ALLOWED.items() if actions == frozenset(Action)] == [Role.ADMIN]


def test_who_operates_does_not_approve_and_the_other_way_round() -> None:
    assert not _actor(Role.OPERATOR).may(Action.APPROVE)
    assert not _actor(Role.APPROVER).may(Action.OPERATE)
    assert _actor(Role.OPERATOR, Role.APPROVER).may(Action.APPROVE)


def test_a_refusal_names_the_roles_that_would_do() -> None:
    with pytest.raises(RoleInsufficient) as refused:
        _actor(Role.VIEWER).must(Action.OPERATE)
    assert refused.value.fields["roles"] == ["admin", "operator"]


def test_nobody_may_anything_without_a_role() -> None:
    assert not any(_actor().may(action) for action in Action)
