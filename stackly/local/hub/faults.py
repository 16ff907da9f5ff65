"""What can go wrong with deliveries, on demand and the same way each time for the same seed."""

import random
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from stackly import clock

Probability = Annotated[float, Field(ge=0, le=1)]


class Faults(BaseModel):
    """Which faults are on. Probabilities are per delivery; absent ones are off.

    `drop`: never sent, and in no log. `duplicate`: sent twice under one GUID. `reorder`: up to this many wait for
    each other and leave shuffled. `delay_s`: seconds before each leaves. `corrupt_signature`: of right shape, and
    wrong. `oversize`: padded above GitHub's 25 MB. `wrong_event`: another name in X-GitHub-Event. `status`: every
    attempt ends with this code before it reaches the receiver. `behind_s`: seconds in which git shows a push's refs
    as they were before it, while its deliveries leave.
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
    behind_s: Annotated[float, Field(ge=0, le=600)] = 0
    seed: int = 0


class Limit(BaseModel):
    """The next `count` requests to the REST API are refused: for too much at once, or for the hour's quota.

    `retry_after_s` is what the answer tells; None leaves a secondary limit without a time, as GitHub may.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["primary", "secondary"] = "secondary"
    count: Annotated[int, Field(ge=0, le=10_000)] = 1
    retry_after_s: Annotated[int, Field(ge=0, le=3600)] | None = None


class Limits:
    """Rate limits on demand: a real one nobody would reach on one machine."""

    def __init__(self) -> None:
        self.set(Limit(count=0))

    def set(self, limit: Limit) -> None:
        self.limit = limit
        self._left = limit.count

    def refusal(self) -> dict[str, str] | None:
        """The headers of a refusal, as long as there are some to give."""
        if self._left <= 0:
            return None
        self._left -= 1
        after = self.limit.retry_after_s
        if self.limit.kind == "primary":
            reset = int(clock.now().timestamp()) + (after or 0)
            return {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(reset)}
        return {} if after is None else {"Retry-After": str(after)}


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
