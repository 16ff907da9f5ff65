"""The suite file's one definition: the parser reads by it, and the published JSON Schema is written from it."""

from typing import Any

from stackly.suites.kinds import (
    Decimal,
    Duration,
    Field,
    Flag,
    Free,
    Kind,
    ListOf,
    MapOf,
    Percent,
    Record,
    ScalarOr,
    Text,
    Verbatim,
    Whole,
)
from stackly.suites.model import METRICS

ROLES = ("postgres", "etcd", "pgbouncer", "haproxy", "generator")
EXPORTERS = ("node", "postgres", "pgbouncer", "haproxy", "etcd", "patroni")
ISOLATIONS = ("read uncommitted", "read committed", "repeatable read", "serializable")
KILLS = ("leader", "replica", "pgbouncer", "haproxy", "etcd")
DRIVERS = ("pgbench", "stroppy")
PRESETS = ("standalone", "primary-replica", "patroni", "patroni-pgbouncer", "patroni-haproxy")
WORKLOADS = {
    "pgbench": ("tpcb-like", "simple-update", "select-only"),
    "stroppy": ("tpcb/tx", "tpcb/procs", "tpcc/tx", "tpcc/procs"),
}
_STROPPY: dict[str, Kind] = {"retryAttempts": Whole(0, 1_000_000), "loadWorkers": Whole(1, 1024)}
# Per driver, or per driver and family of its workloads; names as the driver spells them.
PARAMS: dict[str, dict[str, Kind]] = {
    "pgbench": {
        "protocol": Text(choices=("simple", "extended", "prepared")),
        "jobs": Whole(1, 1024),
        "max_tries": Whole(0, 1_000_000),
        "fillfactor": Whole(10, 100),
        "partitions": Whole(0, 1024),
        "foreign_keys": Flag(),
        "unlogged_tables": Flag(),
    },
    "stroppy/tpcb": _STROPPY,
    "stroppy/tpcc": {
        **_STROPPY,
        "warehouseStart": Whole(1, 100_000),
        "loadItems": Flag(),
        "pgUnlogged": Flag(),
    },
}
# Stackly writes these itself; a suite that set them would cut the platform off or open the server.
OWNED_SETTINGS = frozenset(
    [
        "listen_addresses",
        "port",
        "data_directory",
        "config_file",
        "hba_file",
        "ident_file",
        "external_pid_file",
        "unix_socket_directories",
        "unix_socket_permissions",
        "password_encryption",
        "ssl",
    ]
)

_SLUG = "[a-z][a-z0-9-]{0,62}"
NAME = Text("a name of a-z, 0-9 and -, starting with a letter, 63 characters at most", _SLUG, longest=63)
_OPTION = "[A-Za-z_][A-Za-z0-9_.]{0,99}"

DATABASE = Record(
    "database",
    (
        Field("engine", Text(choices=("postgres",)), required=True, doc="`engine: postgres`"),
        Field(
            "version",
            Text('a version in quotes, such as "17" or "17.2"', r"[0-9]{1,2}(\.[0-9]{1,3})?", longest=6, numbers=True),
            required=True,
            doc='the version asked for, such as "17"; it is asserted against the server',
        ),
        Field(
            "image",
            Text("an image with a tag or digest", r"[^\s]+", longest=300),
            doc="a container image, never latest; found once a run, awaited up to 30 minutes; target docker",
        ),
        Field("connection", Text("the name of a secret", "[A-Za-z0-9_.-]+", longest=100), doc="name of a secret"),
        Field("settings", MapOf(Verbatim(), "settings", _OPTION), {}, doc="postgresql.conf"),
    ),
)
NODE = Record(
    "a node",
    (
        Field("count", Whole(1, 16), 1),
        Field("roles", ListOf(Text(choices=ROLES), 1, len(ROLES), "roles"), required=True, doc="a list of roles"),
        Field("cores", Whole(1, 1024), 2),
        Field("memory_gb", Whole(1, 16_384), 4),
        Field("disk_gb", Whole(1, 65_536), 20),
    ),
)
_OPTIONS = MapOf(Free(), "options", _OPTION)
TOPOLOGY = Record(
    "topology",
    (
        Field("preset", Text(choices=PRESETS)),
        Field("nodes", MapOf(NODE, "nodes", _SLUG, lo=1, hi=16)),
        Field("patroni", _OPTIONS),
        Field("pgbouncer", _OPTIONS),
        Field("haproxy", _OPTIONS),
        Field("backup", _OPTIONS),
        Field("exporters", ListOf(Text(choices=EXPORTERS), 0, len(EXPORTERS), "exporters")),
    ),
)
WORKLOAD = Record(
    "workload",
    (
        Field("driver", Text(choices=DRIVERS), "pgbench"),
        Field(
            "driver_version",
            Text("one exact version, such as 5.7.3", r"v?[0-9]+(\.[0-9]+){1,2}([-+][\w.]+)?", numbers=True),
        ),
        Field(
            "name",
            Text("the workload as its driver spells it", r"[A-Za-z0-9][A-Za-z0-9_./-]*", longest=100),
            required=True,
        ),
        Field("params", MapOf(Free(), "parameters", "[A-Za-z_][A-Za-z0-9_.-]{0,99}"), {}),
        Field("scale_factor", Whole(1, 100_000), 1, doc="warehouses, or pgbench's scale"),
        Field("clients", Whole(1, 10_000), 8, doc="connections"),
        Field("isolation", Text(choices=ISOLATIONS), "read committed"),
        Field("pacing", Flag(), False, doc="keying and think times"),
        Field("rate", Decimal(0.001, 10_000_000), doc="open loop, transactions a second"),
    ),
)
REPEATS = Record("repeats", (Field("min", Whole(1, 100)), Field("max", Whole(1, 100))))
MEASURE = Record(
    "measure",
    (
        Field("prepare", Text(choices=("once", "each")), "once"),
        Field("warmup", Duration("0s", "1h"), 60),
        Field("duration", Duration("5s", "24h"), 120),
        Field("repeats", ScalarOr(Whole(1, 100), REPEATS)),
    ),
)
FAULT = Record(
    "a fault",
    (
        Field("at", Duration("0s", "24h"), required=True, doc="when, within the sample's duration"),
        Field("kill", Text(choices=KILLS), required=True),
    ),
)
_LIMIT = Decimal(-1e15, 1e15)
THRESHOLD = Record("a threshold", (Field("min", _LIMIT), Field("max", _LIMIT)))
EFFECT = Record("a deciding metric", (Field("min_effect", Percent(0.5, 50), 0.05),))
COMPARISON = Record(
    "comparison",
    (
        Field(
            "baseline",
            Text("merge-base, previous, none, a tag or a commit", r"[A-Za-z0-9][A-Za-z0-9_./-]*", longest=200),
        ),
        Field("order", Text(choices=("interleaved", "separate"))),
        Field("metrics", MapOf(EFFECT, "metrics", keys=METRICS, lo=1, hi=8)),
        Field("alpha", Decimal(0.001, 0.2), 0.05, doc="false-alarm rate of the whole run"),
    ),
)
_SCALAR = Free()
MATRIX_RESERVED = ("include", "exclude")
TEST = Record(
    "a test",
    (
        Field("name", NAME, required=True, literal=True),
        Field("matrix", MapOf(_SCALAR, "axes", "[A-Za-z_][A-Za-z0-9_]{0,62}", lo=1, hi=16), literal=True),
        Field("database", DATABASE, required=True, doc="engine and version"),
        Field("topology", TOPOLOGY),
        Field("workload", WORKLOAD, required=True, doc="driver and name"),
        Field("measure", MEASURE),
        Field("faults", ListOf(FAULT, 0, 16, "faults")),
        Field("thresholds", MapOf(THRESHOLD, "metrics", keys=METRICS)),
        Field("comparison", COMPARISON),
    ),
)


def matrix_schema() -> dict[str, Any]:
    scalar = {"type": ["string", "number", "boolean"]}
    entry = {"type": "object", "minProperties": 1, "additionalProperties": scalar}
    axis = {"type": "array", "items": scalar, "minItems": 1, "maxItems": 64, "uniqueItems": True}
    entries = {"type": "array", "items": entry}
    return {
        "type": "object",
        "minProperties": 1,
        "properties": dict.fromkeys(MATRIX_RESERVED, entries),
        "additionalProperties": axis,
    }
