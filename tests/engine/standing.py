"""One stack in the registry, written with what a sync writes thousands with."""

from stackly.db import Session
from stackly.stacks import registry_store
from stackly.stacks.model import FoundStack, Repo, StackCode
from stackly.stacks.registry_store import Standing


async def register(session: Session, repo: Repo, ref: str, commit: str, found: FoundStack) -> StackCode:
    """The row of its place, or a new one."""
    there = await registry_store.codes_at(session, repo.id, ref, [found.path])
    code = there[found.path].id if there else None
    written = await registry_store.write_codes(session, repo, ref, commit, [Standing(found, code, None)])
    return written[found.path]
