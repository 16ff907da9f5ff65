"""The components of a home: their commands, addresses and order."""

import json
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

from stackly.errors import Unavailable
from stackly.local import postgres, release
from stackly.local.component import Component, both, connected, http_ok, keeps_files, readiness, tcp
from stackly.local.home import Config, Home, write_private
from stackly.local.s3_keys import NO_ORIGIN, S3Keys

NAMES = ("postgres", "temporal", "s3", "hub", "api", "gateway", "dispatcher", "control", "agent")


def of(home: Home, config: Config) -> list[Component]:
    """In start order; a component starts when those it needs are ready, and they stop in reverse."""
    return [
        _postgres(home, config),
        _temporal(home, config),
        _s3(home, config),
        _hub(home, config),
        _api(home, config),
        _gateway(home, config),
        _worker(home, config, "dispatcher", "stackly.control.dispatcher"),
        _worker(home, config, "control", "stackly.control.worker"),
        _agent(home, config),
    ]


def program(name: str) -> str:
    """A program of our own environment, or of PATH. Raises: Unavailable."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise Unavailable(f"The program `{name}` is missing: make up in a checkout, or pip install 'stackly[local]'")
    return found


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def cluster(home: Home, config: Config) -> postgres.Cluster:
    return postgres.Cluster(home.run("postgres"), config.ports["postgres"], config.secrets["postgres"])


def _postgres(home: Home, config: Config) -> Component:
    port = config.ports["postgres"]
    return Component(
        name="postgres",
        argv=postgres.command(cluster(home, config)),
        cwd=home.run("postgres"),
        address=config.address("postgres"),
        ready=tcp(port),
        ports=(port,),
        before=(_python("stackly.local.bootstrap", "postgres"),),
        stop_signal=signal.SIGINT,  # Postgres' fast shutdown: sessions are ended, data is flushed
        grace_s=20,
        health=partial(postgres.health, cluster(home, config)),
    )


def _temporal(home: Home, config: Config) -> Component:
    data = home.path / "temporal"
    data.mkdir(mode=0o700, exist_ok=True)
    port = config.ports["temporal"]
    argv = [program("temporal"), "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(port)]
    argv += ["--http-port", str(config.ports["temporal_http"])]
    argv += ["--metrics-port", str(config.ports["temporal_metrics"])]
    argv += ["--db-filename", str(data / "temporal.db"), "--log-level", "warn"]
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
        argv += ["--sqlite-pragma", pragma]
    # The dev server's one shard is polled 20 times a second by default: 45 ms a task instead of 2.
    argv += ["--dynamic-config-value", "history.transferProcessorMaxPollRPS=1000"]
    # Its HTTP endpoint cannot be closed: a page would start and end workflows by a form. So it serves no host there is.
    argv += ["--dynamic-config-value", 'frontend.httpAllowedHosts=["nobody.invalid"]']
    # Nor may it take its namespace, and with it every workflow for good.
    argv += ["--dynamic-config-value", 'worker.protectedNamespaces=["default"]']
    # An agent's poll that ends takes no task with it.
    argv += ["--dynamic-config-value", "frontend.enableCancelWorkerPollsOnShutdown=true"]
    return Component(
        name="temporal",
        argv=argv,
        cwd=home.run("temporal"),
        address=config.address("temporal"),
        ready=tcp(port),
        ports=(port, config.ports["temporal_http"], config.ports["temporal_metrics"]),
    )


def _s3(home: Home, config: Config) -> Component:
    data = home.path / "s3"
    data.mkdir(mode=0o700, exist_ok=True)
    credentials = home.supervisor / "s3.json"
    write_private(credentials, json.dumps(_s3_identities(config)))
    keys = S3Keys(home.run("s3"), config.secrets["s3_secret"])
    keys.make()
    ports = {name: port for name, port in config.ports.items() if name.startswith("s3")}
    # Its log files would lie open to everybody in /tmp; what it says is kept by the supervisor anyway.
    argv = [program("weed"), "-logtostderr=true", "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    argv += ["-filer", "-s3", f"-s3.config={credentials}"]
    for part in ("master", "volume", "filer"):
        argv += [f"-{part}.port={ports[f's3_{part}']}", f"-{part}.port.grpc={ports[f's3_{part}_grpc']}"]
    argv += [f"-s3.port={ports['s3']}", f"-s3.port.grpc={ports['s3_grpc']}"]
    # Two doors nobody asked for; and room for more than the one bucket that 10 volumes of 30 GB would hold.
    argv += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=200", "-master.volumeSizeLimitMB=64"]
    argv += [f"-s3.allowedOrigins={NO_ORIGIN}", f"-filer.allowedOrigins={NO_ORIGIN}"]
    # Alone, it need not wait ten seconds at every restart for others to stand for election; and it tells nobody of us.
    argv += ["-master.electionTimeout=1s", "-master.heartbeatInterval=100ms", "-master.telemetry=false"]
    # It would go on for ten seconds after SIGTERM so that a balancer may notice; here is none.
    argv += ["-volume.preStopSeconds=0"]
    return Component(
        name="s3",
        argv=argv,
        cwd=home.run("s3"),
        address=config.address("s3"),
        ready=both(http_ok(ports["s3"], "/healthz"), keeps_files(ports["s3_filer"], keys)),
        ports=tuple(ports.values()),
        ready_s=120,  # it reads its volumes at a restart
        grace_s=3,  # it rarely ends by itself in time, and what it acknowledged survives SIGKILL
    )


def _s3_identities(config: Config) -> dict[str, object]:
    keys = {"accessKey": config.secrets["s3_access"], "secretKey": config.secrets["s3_secret"]}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": "stackly", "credentials": [keys], "actions": actions}]}


def _hub(home: Home, config: Config) -> Component:
    data = home.path / "hub"
    data.mkdir(mode=0o700, exist_ok=True)
    port = config.ports["hub"]
    where = ("--home", str(data), "--config", str(home.config), "--host", "127.0.0.1", "--port", str(port))
    argv = _python("stackly.local.hub", *where)
    return Component(
        name="hub",
        argv=argv,
        code=release.fingerprint(),
        cwd=home.run("hub"),
        address=config.address("hub"),
        ready=http_ok(port, "/"),
        ports=(port,),
    )


def _api(home: Home, config: Config) -> Component:
    return Component(
        name="api",
        argv=_python("stackly.api.main"),
        code=release.fingerprint(),
        cwd=home.run("api"),
        address=config.address("api"),
        ready=http_ok(config.ports["api"], "/readyz", range(200, 300)),
        ports=(config.ports["api"],),
        needs=("postgres", "temporal", "s3", "hub"),
        once=(_python("stackly.local.bootstrap", "platform"),),
        health=readiness(config.ports["api"], "/readyz"),
    )


def _gateway(home: Home, config: Config) -> Component:
    return Component(
        name="gateway",
        argv=_python("stackly.api.grpc.main"),
        code=release.fingerprint(),
        cwd=home.run("gateway"),
        address=config.address("gateway"),
        ready=http_ok(config.ports["gateway_health"], "/readyz", range(200, 300)),
        ports=tuple(config.ports[name] for name in ("gateway", "enrol", "gateway_health")),
        needs=("postgres", "temporal", "s3", "api"),  # the API's start makes the tables
    )


def _worker(home: Home, config: Config, name: str, module: str) -> Component:
    return Component(
        name=name,
        argv=_python(module),
        code=release.fingerprint(),
        decides=True,
        cwd=home.run(name),
        address=config.address("temporal"),  # it listens nowhere: this is where it polls
        ready=connected(config.ports["temporal"]),
        needs=("postgres", "temporal", "s3", "api"),
        grace_s=15,
    )


def _agent(home: Home, config: Config) -> Component:
    data = home.path / "agent"
    data.mkdir(mode=0o711, exist_ok=True)  # machines below run Postgres under its own uid
    return Component(
        name="agent",
        argv=_python("agent.main", "site", "--home", str(data), "--enrolment", str(home.enrolment)),
        code=release.fingerprint(),
        cwd=home.run("agent"),
        address=config.address("gateway"),
        ready=connected(config.ports["gateway"]),
        needs=("gateway", "control"),
        once=(_python("stackly.local.terraform"),),
        before=(_python("stackly.local.bootstrap", "enrolment"),),
        grace_s=15,
    )
