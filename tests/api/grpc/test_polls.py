"""Open polls are judged again and again, whatever happens to one look."""

import asyncio
from collections.abc import Collection

import pytest

from stackly.agents.model import AgentRevoked
from stackly.api.grpc.polls import Polls
from stackly.errors import Unavailable

ONE, OTHER = ("one", "1a"), ("other", "2b")


async def test_a_look_that_fails_ends_no_poll_and_no_later_look() -> None:
    looks: list[Collection[tuple[str, str]]] = []

    async def still_count(known: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        looks.append(known)
        if len(looks) == 1:
            raise Unavailable
        if len(looks) == 2:
            raise RuntimeError("as nobody foresaw")
        return {OTHER}

    polls = Polls(still_count)
    watching = asyncio.create_task(polls.watch(0.01))
    async with asyncio.timeout(30), polls.one(*OTHER):
        with pytest.raises(AgentRevoked):
            async with polls.one(*ONE):
                await asyncio.Event().wait()
        assert polls.count == 1
    assert len(looks) >= 3
    assert not watching.done()
    watching.cancel()
