"""The cost of the sandbox: a plan of fifty resources, and a sample of pgbench with its server, beside bare ones."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent import workdir
from agent.edge import EdgeSettings, EdgeWork
from agent.sandbox import isolation
from agent.sandbox.box import Kind
from agent.sandbox.isolation import Isolation
from agent.terraform import bundle
from agent.terraform.process import Command, TerraformSettings, environment, supervise
from stackly.engine.contracts.edge import (
    DatabaseInput,
    Endpoint,
    MeasureInput,
    PrepareInput,
    WarmupInput,
    WorkloadSpec,
)
from tests.agent.edge_parts import KEY, KeptContext, Secrets, free_port_now
from tests.agent.sandboxes import open_directory
from tests.bench.recording import record
from tests.conftest import Require

pytestmark = [pytest.mark.bench, pytest.mark.real]

_ROUNDS = 7
_MODULE = "".join(f'resource "terraform_data" "r{n}" {{ input = {n} }}\n' for n in range(50))


async def _seconds(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def _run(home: Path, kept: Isolation) -> tuple[Command, TerraformSettings]:
    settings = TerraformSettings(kept)
    work = workdir.run_directory(home, "bench", "", 1)
    work.make()
    uid = kept.uid(work.root)
    (work.tree / "main.tf").write_text(_MODULE)
    bundle.write_cli_config(work, settings)
    work.make(uid)
    workdir.lend(work.cli_config, uid)
    arguments = ("plan", "-json", "-input=false", f"-out={work.draft}")
    out, err = work.output / "plan.out", work.output / "plan.err"
    executable = shutil.which("terraform") or ""
    return Command(executable, arguments, work, work.tree, home / "providers", out, err, uid), settings


async def _bare(command: Command) -> None:
    argv = (command.executable, *command.arguments)
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *argv, cwd=command.directory, env=environment(command.work), stdin=quiet, stdout=quiet, stderr=quiet
    )
    assert await process.wait() == 0


async def test_a_plan(require: Require) -> None:
    require(shutil.which("terraform"), "terraform is not on PATH")
    with open_directory() as home:
        kept = isolation.find(home)
        require(kept.kind is not Kind.NONE, f"there is no sandbox: {kept.why}")
        command, settings = _run(home, kept)
        init = replace(command, arguments=("init", "-input=false", "-backend=false"))
        assert await supervise(init, settings, asyncio.Event(), timeout_s=120) == 0
        bare, boxed = [], []
        for _ in range(_ROUNDS):
            bare.append(await _seconds(lambda: _bare(command)))
            boxed.append(await _seconds(lambda: supervise(command, settings, asyncio.Event(), timeout_s=120)))
    ratio = statistics.median(boxed) / statistics.median(bare)
    print(f"\nplan in {kept.name}: {ratio:.3f} of a bare one's time")  # noqa: T201 - a bench prints
    record(sandbox_vs_bare=round(ratio, 3))


async def _tps(root: Path, kept: Isolation, seconds: float) -> list[float]:
    """Shape: a sample's rate, three times, of one server and one load."""
    work = EdgeWork(root / "m", Secrets(), "db", None, EdgeSettings(cache=root / "cache", isolation=kept))
    asked = {"shared_buffers": "64MB", "fsync": "off"}
    given = DatabaseInput(KEY, "postgres", "18", "127.0.0.1", free_port_now(), ["127.0.0.1"], asked)
    at, context = Endpoint("127.0.0.1", given.port, "bench"), KeptContext()
    clients = min(4, os.cpu_count() or 1)
    spec = WorkloadSpec(driver="pgbench", driver_version="", name="select-only", scale_factor=1, clients=clients)
    rates = []
    try:
        await work.start_database(given, context)
        await work.prepare(PrepareInput(KEY, spec, at), context)
        for sample in range(1, 4):
            await work.warmup(WarmupInput(KEY, spec, at, 1, sample), context)
            done = await work.measure(MeasureInput(KEY, spec, at, seconds, sample), context)
            assert done.valid, done.reason
            rates.append(float(done.result["tps"]))
    finally:
        await work.close()
    return rates


async def test_a_sample_of_pgbench(require: Require) -> None:
    with open_directory() as root:
        kept = isolation.find(root)
        require(kept.kind is not Kind.NONE, f"there is no sandbox: {kept.why}")
        bare = await _tps(root / "bare", Isolation(Kind.NONE), 4)
        boxed = await _tps(root / "boxed", kept, 4)
        bare += await _tps(root / "bare-again", Isolation(Kind.NONE), 4)
    ratio = statistics.median(boxed) / statistics.median(bare)
    print(f"\npgbench in {kept.name}: {ratio:.3f} of a bare one's rate")  # noqa: T201 - a bench prints
    record(sandbox_vs_bare_pgbench=round(ratio, 3))
