"""Waiting for an image that is built from the commit that started the run. Pure: time is given."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from stackly.engine.contracts.site import ImageOutcome
from stackly.engine.workflows.stepping import StepFailed
from stackly.temporal.timings import IMAGE_PAUSES, within

_NOTHING, _SECOND, _MINUTE = within(0), within(1), within(60)


@dataclass(frozen=True, slots=True)
class ImageWait:
    """Shape: `since` is the run's start, so that neither a lost workflow nor a lost agent gives more time."""

    image: str
    since: datetime
    patience: timedelta

    def left(self, now: datetime) -> timedelta:
        return max(self.since + self.patience - now, _NOTHING)

    def pause(self, looks: int, now: datetime) -> timedelta:
        """How long after so many looks the next one comes; the last one is when the time is over."""
        return min(IMAGE_PAUSES[min(looks, len(IMAGE_PAUSES)) - 1], self.left(now))

    def said(self, seen: ImageOutcome | None, now: datetime) -> str:
        if seen is None:
            return f"looking for {self.image}"
        passed = f"{self._units(now - self.since)} of {self._time()}"
        if seen.status == "away":
            return f"the registry of {self.image} is not reached, {passed}: {seen.reason}"
        return f"{self.image} is not there yet, {passed}"

    def check(self, seen: ImageOutcome, now: datetime) -> None:
        """Raises: StepFailed when the time is over, with what to do."""
        if self.left(now):
            return
        time = self._time()
        if seen.status == "away":
            raise StepFailed(
                f"The registry of image {self.image} was not reached within {time}: {seen.reason}. "
                "See to its address and to the agent's network, and run it again."
            )
        raise StepFailed(
            f"Image {self.image} did not appear within {time}: {seen.reason}. "
            "See whether its build for this commit went through and pushed it under this name, and run it again."
        )

    def _time(self) -> str:
        return f"{self._units(self.patience)} {'min' if self._unit == _MINUTE else 's'}"

    def _units(self, time: timedelta) -> int:
        return max(time, _NOTHING) // self._unit

    @property
    def _unit(self) -> timedelta:
        """Minutes, or seconds where the whole wait is shorter than one."""
        return _MINUTE if self.patience >= _MINUTE else _SECOND
