"""One step's Terraform: a run directory, the state in place, and the commands of that step."""

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent import reading, workdir
from agent.context import Cancelled, StepContext
from agent.processes import tail as tail_of
from agent.terraform import bundle, checks, leftovers, mirroring, providers, state
from agent.terraform import plan as plans
from agent.terraform.masking import Masker
from agent.terraform.output import Reader, tail
from agent.terraform.process import Command, TerraformSettings, locate, supervise
from agent.terraform.variables import check_declared, render
from stackly import clock
from stackly.engine.contracts.site import Approved, ModuleInput
from stackly.errors import Conflict, StacklyError

_LOCK_MOST = 1024 * 1024
_READ_MOST = 512 * 1024 * 1024  # a plan holds the state and all that would change


def sha256(work: workdir.RunDirectory, path: Path) -> str:
    """'' when there is no such file. Raises: FileUnsafe."""
    try:
        return hashlib.sha256(reading.read_regular(work.root, path, most=_READ_MOST)).hexdigest()
    except FileNotFoundError:
        return ""


@dataclass(slots=True)
class Session:
    """Shape: `base` is the state found before the step; `version` is Terraform's own, once it spoke."""

    home: Path
    settings: TerraformSettings
    given: ModuleInput
    context: StepContext
    executable: str
    work: workdir.RunDirectory
    uid: int
    until: float
    module: Path = field(default_factory=Path)
    base: state.Version | None = None
    version: str = ""
    mask: Masker = field(default_factory=Masker)

    async def terraform(self, *arguments: str, name: str = "", quiet: bool = False) -> Reader:
        """Run one command and follow what it says. Raises: Faulty with its diagnostics, Conflict, Cancelled."""
        verb = arguments[0]
        out = self.work.output / f"{name or verb}.out"
        err = self.work.output / f"{name or verb}.err"
        out.unlink(missing_ok=True)
        reader = Reader(_silent if quiet else self.context.log, self.mask)
        ended = asyncio.Event()
        tailing = asyncio.create_task(tail(out, reader.line, ended))
        shared = providers.shared(self.home)
        command = Command(self.executable, arguments, self.work, self.module, shared, out, err, self.uid)
        try:
            code = await supervise(
                command, self.settings, self.context.cancelled, timeout_s=self.until - clock.monotonic()
            )
        finally:
            ended.set()
            await tailing
        self.version = reader.version or self.version
        if code:
            raise reader.failure(verb, code, tail_of(err, 40))
        return reader

    async def prepare(self, user_data: dict[str, str]) -> None:
        """Fresh code, our backend, the variables, the newest state, providers."""
        self.work.make(self.uid)
        await self._restore()
        packed = await self.context.read_tree()
        checks.check_bundle(packed, self.given.bundle_sha256)
        self.module = bundle.unpack(packed, self.work, self.given.path)
        checks.check_overrides(self.work, self.module)
        bundle.write_backend(self.module, self.work)
        values = render(self.given, user_data)
        self.mask.learn(user_data, *checks.sensitive_values(self.work, self.module, values))
        workdir.write_private(self.work.variables, json.dumps(values).encode())
        bundle.write_cli_config(self.work, self.settings)
        await self._init()
        if self.given.creates_only:
            checks.check_destroyable(self.work, self.module)

    async def _restore(self) -> None:
        """The newest state in place; what an earlier change left here is in it, and counts no more."""
        self.base = await mirroring.restore(self.home, self.work, self.context, self.settings.grace_s)
        self.work.change.unlink(missing_ok=True)
        if self.base is not None:
            self.mask.learn(*self.base.sensitive)

    def _lend(self) -> None:
        """What the run's code works on becomes its user's; what it only reads stays ours."""
        for path in self.work.lent:
            workdir.give(path, self.uid)
        for path in (self.work.cli_config, self.work.variables, self.work.plan):
            if path.exists():
                workdir.lend(path, self.uid)

    async def _init(self) -> None:
        if self.settings.plugin_mirror is None:
            cache = providers.Cache(self.home, self.executable, self.settings)
            await cache.offer(self._lock(), self.work, self.context)
        self._lend()
        await self.terraform("init", "-input=false", "-no-color", "-json")
        bundle.check_backend(self.work)

    def _lock(self) -> str:
        try:
            content = reading.read_regular(self.work.root, self.module / ".terraform.lock.hcl", most=_LOCK_MOST)
        except FileNotFoundError:
            return ""
        return content.decode(errors="replace")

    async def plan(self, approved: Approved | None = None) -> plans.Plan:
        """Save a plan and judge it, against what was approved if something was.

        Raises: Invalid when the module misses the contract or the plan does too much.
        """
        whole = await self._whole(approved) if approved else None
        draft = self.work.draft
        await self.terraform("plan", "-json", "-input=false", f"-out={draft}", f"-var-file={self.work.variables}")
        # Our copy: code that runs while it is shown or applied cannot change what was approved.
        workdir.write_private(self.work.plan, reading.read_regular(self.work.root, draft, most=_READ_MOST))
        workdir.lend(self.work.plan, self.uid)
        raw = await self._show(str(self.work.plan))
        found = plans.read(raw)
        self.mask.learn(*found.sensitive)
        check_declared(self.given, found.declared)
        if whole is not None:
            plans.check_approved(raw, whole)
        elif approved is not None:
            plans.check_approved(raw, approved.summary, self.mask)
        if self.given.creates_only:
            plans.check_creates_only(raw, self.mask, recovering=self.base is not None and not self.base.empty)
        return found

    async def _whole(self, approved: Approved) -> list[str] | None:
        """All that the approved plan would do, from that plan itself, which an earlier life left here.

        None where it did not, and the summary names everything. Raises: Conflict where that names a part.
        """
        kept = self.work.approved
        for path in (kept, self.work.plan):
            if approved.plan_sha256 and sha256(self.work, path) == approved.plan_sha256:
                path.replace(kept)
                workdir.lend(kept, self.uid)
                raw = await self._show(str(kept))
                self.mask.learn(*plans.read(raw).sensitive)
                return plans.lines_of(raw)
        if approved.is_cut:
            raise Conflict(
                "The approved plan names more changes than are recorded of it, and its file is gone with the agent's "
                "earlier life: what is left of it cannot be told. Nothing more was applied; run it again to plan and "
                "approve anew."
            )
        return None

    async def _show(self, file: str) -> dict[str, Any]:
        await self.terraform("show", "-json", "-no-color", file, quiet=True)
        shown = self.work.output / "show.out"
        raw = state.load(reading.read_regular(self.work.root, shown, most=_READ_MOST))
        shown.unlink()
        return dict(raw)

    async def reopen(self, plan_sha256: str) -> None:
        """Stand where `plan` stood. Raises: Conflict when that plan is not here any more."""
        if sha256(self.work, self.work.plan) != plan_sha256:
            raise Conflict("The plan is gone: it was made by an earlier life of this agent. Plan again.")
        self.module = bundle.module_directory(self.work, self.given.path)
        self.work.make(self.uid)
        await self._restore()
        self._lend()
        self.mask.learn(*plans.read(await self._show(str(self.work.plan))).sensitive)

    async def change(self, *arguments: str) -> Reader:
        """Apply or destroy: the state is mirrored while it works, and its last version stored before this returns."""
        # Code that ran since may have put a link in its place.
        self.module = bundle.module_directory(self.work, self.given.path)
        leftovers.begin(self.work, self.module, self.base)
        mirror = mirroring.StateMirror(self.work, self.context, self.base)
        ended, failed = False, False
        try:
            reader = await self.terraform(*arguments)
            ended = True
        except (StacklyError, Cancelled):
            failed = True
            raise
        else:
            return reader
        finally:
            try:
                await mirror.finish(complete=ended)
            finally:
                if failed:
                    await mirroring.send_errored(self.work, self.context)

    async def close(self) -> None:
        """What holds tokens and secrets goes at once; the directory too, once its state is stored."""
        await workdir.discard(self.work)


def _silent(text: str, level: str) -> None:
    """Output that is data, not progress."""


def open_session(home: Path, settings: TerraformSettings, given: ModuleInput, context: StepContext) -> Session:
    key = given.key
    executable = locate(settings.executable)
    work = workdir.run_directory(home, key.run, key.test, key.epoch)
    work.make()
    return Session(
        home=home.absolute(),
        settings=settings,
        given=given,
        context=context,
        executable=executable,
        work=work,
        uid=settings.isolation.uid(work.root),
        until=clock.monotonic() + given.timeout_s,
    )
