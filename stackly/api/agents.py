"""Agents: who works where, and what they can do."""

from fastapi import APIRouter

from stackly.agents import reads
from stackly.api.auth import Reader
from stackly.api.pages import Asked, Page
from stackly.api.parts import House
from stackly.api.views import AgentView
from stackly.db import Json

router = APIRouter(prefix="/agents", tags=["agent"])


def _view(row: Json) -> AgentView:
    return AgentView(run_id=row["run"], **row)


@router.get("")
async def list_agents(
    house: House, actor: Reader, asked: Asked, role: str | None = None, *, gone: bool = False
) -> Page[AgentView]:
    key = asked.key()
    async with house.transactions() as session:
        found = await reads.list_agents(
            session, actor.account, limit=asked.limit, after=key[0] if key else None, role=role, gone=gone
        )
    return asked.page(found, _view, lambda r: [r["id"]])


@router.get("/{agent}")
async def show_agent(agent: str, house: House, actor: Reader) -> AgentView:
    async with house.transactions() as session:
        return _view(await reads.get_agent(session, actor.account, agent))
