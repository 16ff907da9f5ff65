"""What can go wrong with deliveries, on demand and the same way each time for the same seed."""

import random
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1)]


class Faults(BaseModel):
    """Which faults are on. Probabilities are per delivery; absent ones are off.

    `drop`: never sent, and in no log. `duplicate`: sent twice under one GUID. `reorder`: up to this many wait for
    each other and leave shuffled. `delay_s`: seconds before each leaves. `corrupt_signature`: of right shape, and
    wrong. `oversize`: padded above GitHub's 25 MB. `wrong_event`: another name in X-GitHub-Event. `status`: every
    attempt ends with this code before it reaches the receiver.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    drop: Probability = 0
    duplicate: Probability = 0
    reorder: Annotated[int, Field(ge=0, le=1000)] = 0
    delay_s: Annotated[float, Field(ge=0, le=600)] = 0
    corrupt_signature: Probability = 0
    oversize: Probability = 0
    wrong_event: Probability = 0
    status: Annotated[int, Field(ge=100, le=599)] | None = None
    seed: int = 0


class Dice:
    """The faults that are on, and the chance they draw from."""

    def __init__(self) -> None:
        self.set(Faults())

    def set(self, faults: Faults) -> None:
        self.faults = faults
        self._random = random.Random(faults.seed)  # noqa: S311 - repeatable on purpose

    def hits(self, probability: float) -> bool:
        """One draw, also for what is off: switching one fault on does not change when the others strike."""
        return self._random.random() < probability

    def shuffle(self, items: list[int]) -> None:
        self._random.shuffle(items)
