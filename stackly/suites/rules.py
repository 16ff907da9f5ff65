"""What has to fit together within one test. Each rule reports at the line that breaks it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stackly.suites import images
from stackly.suites.document import Node
from stackly.suites.fields import OWNED_SETTINGS, PARAMS, WORKLOADS
from stackly.suites.kinds import Json
from stackly.suites.reading import Reading, close

SUPPORTED_MAJORS = ("16", "17", "18")


def check(test: Json, path: str, on: Reading) -> None:
    """Shape: `test` as the record read it, without what was bad."""
    for rule in _RULES:
        rule(test, path, on)


def _database(test: Json, path: str, on: Reading) -> None:
    given = test.get("database", {})
    here = f"{path}.database"
    version, image = given.get("version"), given.get("image")
    if version and not (image or given.get("connection")) and version.split(".")[0] not in SUPPORTED_MAJORS:
        on.bad_at(f"{here}.version", f"Version {version} needs an `image`; without one write 16, 17 or 18.")
    if image and (wrong := images.problem(image)):
        on.bad_at(f"{here}.image", wrong)
    for name in given.get("settings", {}):
        if name.lower() in OWNED_SETTINGS:
            on.bad_at(f"{here}.settings.{name}", f"`{name}` is set by Stackly; delete it here.")
    if given.get("connection"):
        if image:
            on.bad_at(
                f"{here}.image", "`connection` names a database that exists, so nothing is started; delete `image`."
            )
        if test.get("topology"):
            on.bad_at(f"{path}.topology", "`connection` replaces the topology; delete one of the two.")


def _topology(test: Json, path: str, on: Reading) -> None:
    given = test.get("topology", {})
    here = f"{path}.topology"
    nodes = given.get("nodes")
    if given.get("preset") and nodes:
        on.bad_at(f"{here}.nodes", "`preset` already names the nodes; delete one of the two.")
    elif nodes:
        _roles(given, nodes, here, on)
    bouncer = given.get("pgbouncer") or {}
    if bouncer.get("pool_mode") == "transaction" and str(bouncer.get("max_prepared_statements", "")) == "0":
        on.bad_at(
            f"{here}.pgbouncer.max_prepared_statements",
            "Transaction pooling without prepared statements breaks the drivers; write 100 or more.",
        )


def _roles(given: Json, nodes: Mapping[str, Json], here: str, on: Reading) -> None:
    counts: dict[str, int] = {}
    for name, node in nodes.items():
        roles = node.get("roles", [])
        if len(set(roles)) < len(roles):
            on.bad_at(f"{here}.nodes.{name}.roles", "A role stands twice; keep one.")
        for role in set(roles):
            counts[role] = counts.get(role, 0) + node.get("count", 1)
    if any("roles" not in n or "count" not in n for n in nodes.values()):
        return  # something there was bad already; counting would only echo it
    _counts(counts, f"{here}.nodes", on)
    if given.get("patroni") is not None:
        _patroni(given["patroni"], counts, here, on)
    for name in ("pgbouncer", "haproxy"):
        if given.get(name) is not None and not counts.get(name):
            on.bad_at(f"{here}.{name}", f"No node has role {name}; give it to one, or delete these options.")


def _counts(counts: Mapping[str, int], here: str, on: Reading) -> None:
    generators, etcd = counts.get("generator", 0), counts.get("etcd", 0)
    if generators != 1:
        on.bad_at(here, f"There are {generators} machines with role generator; write exactly one.")
    if not counts.get("postgres"):
        on.bad_at(here, "No node has role postgres; give it to one.")
    if etcd not in {0, 1, 3, 5}:
        on.bad_at(here, f"{etcd} machines run etcd; write 1, 3 or 5, so that a majority exists.")


def _patroni(options: Json, counts: Mapping[str, int], here: str, on: Reading) -> None:
    if not counts.get("etcd"):
        on.bad_at(f"{here}.patroni", "Patroni needs etcd; give that role to 1, 3 or 5 machines.")
    needed = options.get("synchronous_node_count", 1)
    if options.get("synchronous_mode") is True and isinstance(needed, int) and counts.get("postgres", 0) <= needed:
        on.bad_at(
            f"{here}.patroni", f"Synchronous mode needs more than {needed} machines with role postgres; add some."
        )


def _workload(test: Json, path: str, on: Reading) -> None:
    given = test.get("workload", {})
    here = f"{path}.workload"
    driver, name, version = given.get("driver"), given.get("name"), given.get("driver_version")
    known = WORKLOADS.get(str(driver), ())
    if name and known and name not in known:
        on.bad_at(f"{here}.name", f"{driver} has no workload `{name}`; write {close(name, known)}.")
    if driver == "pgbench":
        if version:
            on.bad_at(f"{here}.driver_version", "pgbench is the server's own; delete `driver_version`.")
        if given.get("pacing"):
            on.bad_at(f"{here}.pacing", "pgbench has no keying and think times; delete `pacing`, or use `rate`.")
    if driver == "stroppy" and given.get("rate"):
        on.bad_at(f"{here}.rate", "Only pgbench has an open loop; delete `rate`.")
    _params(given, here, on)


def _params(given: Json, here: str, on: Reading) -> None:
    driver, family = str(given.get("driver")), str(given.get("name")).partition("/")[0]
    known = PARAMS.get(driver) or PARAMS.get(f"{driver}/{family}")
    if known is None:
        return  # driver or workload are wrong, and said so
    for name, value in given.get("params", {}).items():
        at = f"{here}.params.{name}"
        if name not in known:
            on.bad_at(at, f"{driver} has no parameter `{name}` here; write {close(name, tuple(known))}.")
        else:
            known[name].read(_as_node(value, on.place(at)), at, on)
    jobs = given.get("params", {}).get("jobs")
    if isinstance(jobs, int) and isinstance(given.get("clients"), int) and jobs > given["clients"]:
        on.bad_at(
            f"{here}.params.jobs", f"{jobs} jobs share {given['clients']} clients; write no more jobs than clients."
        )


def _as_node(value: Any, at: tuple[int, int]) -> Node:
    if isinstance(value, list | dict):
        return Node("list" if isinstance(value, list) else "map", *at)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return Node("scalar", *at, text=text, plain=not isinstance(value, str))


def _measure(test: Json, path: str, on: Reading) -> None:
    given = test.get("measure", {})
    repeats = given.get("repeats")
    lo, hi = bounds_of(repeats)
    if lo > hi:
        on.bad_at(f"{path}.measure.repeats", f"`min` {lo} is above `max` {hi}; swap them.")
    rule = test.get("comparison")
    if rule is not None and rule.get("baseline") != "none" and lo < 3:
        on.bad_at(
            f"{path}.measure.repeats", "A comparison needs 3 samples or more; raise `repeats`, or delete `comparison`."
        )
    for i, fault in enumerate(test.get("faults", [])):
        duration = given.get("duration", 120)
        if "at" in fault and fault["at"] >= duration:
            on.bad_at(f"{path}.faults[{i}].at", f"The sample ends after {duration}s; write an earlier `at`.")


def bounds_of(repeats: Any) -> tuple[int, int]:
    """Shape: (min, max) of what `repeats` said, defaults 5 and 12 drawn along when only one side is given."""
    if isinstance(repeats, int):
        return repeats, repeats
    given = repeats or {}
    lo, hi = given.get("min"), given.get("max")
    if lo is None:
        return min(5, hi or 12), hi or 12
    return lo, hi if hi is not None else max(12, lo)


def _limits(test: Json, path: str, on: Reading) -> None:
    for metric, limit in test.get("thresholds", {}).items():
        here = f"{path}.thresholds.{metric}"
        if not limit and not {f"{here}.min", f"{here}.max"} & on.where.keys():
            on.bad_at(here, "A threshold needs `min`, `max` or both; add one.")
        elif limit.get("min", float("-inf")) > limit.get("max", float("inf")):
            on.bad_at(here, f"`min` {limit['min']:g} is above `max` {limit['max']:g}; swap them.")
        _tpcc_only(metric, test, here, on)
    for metric in (test.get("comparison") or {}).get("metrics", {}):
        _tpcc_only(metric, test, f"{path}.comparison.metrics.{metric}", on)


def _tpcc_only(metric: str, test: Json, here: str, on: Reading) -> None:
    workload = test.get("workload", {})
    if metric in {"nopm", "tpm_c"} and "name" in workload and not is_tpcc(workload["name"]):
        on.bad_at(here, f"`{metric}` counts TPC-C's new orders, and the workload is {workload['name']}; use tps.")
    elif metric == "tpm_c" and not workload.get("pacing", False):
        on.bad_at(here, "`tpm_c` needs `pacing: true`; without it the number is `nopm`.")


def is_tpcc(workload: str) -> bool:
    return workload.split("/", maxsplit=1)[0] == "tpcc"


def unique_names(tests: Sequence[tuple[str, str]], on: Reading) -> None:
    """Shape: (name, path) of each test."""
    seen: set[str] = set()
    for name, path in tests:
        if name in seen:
            on.bad_at(f"{path}.name", f"Two tests are called `{name}`; rename one.")
        seen.add(name)


_RULES: tuple[Callable[[Json, str, Reading], None], ...] = (_database, _topology, _workload, _measure, _limits)
