"""An agent's life to be killed: `python -m tests.agent.site_harness HOME STATES EPOCH` applies STATES/../tree."""

import asyncio
import sys
from pathlib import Path

from agent.site import SiteSettings, SiteWork
from stackly.engine.contracts.site import ApplyInput
from tests.agent.site_parts import FakeContext, key, module_input


async def main(home: Path, states: Path, epoch: int) -> None:
    context = FakeContext(key(epoch=epoch), tree=(states.parent / "tree").read_bytes(), folder=states)
    site = SiteWork(home, "agent-1", SiteSettings(grace_s=20))
    outcome = await site.apply(ApplyInput(module_input(context.key, creates_only=True)), context)
    sys.stdout.write(f"done {outcome.created}\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
