"""Counters for Prometheus, in its text format."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]


def labels(**given: str) -> Labels:
    return tuple(sorted(given.items()))


def _text(found: Labels) -> str:
    escaped = ((k, v.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for k, v in found)
    inside = ",".join(f'{k}="{v}"' for k, v in escaped)
    return f"{{{inside}}}" if inside else ""


class Metrics:
    """Of one process. Labels hold route templates and statuses, never what a caller wrote."""

    def __init__(self) -> None:
        self._requests: Counter[Labels] = Counter()
        self._deliveries: Counter[Labels] = Counter()
        self._buckets: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests[labels(method=method, route=route, status=str(status))] += 1
        about = labels(method=method, route=route)
        counts = self._buckets.setdefault(about, [0] * (len(_BUCKETS_S) + 1))
        counts[bisect_left(_BUCKETS_S, seconds)] += 1
        self._sums[about] = self._sums.get(about, 0.0) + seconds

    def delivery(self, outcome: str) -> None:
        self._deliveries[labels(outcome=outcome)] += 1

    def render(self, gauges: Mapping[str, Mapping[Labels, float]]) -> str:
        """`gauges`: read from Postgres by the caller, name -> labels -> value; a counter's name ends with _total."""
        lines = [*self._counter("stackly_http_requests_total", "Requests answered.", self._requests)]
        lines += self._counter("stackly_deliveries_total", "Webhook deliveries by outcome.", self._deliveries)
        lines += self._histogram()
        for name, series in gauges.items():
            lines.append(f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}")
            lines += [f"{name}{_text(about)} {value:g}" for about, value in series.items()]
        return "\n".join(lines) + "\n"

    @staticmethod
    def _counter(name: str, said: str, counts: Counter[Labels]) -> list[str]:
        head = [f"# HELP {name} {said}", f"# TYPE {name} counter"]
        return head + [f"{name}{_text(about)} {n}" for about, n in sorted(counts.items())]

    def _histogram(self) -> list[str]:
        name = "stackly_http_request_seconds"
        lines = [f"# HELP {name} Time to answer.", f"# TYPE {name} histogram"]
        for about, counts in sorted(self._buckets.items()):
            running = 0
            for edge, n in zip((*map(str, _BUCKETS_S), "+Inf"), counts, strict=True):
                running += n
                lines.append(f"{name}_bucket{_text((*about, ('le', edge)))} {running}")
            lines.append(f"{name}_sum{_text(about)} {self._sums[about]:g}")
            lines.append(f"{name}_count{_text(about)} {running}")
        return lines
