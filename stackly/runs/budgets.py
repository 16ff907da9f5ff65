"""How much one sender may append: what is over it is dropped and counted, never refused.

A refusal would make a spool try for ever, and no measurement waits for its log.
"""

from collections import OrderedDict
from dataclasses import dataclass

# What one agent may send of one run. Bursts hold what a spool keeps through an outage.
MIB = 1024 * 1024
LINE_BYTES = 8 * 1024
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Amount:
    lines: float = 0
    size: float = 0  # bytes of text
    points: float = 0

    def plus(self, other: "Amount") -> "Amount":
        return Amount(self.lines + other.lines, self.size + other.size, self.points + other.points)

    def minus(self, other: "Amount") -> "Amount":
        return Amount(self.lines - other.lines, self.size - other.size, self.points - other.points)

    def times(self, n: float) -> "Amount":
        return Amount(self.lines * n, self.size * n, self.points * n)

    def at_most(self, other: "Amount") -> "Amount":
        return Amount(min(self.lines, other.lines), min(self.size, other.size), min(self.points, other.points))


A_SECOND = Amount(lines=1_000, size=MIB, points=100)
AT_ONCE = Amount(lines=20_000, size=64 * MIB, points=20_000)
# The longest run is two days: a point a second, for each of its samples, fits well.
A_RUN = Amount(lines=1_000_000, size=512 * MIB, points=1_000_000)


@dataclass(frozen=True, slots=True)
class Take:
    """Shape: how many of the lines, and of the points, are kept: always the first ones."""

    lines: int
    points: int


def fit(sizes: list[int], points: int, left: Amount) -> Take:
    """The longest beginning that fits. Units: `sizes` in bytes of each line."""
    lines, size = 0, 0.0
    for each in sizes:
        if lines + 1 > left.lines or size + each > left.size:
            break
        lines, size = lines + 1, size + each
    return Take(lines, min(points, max(0, int(left.points))))


def amount(sizes: list[int], take: Take) -> Amount:
    return Amount(take.lines, sum(sizes[: take.lines]), take.points)


class Buckets:
    """What each sender may send just now, on the caller's monotonic clock; of this process alone."""

    def __init__(self, rate: Amount = A_SECOND, burst: Amount = AT_ONCE) -> None:
        self._rate = rate
        self._burst = burst
        self._left: OrderedDict[tuple[str, str], tuple[Amount, float]] = OrderedDict()

    def take(self, sender: tuple[str, str], sizes: list[int], points: int, at: float) -> Take:
        """Units: `at` in monotonic seconds."""
        left, since = self._left.pop(sender, (self._burst, at))
        left = left.plus(self._rate.times(max(0.0, at - since))).at_most(self._burst)
        taken = fit(sizes, points, left)
        self._left[sender] = (left.minus(amount(sizes, taken)), at)
        if len(self._left) > _REMEMBERED:
            self._left.popitem(last=False)
        return taken


def sentence(lines: int, points: int, rate: Amount = A_SECOND, whole: Amount = A_RUN) -> str:
    return (
        f"dropped so far: {lines:,} lines and {points:,} points; one sender may append {rate.lines:,.0f} lines, "
        f"{rate.size / MIB:.0f} MiB and {rate.points:,.0f} points a second, and {whole.lines:,.0f} lines, "
        f"{whole.size / MIB:.0f} MiB and {whole.points:,.0f} points in a run"
    )
