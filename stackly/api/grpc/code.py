"""A run's code for its agent: from the git cache, or from storage, which then fills the cache. Never from upstream."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

from stackly import log
from stackly.db import Transactions
from stackly.errors import NotFound, StacklyError
from stackly.git import bundles
from stackly.runs.holds import Hold
from stackly.stacks import code_store
from stackly.stacks.code_store import CodePlace
from stackly.storage import CHUNK_BYTES, Store

_log = log.get("api")


async def code(transactions: Transactions, store: Store, hold: Hold) -> AsyncIterator[bytes]:
    """The bundle that the run was made with, in chunks. Raises: NotFound."""
    if not hold.bundle:
        raise NotFound("The run has no code bundle.")
    place = CodePlace(hold.repo, hold.commit, hold.path)
    packed = await _cached(transactions, place, hold.bundle)
    if packed is None:
        packed = await store.get(hold.bundle)
        await _fill(transactions, place, packed)
    for at in range(0, len(packed), CHUNK_BYTES):
        yield packed[at : at + CHUNK_BYTES]


async def _cached(transactions: Transactions, place: CodePlace, bundle: str) -> bytes | None:
    """None when it is not here, or is not what the run was made with, byte by byte."""
    async with transactions() as session:
        found = await code_store.read(session, place)
    if found is None:
        return None
    packed = await asyncio.to_thread(bundles.pack, *found)
    return packed if hashlib.sha256(packed).hexdigest() in bundle else None


async def _fill(transactions: Transactions, place: CodePlace, packed: bytes) -> None:
    """What cannot be remembered is read from storage again; no agent waits in vain for that."""
    try:
        entries, blobs = await asyncio.to_thread(bundles.unpack, packed, sha256=len(place.commit) == 64)
        async with transactions() as session:
            await code_store.fill(session, place, entries, blobs)
    except StacklyError as e:
        _log.warning("code.not_cached", repo_id=place.repo, commit=place.commit, path=place.path, reason=e.detail)
