"""A run's code for its agent: from the git cache, from storage, or made again from git. Never from upstream.

Wherever it came from, it is what the run was made with, byte by byte, or it is not given out.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from stackly import log
from stackly.db import Transactions
from stackly.engine.contracts.site import CodeChanged
from stackly.errors import NotFound, StacklyError
from stackly.git import bundles
from stackly.git.rebuilding import rebuilt
from stackly.runs.holds import Hold
from stackly.stacks import code_store
from stackly.stacks.code_store import CodePlace
from stackly.storage import CHUNK_BYTES, ObjectNotFound, Store

_log = log.get("api")


async def code(transactions: Transactions, store: Store, mirrors: Path, hold: Hold) -> AsyncIterator[bytes]:
    """The bundle that the run was made with, in chunks. Raises: NotFound; CodeChanged."""
    if not hold.bundle:
        raise NotFound("The run has no code bundle.")
    place = CodePlace(hold.repo, hold.commit, hold.path)
    packed = await _cached(transactions, place, hold.bundle)
    if packed is None:
        packed = await _stored(store, mirrors, place, hold.bundle)
        await _fill(transactions, place, packed)
    for at in range(0, len(packed), CHUNK_BYTES):
        yield packed[at : at + CHUNK_BYTES]


async def _stored(store: Store, mirrors: Path, place: CodePlace, key: str) -> bytes:
    """What storage holds, if it is that; else what git holds, which is put back."""
    try:
        packed = await store.get(key)
    except ObjectNotFound:
        again = await _again(store, mirrors, place, key)
        if again is None:
            raise
        return again
    if bundles.is_of(packed, key):
        return packed
    _log.warning("code.changed", key=key, repo_id=place.repo, commit=place.commit, path=place.path)
    again = await _again(store, mirrors, place, key)
    if again is None:
        raise CodeChanged(
            f"Storage holds another content under {key}, and git has not all of {place.path} at {place.commit[:7]} any "
            "more: nothing of it is run. Push the stack again, or restore the object from a backup."
        )
    return again


async def _again(store: Store, mirrors: Path, place: CodePlace, key: str) -> bytes | None:
    packed = await rebuilt(mirrors, place.repo, place.commit, place.path)
    if packed is None or not bundles.is_of(packed, key):
        return None
    await store.put(key, packed, "application/gzip")
    _log.info("code.rebuilt", key=key, repo_id=place.repo, commit=place.commit, path=place.path)
    return packed


async def _cached(transactions: Transactions, place: CodePlace, bundle: str) -> bytes | None:
    """None when it is not here, or is not what the run was made with, byte by byte."""
    async with transactions() as session:
        found = await code_store.read(session, place)
    if found is None:
        return None
    packed = await asyncio.to_thread(bundles.pack, *found)
    return packed if bundles.is_of(packed, bundle) else None


async def _fill(transactions: Transactions, place: CodePlace, packed: bytes) -> None:
    """What cannot be remembered is read from storage again; no agent waits in vain for that."""
    try:
        entries, blobs = await asyncio.to_thread(bundles.unpack, packed, sha256=len(place.commit) == 64)
        async with transactions() as session:
            await code_store.fill(session, place, entries, blobs)
    except StacklyError as e:
        _log.warning("code.not_cached", repo_id=place.repo, commit=place.commit, path=place.path, reason=e.detail)
