"""Whether a measurement may be called a result. Pure: exit code 0 is not success (trap 4)."""

from dataclasses import dataclass

from agent.generators.model import Measured
from agent.postgres.observe import Counters

SHORTEST = 0.95  # of the duration asked
COMMITS_INVALID = 0.20
COMMITS_WARNING = 0.05
CLOCK_SLACK_S = 2.0
STEAL_WARNING = 5.0
UNEVEN = 0.10


@dataclass(frozen=True, slots=True)
class Around:
    """What was observed beside the generator. Units: seconds by the monotonic and by the wall clock."""

    before: Counters
    after: Counters | None  # None: the database did not answer after the load
    elapsed_s: float
    wall_s: float
    steal_percent: float
    beside_database: bool

    @property
    def commits(self) -> int:
        return self.after.commits - self.before.commits if self.after else 0

    @property
    def checkpoints(self) -> int:
        return self.after.checkpoints - self.before.checkpoints if self.after else 0


@dataclass(frozen=True, slots=True)
class Judgement:
    valid: bool
    reason: str
    warnings: list[str]


def commits_apart(transactions: int, commits: int, clients: int) -> float:
    """Share by which the database disagrees. A few commits are the sessions' own: they are no disagreement."""
    own = 20 + 2 * clients
    apart = abs(commits - transactions)
    return max(0, apart - own) / max(transactions, 1)


def judge(measured: Measured, asked_s: float, clients: int, around: Around) -> Judgement:
    wrong = [*_generator(measured, asked_s, clients), *_surroundings(around)]
    apart = commits_apart(measured.transactions, around.commits, clients)
    told = f"the database counts {around.commits} commits, the generator {measured.transactions} transactions"
    if apart > COMMITS_INVALID and around.after is not None:
        wrong.append(told)
    warnings = [*measured.warnings, *_warnings(around), *_uneven(measured)]
    if COMMITS_WARNING <= apart <= COMMITS_INVALID:
        warnings.append(told)
    return Judgement(not wrong, "; ".join(wrong), warnings)


def _generator(measured: Measured, asked_s: float, clients: int) -> list[str]:
    wrong = []
    if measured.stopped:
        wrong.append(f"the generator was ended by us: {measured.stopped}")
    elif measured.code != 0 and not measured.code_is_verdict:
        wrong.append(f"the generator ended with exit code {measured.code}{_said(measured)}")
    if measured.lost_clients:
        wrong.append(f"{measured.lost_clients} of {clients} clients were lost{_said(measured)}")
    if measured.transactions <= 0:
        wrong.append("no transaction was made")
    if measured.duration_s < SHORTEST * asked_s:
        wrong.append(f"it measured {measured.duration_s:.1f} s of {asked_s:g} s")
    return wrong


def _said(measured: Measured) -> str:
    return f" ({measured.said})" if measured.said else ""


def _surroundings(around: Around) -> list[str]:
    wrong = []
    if around.after is None:
        wrong.append("the database did not answer after the measurement")
    elif around.before.started != around.after.started:
        wrong.append("the database restarted during the measurement")
    if abs(around.wall_s - around.elapsed_s) > CLOCK_SLACK_S:
        wrong.append(f"the clock jumped by {around.wall_s - around.elapsed_s:+.1f} s")
    return wrong


def _warnings(around: Around) -> list[str]:
    warnings = []
    if around.steal_percent > STEAL_WARNING:
        warnings.append(f"steal {around.steal_percent:.1f} %: another tenant took CPU time")
    if not around.before.fsync:
        warnings.append("fsync=off: nothing was made durable")
    if around.beside_database:
        warnings.append("the generator runs beside the database: they share CPU time")
    return warnings


def _uneven(measured: Measured) -> list[str]:
    """The last third of a sample differs from its first."""
    points = [float(p["tps"]) for p in measured.series or []]
    third = len(points) // 3
    if third < 5:
        return []
    first, last = sum(points[:third]) / third, sum(points[-third:]) / third
    if first <= 0 or abs(last / first - 1) <= UNEVEN:
        return []
    return [f"throughput drifts: last third {last / first - 1:+.0%} of the first"]
