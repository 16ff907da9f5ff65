"""The rows of a run that waits for its images: what people see of it, and what was found."""

from stackly.db import Session, notify
from stackly.engine.contracts.control import ImageAwaited, ImageFound
from stackly.engine.images import KEY
from stackly.engine.reserving import StepCancelled
from stackly.runs import store
from stackly.runs.model import Blocker


async def tell(session: Session, given: ImageAwaited) -> None:
    """What the run waits for now. Raises: StepCancelled."""
    run = await store.get_run(session, given.run, lock=True)
    if run.cancel_requested:
        raise StepCancelled
    await store.update_run(session, run.id, blocker=Blocker.IMAGE.value, waiting_reason=given.said)
    await notify(session, "run", run.id)


async def keep(session: Session, given: ImageFound) -> str:
    """What was found first stays, whoever asks again; it is the answer."""
    run = await store.get_run(session, given.run, lock=True)
    known: dict[str, str] = dict(run.spec.get(KEY) or {})
    if not known.get(given.image):
        known[given.image] = given.pinned
        await store.update_run(session, run.id, spec={**run.spec, KEY: known})
    return known[given.image]


async def over(session: Session, run_id: str) -> None:
    """The run waits for none of them any more."""
    run = await store.get_run(session, run_id, lock=True)
    if run.blocker == Blocker.IMAGE.value:
        await store.update_run(session, run.id, blocker=None, waiting_reason=None)
        await notify(session, "run", run.id)
