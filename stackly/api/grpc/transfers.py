"""What is too large for one message: the code bundle, states, artifacts, in chunks of at most 1 MB."""

import hashlib
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import IO

import grpc

from stackly.agents.model import Agent, Role
from stackly.api.grpc.callers import Callers, Context, refuse
from stackly.api.grpc.code import code
from stackly.api.grpc.polls import Polls
from stackly.api.grpc.refusals import Refusals, audited, note
from stackly.db import Session, Transactions
from stackly.errors import Conflict, Denied, Exhausted, Invalid
from stackly.runs.holds import Hold
from stackly.stacks import versions
from stackly.storage import Store
from stackly.wire import gateway_pb2 as wire
from stackly.wire.gateway_pb2_grpc import AgentGatewayServicer

STATE_CAP_BYTES = 64 * 1024 * 1024
ARTIFACT_CAP_BYTES = 1024 * 1024 * 1024
_IN_MEMORY_BYTES = 4 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}(/[A-Za-z0-9][A-Za-z0-9._-]{0,120}){0,4}")

HoldFor = Callable[[Session, Agent, str, str], Awaitable[Hold]]


class EpochStale(Conflict):
    title = "Another run holds this state by now."


class TooLarge(Exhausted):
    title = "This is more than is kept of one thing."


class DigestWrong(Invalid):
    title = "The content does not have the digest it was sent with; send it again."


def artifact_key(run: str, test: str, name: str) -> str:
    """Raises: Invalid when the name could leave its folder."""
    if not _NAME.fullmatch(name):
        raise Invalid(f"{name!r} is no artifact name: letters, digits, '.', '_', '-' and up to four '/'.")
    return f"artifacts/{run}/{test or '_'}/{name}"


class Transfers(AgentGatewayServicer):
    def __init__(
        self,
        transactions: Transactions,
        store: Store,
        mirrors: Path,
        callers: Callers,
        refusals: Refusals,
        uploads: Polls,
        hold_for: HoldFor,
    ) -> None:
        self._transactions = transactions
        self._store = store
        self._mirrors = mirrors
        self.callers = callers
        self.refusals = refusals
        self._uploads = uploads
        self._hold_for = hold_for

    @staticmethod
    def _must_hold(hold: Hold, run: str, epoch: int) -> None:
        if not hold.is_current(run, epoch):
            raise EpochStale(run=run, epoch=epoch)

    async def ReadTree(self, request: wire.ReadTreeRequest, context: Context) -> AsyncIterator[wire.Chunk]:  # noqa: N802 - the wire's name
        try:
            hold = await self._read(context, request.run, request.test, request.epoch)
            async for data in code(self._transactions, self._store, self._mirrors, hold, request.run):
                yield wire.Chunk(data=data)
        except grpc.aio.AbortError:
            raise
        except Exception as e:  # noqa: BLE001 - the edge: nothing passes it
            if isinstance(e, Denied):
                await note(self, context, "ReadTree", e)
            await refuse(context, e)

    async def ReadState(self, request: wire.ReadStateRequest, context: Context) -> AsyncIterator[wire.Chunk]:  # noqa: N802
        try:
            hold = await self._read(context, request.run, request.test, request.epoch)
            async with self._transactions() as session:
                newest = await versions.newest_version(session, hold.state)
            if newest is not None:
                async for data in self._store.stream(newest.object):
                    yield wire.Chunk(data=data)
        except grpc.aio.AbortError:
            raise
        except Exception as e:  # noqa: BLE001 - the edge: nothing passes it
            if isinstance(e, Denied):
                await note(self, context, "ReadState", e)
            await refuse(context, e)

    async def _read(self, context: Context, run: str, test: str, epoch: int) -> Hold:
        agent = await self.callers.agent(context, role=Role.SITE)
        async with self._transactions() as session:
            hold = await self._hold_for(session, agent, run, test)
        self._must_hold(hold, run, epoch)
        return hold

    @audited
    async def WriteState(  # noqa: N802
        self, request: AsyncIterator[wire.WriteStateRequest], context: Context
    ) -> wire.WriteStateReply:
        """An old epoch is refused *and kept*: it may be the only record of what was created."""
        agent = await self.callers.agent(context, role=Role.SITE)
        async with self._uploads.one(agent.id, agent.certificate or ""):
            return await self._take_state(agent, request)

    async def _take_state(self, agent: Agent, request: AsyncIterator[wire.WriteStateRequest]) -> wire.WriteStateReply:
        head = await anext(request, None)
        if head is None:
            raise Invalid("The stream was empty.")
        content = bytearray(head.data)
        async for part in request:
            content += part.data
            if len(content) > STATE_CAP_BYTES:
                raise TooLarge(f"A state has at most {STATE_CAP_BYTES} bytes.")
        async with self._transactions() as session:
            hold = await self._hold_for(session, agent, head.run, head.test)
        if not hold.state:
            raise Conflict("The test has no state yet.")
        return await self._keep_state(hold, head, bytes(content))

    async def _keep_state(self, hold: Hold, head: wire.WriteStateRequest, content: bytes) -> wire.WriteStateReply:
        try:
            read = versions.read_head(content)
        except versions.StateUnreadable as e:
            return wire.WriteStateReply(accepted=False, reason=e.detail)
        stored = read.object_key(hold.state_key)
        # The object first: a row never names what is not there. Its key holds its digest, so twice is once.
        await self._store.put(stored, content, "application/json", only_new=True)
        async with self._transactions() as session:
            written = await versions.write_version(session, hold.state, read, stored, run=head.run, epoch=head.epoch)
        return wire.WriteStateReply(accepted=written.accepted, rescued=written.rescued, reason=written.reason)

    @audited
    async def PutArtifact(  # noqa: N802
        self, request: AsyncIterator[wire.PutArtifactRequest], context: Context
    ) -> wire.PutArtifactReply:
        agent = await self.callers.agent(context)
        async with self._uploads.one(agent.id, agent.certificate or ""):
            return await self._take_artifact(agent, request)

    async def _take_artifact(
        self, agent: Agent, request: AsyncIterator[wire.PutArtifactRequest]
    ) -> wire.PutArtifactReply:
        head = await anext(request, None)
        if head is None:
            raise Invalid("The stream was empty.")
        key = artifact_key(head.run, head.test, head.name)
        async with self._transactions() as session:
            await self._hold_for(session, agent, head.run, head.test)
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
            size = await _receive(head, request, file)
            file.seek(0)
            await self._store.put_file(key, file, head.media_type or "application/octet-stream")
        return wire.PutArtifactReply(key=key, size=size)


async def _receive(head: wire.PutArtifactRequest, rest: AsyncIterator[wire.PutArtifactRequest], file: IO[bytes]) -> int:
    digest, size = hashlib.sha256(), 0

    def keep(data: bytes) -> None:
        nonlocal size
        size += len(data)
        if size > ARTIFACT_CAP_BYTES:
            raise TooLarge(f"An artifact has at most {ARTIFACT_CAP_BYTES} bytes.")
        digest.update(data)
        file.write(data)

    keep(head.data)
    async for part in rest:
        keep(part.data)
    if digest.hexdigest() != head.sha256:
        raise DigestWrong
    return size
