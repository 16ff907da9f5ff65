"""Repositories, stack codes and stack states: what they are and which changes make sense."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from stackly.ids import AccountId, RepoId, StackId, StateId


class StackKind(StrEnum):
    PLAIN = "plain"  # deploys into a long-lived state
    EPHEMERAL = "ephemeral"  # each test has its own short-lived state
    STANDING = "standing"  # deployed once, measured on


class CodeStatus(StrEnum):
    ACTIVE = "active"
    REJECTED = "rejected"
    LOOSE = "loose"
    DEREGISTERED = "deregistered"


class StateStatus(StrEnum):
    EMPTY = "empty"
    ACTIVE = "active"
    LOOSE = "loose"
    DESTROYING = "destroying"
    DESTROYED = "destroyed"
    WAIVED = "waived"


HOLDS_RESOURCES = frozenset({StateStatus.ACTIVE, StateStatus.LOOSE, StateStatus.DESTROYING})


@dataclass(frozen=True, slots=True)
class Repo:
    id: RepoId
    account: AccountId
    github_id: int
    full_name: str
    clone_url: str
    default_branch: str
    status: str
    hook: str | None
    owner_id: int | None = None  # GitHub's number of its owner, whose name may change
    former_default: str | None = None  # whose states have not followed yet


@dataclass(frozen=True, slots=True)
class StackCode:
    """A module with its configuration at one place of one ref."""

    id: StackId
    account: AccountId
    repo: RepoId
    ref: str
    path: str
    name: str
    tree: str
    commit: str
    bundle: str | None
    kind: str
    config: Mapping[str, Any]
    errors: tuple[Mapping[str, Any], ...]
    status: str
    reason: str | None
    moved_from: StackId | None
    registered_at: datetime
    requires: tuple[str, ...] | None = None  # variables without a default; None: not read
    warnings: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class StackState:
    """One deployed instance: `default`, another long-lived name, or a test's short-lived one.

    Shape: `successor` is the code that a loose state waits to follow; `destroy_at` None: never by itself.
    """

    id: StateId
    account: AccountId
    code: StackId
    name: str
    key: str
    commit: str | None
    status: str
    epoch: int
    holder: str | None
    serial: int | None
    lineage: str | None
    agent: str | None
    target: str | None
    parent_operation: str | None
    test: str | None
    variables: Mapping[str, Any]
    since: datetime
    reason: str | None
    successor: StackId | None
    destroy_at: datetime | None


@dataclass(frozen=True, slots=True)
class Pin:
    """The code of a state that stays at a commit of its own."""

    commit: str
    tree_key: str
    bundle: str
    lock_sha256: str


@dataclass(frozen=True, slots=True)
class FoundStack:
    """One stack directory as a sync found it in a commit: parsed, or with what is wrong with it.

    Shape: `tree_key` covers the directory and the local modules it calls; `suite` is the resolved suite's JSON or None;
    `requires` are the module's variables without a default, those of the contract aside, None where a file could not
    be read; `warnings` say which, and why.
    """

    path: str
    name: str
    tree: str
    tree_key: str
    kind: str
    config: Mapping[str, Any]
    bundle: str | None
    suite: Mapping[str, Any] | None
    lock_sha256: str
    policies: tuple[Mapping[str, str], ...] = ()
    errors: tuple[Mapping[str, Any], ...] = field(default_factory=tuple)
    requires: tuple[str, ...] | None = None
    warnings: tuple[Mapping[str, Any], ...] = ()
    pins: Mapping[str, Pin] = field(default_factory=dict)  # by the name of the state
    left_out: Mapping[str, str] = field(default_factory=dict)  # files that are no part of its code -> why


def branch_of(ref: str) -> str:
    """refs/heads/release/1 -> release/1; other refs as they are."""
    return ref.removeprefix("refs/heads/")


def state_key(account: str, state: str) -> str:
    """The place of a state's versions in storage."""
    return f"state/{account}/{state}"
