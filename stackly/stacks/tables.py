"""Rows of repositories, their refs, stack codes, stack states and state versions."""

from datetime import datetime
from typing import Any

from sqlalchemy import DDL, BigInteger, CheckConstraint, Double, ForeignKey, Index, UniqueConstraint, event, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from stackly.db import Base


class RepoRow(Base):
    __tablename__ = "repos"
    __table_args__ = (
        UniqueConstraint("account", "github_id"),
        CheckConstraint("status IN ('active','suspended','archived','deleted','uninstalled')", name="status"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="RESTRICT"))
    github_id: Mapped[int] = mapped_column(BigInteger)
    full_name: Mapped[str]
    clone_url: Mapped[str]
    default_branch: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="active")
    hook: Mapped[str | None]
    reason: Mapped[str | None]  # why the last sync failed
    owner_id: Mapped[int | None] = mapped_column(BigInteger)  # GitHub's number of who owns it; None: never read
    former_default: Mapped[str | None]  # the default branch of before, until its states have followed
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class RepoRefRow(Base):
    __tablename__ = "repo_refs"

    repo: Mapped[str] = mapped_column(ForeignKey("repos.id", ondelete="RESTRICT"), primary_key=True)
    ref: Mapped[str] = mapped_column(primary_key=True)
    last_processed: Mapped[str | None]
    generation: Mapped[int] = mapped_column(BigInteger, server_default="0")
    updated_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    gone_since: Mapped[datetime | None]  # the branch is not there; its stacks are given up after a while
    reason: Mapped[str | None]  # why this ref's last sync failed
    lost: Mapped[list[str]] = mapped_column(server_default="{}")  # commits of runs that its history holds no more


class StackCodeRow(Base):
    __tablename__ = "stack_codes"
    __table_args__ = (
        Index(
            "uq_stack_codes_place",
            "repo",
            "ref",
            "path",
            unique=True,
            # A loose one has left its place: another stack may have come there while it waits for its end.
            postgresql_where=text("status IN ('active','rejected')"),
        ),
        CheckConstraint("status IN ('active','rejected','loose','deregistered')", name="status"),
        Index(None, "account", "name"),
        Index("ix_stack_codes_former", "repo", "ref", "path"),
        Index("ix_stack_codes_moved_from", "moved_from", postgresql_where=text("moved_from IS NOT NULL")),
        Index(
            "ix_stack_codes_watching",
            "repo",
            "ref",
            postgresql_where=text("status = 'active' AND config #> '{trigger,paths,0}' IS NOT NULL"),
        ),
        Index("ix_stack_codes_loose", "id", postgresql_where=text("status = 'loose'")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="RESTRICT"))
    repo: Mapped[str] = mapped_column(ForeignKey("repos.id", ondelete="RESTRICT"))
    ref: Mapped[str]
    path: Mapped[str]
    name: Mapped[str]
    tree: Mapped[str]  # git's tree id of the directory
    commit: Mapped[str]
    bundle: Mapped[str | None]  # storage key of the code: the directory and the local modules it calls
    kind: Mapped[str]  # plain, ephemeral, standing
    config: Mapped[dict[str, Any]]
    errors: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")
    warnings: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")
    requires: Mapped[list[Any] | None] = mapped_column(JSONB)  # variables without a default; null: not read yet
    status: Mapped[str]
    reason: Mapped[str | None]
    moved_from: Mapped[str | None] = mapped_column(ForeignKey("stack_codes.id", ondelete="RESTRICT"))
    registered_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    updated_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class StackStateRow(Base):
    __tablename__ = "stack_states"
    __table_args__ = (
        UniqueConstraint("backend", "key"),
        UniqueConstraint("parent_operation", "test"),
        Index("uq_stack_states_code_name", "code", "name", unique=True, postgresql_where=text("test IS NULL")),
        CheckConstraint("status IN ('empty','active','loose','destroying','destroyed','waived')", name="status"),
        CheckConstraint("status <> 'waived' OR waived_by IS NOT NULL", name="waived_by_a_person"),
        Index("ix_stack_states_history_altered", "code", postgresql_where=text("history_altered IS NOT NULL")),
        Index("ix_stack_states_successor", "successor", postgresql_where=text("successor IS NOT NULL")),
        Index("ix_stack_states_destroy_at", "destroy_at", postgresql_where=text("destroy_at IS NOT NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="RESTRICT"))
    code: Mapped[str] = mapped_column(ForeignKey("stack_codes.id", ondelete="RESTRICT"))
    name: Mapped[str]
    backend: Mapped[str] = mapped_column(server_default="managed")
    key: Mapped[str]
    commit: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default="empty")
    epoch: Mapped[int] = mapped_column(BigInteger, server_default="0")
    holder: Mapped[str | None]  # the run that holds it: with `epoch` the fence, compared for equality
    next_seq: Mapped[int] = mapped_column(BigInteger, server_default="1")
    serial: Mapped[int | None] = mapped_column(BigInteger)
    lineage: Mapped[str | None]
    agent: Mapped[str | None]  # the site agent whose target holds the resources
    target: Mapped[str | None]
    parent_operation: Mapped[str | None]
    test: Mapped[str | None]
    variables: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    # `metadata` is taken by SQLAlchemy.
    notes: Mapped[dict[str, Any]] = mapped_column("metadata", server_default="{}")
    # Its commit is in the ref's history no more: commit, since, ref, head. In force while the state is at that commit.
    history_altered: Mapped[dict[str, Any] | None]
    since: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))  # in this status
    reason: Mapped[str | None]  # why it is loose, and what ends that
    successor: Mapped[str | None] = mapped_column(ForeignKey("stack_codes.id", ondelete="RESTRICT"))
    destroy_at: Mapped[datetime | None]  # asked for by policy; null: never by itself
    destroy_left_s: Mapped[float | None] = mapped_column(Double)  # what was left when the repository went out of reach
    waived_by: Mapped[str | None] = mapped_column(ForeignKey("identities.id", ondelete="RESTRICT"))
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class StateVersionRow(Base):
    __tablename__ = "state_versions"
    __table_args__ = (
        Index(
            "uq_state_versions_serial",
            "state",
            "serial",
            unique=True,
            postgresql_where=text("NOT rescued"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    state: Mapped[str] = mapped_column(ForeignKey("stack_states.id", ondelete="RESTRICT"))
    serial: Mapped[int] = mapped_column(BigInteger)
    lineage: Mapped[str]
    operation: Mapped[str]
    epoch: Mapped[int] = mapped_column(BigInteger)
    object: Mapped[str]
    rescued: Mapped[bool]  # came under an old epoch: refused, and kept
    resources: Mapped[int]
    at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class GitBlobRow(Base):
    """One file's content, once, whoever has it and wherever."""

    __tablename__ = "git_blobs"
    __table_args__ = (CheckConstraint("oid ~ '^([0-9a-f]{40}|[0-9a-f]{64})$'", name="oid"),)

    oid: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    content: Mapped[bytes]


class GitEntryRow(Base):
    """A file of a commit, of those that stacks consist of."""

    __tablename__ = "git_entries"

    repo: Mapped[str] = mapped_column(ForeignKey("repos.id", ondelete="CASCADE"), primary_key=True)
    commit: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    mode: Mapped[str]
    oid: Mapped[str] = mapped_column(ForeignKey("git_blobs.oid", ondelete="RESTRICT"))
    cached_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class GitTreeRow(Base):
    """A stack's code at a commit that is here whole: its directory and the modules it calls."""

    __tablename__ = "git_trees"

    repo: Mapped[str] = mapped_column(ForeignKey("repos.id", ondelete="CASCADE"), primary_key=True)
    commit: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    files: Mapped[list[str]]
    cached_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


event.listen(
    Base.metadata,
    "after_create",
    DDL(  # type: ignore[no-untyped-call] # SQLAlchemy's own has no types
        "CREATE OR REPLACE VIEW git_cache AS"
        " SELECT r.clone_url AS repo_url, e.commit AS commit_hash, e.path, b.content, e.cached_at"
        " FROM git_entries e JOIN repos r ON r.id = e.repo JOIN git_blobs b ON b.oid = e.oid"
    ),
)
