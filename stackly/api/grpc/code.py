"""A run's code for its agent: from the git cache, from storage, or made again from git. Never from upstream.

Wherever it came from, it is what the run was made with, byte by byte, or it is not given out.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from stackly import log
from stackly.db import Transactions
from stackly.engine.contracts.site import CodeChanged
from stackly.errors import NotFound, StacklyError
from stackly.events import store as events
from stackly.events.model import EventName
from stackly.git import bundles
from stackly.git.rebuilding import rebuilt
from stackly.runs.holds import Hold
from stackly.stacks import code_store
from stackly.stacks.code_store import CodePlace
from stackly.storage import CHUNK_BYTES, ObjectNotFound, Store

_log = log.get("api")


async def code(transactions: Transactions, store: Store, mirrors: Path, hold: Hold, run: str) -> AsyncIterator[bytes]:
    """The bundle that the run was made with, in chunks; another one that was found instead is an event of the run.

    Raises: NotFound; CodeChanged.
    """
    if not hold.bundle:
        raise NotFound("The run has no code bundle.")
    place = CodePlace(hold.repo, hold.commit, hold.path)
    packed, is_changed = await _cached(transactions, place, hold.bundle)
    if is_changed:
        await _note(transactions, hold, run, "the git cache", "")
    if packed is None:
        packed = await _kept(store, hold.bundle)
        if packed is not None and not bundles.is_of(packed, hold.bundle):
            await _note(transactions, hold, run, "storage", hashlib.sha256(packed).hexdigest())
        packed = await _right(store, mirrors, place, hold.bundle, packed)
        await _fill(transactions, place, packed)
    for at in range(0, len(packed), CHUNK_BYTES):
        yield packed[at : at + CHUNK_BYTES]


async def _note(transactions: Transactions, hold: Hold, run: str, where: str, found: str) -> None:
    """Somebody wrote there who is not Stackly: that is kept where people look, once for each content."""
    about = {"run": run, "where": where, "bundle": hold.bundle, "found_sha256": found}
    payload = about | {"commit": hold.commit, "path": hold.path}
    _log.warning("code.changed", **payload)
    async with transactions() as session:
        await events.record(
            session, hold.account, f"run/{run}", EventName.CODE_CHANGED, f"{where}/{hold.bundle}/{found}", payload
        )


async def _kept(store: Store, key: str) -> bytes | None:
    try:
        return await store.get(key)
    except ObjectNotFound:
        return None


async def _right(store: Store, mirrors: Path, place: CodePlace, key: str, stored: bytes | None) -> bytes:
    """What storage holds, if it is that; else what git holds, which is put back."""
    if stored is not None and bundles.is_of(stored, key):
        return stored
    again = await _again(store, mirrors, place, key)
    if again is not None:
        return again
    if stored is None:
        raise ObjectNotFound(
            f"Storage has no {key}, and git has not all of {place.path} at {place.commit[:7]} as it was registered: "
            "push the stack again, or restore the object from a backup."
        )
    raise CodeChanged(
        f"Storage holds another content under {key}, and git has not all of {place.path} at {place.commit[:7]} any "
        "more: nothing of it is run. Push the stack again, or restore the object from a backup."
    )


async def _again(store: Store, mirrors: Path, place: CodePlace, key: str) -> bytes | None:
    packed = await rebuilt(mirrors, place.repo, place.commit, place.path, key)
    if packed is None:
        return None
    await store.put(key, packed, "application/gzip")
    _log.info("code.rebuilt", key=key, repo_id=place.repo, commit=place.commit, path=place.path)
    return packed


async def _cached(transactions: Transactions, place: CodePlace, bundle: str) -> tuple[bytes | None, bool]:
    """None when it is not here, or is not what the run was made with. Shape: (bundle, whether a blob was changed).

    Files alone that differ are no change: an earlier release took others from the same commit.
    """
    async with transactions() as session:
        found = await code_store.read(session, place)
    if found is None:
        return None, False
    packed = await asyncio.to_thread(bundles.pack, *found)
    if bundles.is_of(packed, bundle):
        return packed, False
    return None, any(bundles.blob_id(content, sha256=len(oid) == 64) != oid for oid, content in found[1].items())


async def _fill(transactions: Transactions, place: CodePlace, packed: bytes) -> None:
    """What cannot be remembered is read from storage again; no agent waits in vain for that."""
    try:
        entries, blobs = await asyncio.to_thread(bundles.unpack, packed, sha256=len(place.commit) == 64)
        async with transactions() as session:
            await code_store.fill(session, place, entries, blobs)
    except StacklyError as e:
        _log.warning("code.not_cached", repo_id=place.repo, commit=place.commit, path=place.path, reason=e.detail)
