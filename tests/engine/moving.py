"""A stack whose code moves: rows as a sync writes them, runs carried out by whoever the world has."""

from dataclasses import dataclass

from sqlalchemy import text

from stackly.db import Session
from stackly.engine import loose
from stackly.runs.model import NewRun, Run
from stackly.runs.store import get_run
from stackly.spec.runs import RunKind
from stackly.stacks import lifecycle, store
from stackly.stacks.config import StackConfig
from stackly.stacks.model import FoundStack, StackCode, StackState
from tests.engine.standing import register
from tests.engine.world import World, spec_of

MAIN = "refs/heads/main"


def commit_of(n: int) -> str:
    return f"{n:040x}"


@dataclass
class Moving:
    """Shape: `world` is a `World` or its rows only."""

    world: World

    async def written(self, session: Session, path: str, n: int, **more: object) -> StackCode:
        """The upsert of a sync: a plain stack at that place, in commit `n`."""
        config = StackConfig(name="db", target="module", **more)  # type: ignore[arg-type]  # fields by name
        found = FoundStack(path, "db", "t", "t", "plain", config.as_json(), f"code/{n}.tar.gz", None, "", requires=())
        repo = await store.get_repo(session, self.world.repo_id)
        return await register(session, repo, MAIN, commit_of(n), found)

    def wanted(self, code: StackCode, n: int) -> NewRun:
        """A deploy of the stack's default state, as a push asks for it."""
        spec = spec_of(self.world, RunKind.DEPLOY) | {
            "stack": code.name,
            "path": code.path,
            "bundle": code.bundle,
            "target": "module",
        }
        return NewRun(
            account=self.world.account,
            code=code.id,
            state="",
            kind=RunKind.DEPLOY,
            cause=f"push:{MAIN}",
            generation=n,
            branch="main",
            commit=code.commit,
            trigger={"kind": "push", "actor": "octo", "ref": MAIN},
            spec=spec,
            slot=MAIN,
        )

    async def deployed(self, path: str, n: int, *, state: str = "default", **more: object) -> StackState:
        """The stack stands, as after a deploy that was applied: its state holds resources."""
        async with self.world.transactions() as session:
            self.world.code = await self.written(session, path, n, **more)
        spec = self.wanted(self.world.code, n).spec
        run = await self.world.asked(n, RunKind.DEPLOY, state=state, spec=spec, commit=commit_of(n))
        await self.carried_out(run)
        async with self.world.transactions() as session:
            await session.execute(
                text("UPDATE stack_states SET serial = 0, lineage = 'l' WHERE id = :id"), {"id": run.state}
            )
            return await store.get_state(session, run.state)

    async def carried_out(self, run: Run) -> Run:
        return await self.world.ended(run.id)

    async def moved(self, path: str, n: int, **more: object) -> tuple[StackCode, dict[str, str]]:
        """`git mv` and a sync. Returns the new stack, and why nothing is deployed there."""
        async with self.world.transactions() as session:
            origin = self.world.code
            code = await self.written(session, path, n, **more)
            await lifecycle.code_moved(session, origin, code, same_tree=True)
            waiting = await loose.follow(session, [(code, "default", self.wanted(code, n))])
        self.world.code = code
        return code, waiting.get(code.id, {})

    async def pushed(self, n: int) -> dict[str, str]:
        """The next commit, at the same place."""
        async with self.world.transactions() as session:
            self.world.code = code = await self.written(session, self.world.code.path, n)
            return (await loose.follow(session, [(code, "default", self.wanted(code, n))])).get(code.id, {})

    async def gone(self, reason: str = "it went away") -> None:
        async with self.world.transactions() as session:
            await lifecycle.code_gone(session, await store.get_code(session, self.world.code.id), reason=reason)

    async def preview(self) -> Run:
        """The newest one."""
        found = await self.world.scalar("SELECT id FROM operations WHERE kind = 'preview' ORDER BY id DESC LIMIT 1")
        async with self.world.transactions() as session:
            return await get_run(session, found)

    async def state(self, state: str) -> StackState:
        async with self.world.transactions() as session:
            return await store.get_state(session, state)

    async def code(self, code: str) -> StackCode:
        async with self.world.transactions() as session:
            return await store.get_code(session, code)
