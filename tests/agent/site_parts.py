"""A gateway that remembers, for tests of the site agent's rooms."""

import asyncio
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from stackly.engine.contracts.site import MachineSpec, ModuleInput
from stackly.temporal.steps import StepKey

MODULE = """
variable "stackly" { type = any }
variable "stackly_user_data" {
  type      = map(string)
  sensitive = true
}
resource "terraform_data" "machine" {
  for_each = var.stackly.machines
  input    = { id = each.key, internal_ip = each.value.internal_ip }
}
output "machines" {
  value = { for n, m in terraform_data.machine : n => {
    id = m.output.id, internal_ip = m.output.internal_ip, public_ip = ""
  } }
}
output "secret" {
  value     = var.stackly_user_data
  sensitive = true
}
output "cidr" { value = var.stackly.network_cidr }
"""


def bundle(**files: str) -> bytes:
    """File names with `__` for a dot and `/` as they are: main__tf='...'."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo("stack/" + name.replace("__", "."))
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


@dataclass
class FakeEnrolment:
    token: str
    agent_id: str
    enrol_address: str = "127.0.0.1:1"
    ca_pem: bytes = b"-----BEGIN CERTIFICATE-----\n"


@dataclass
class FakeContext:
    """With `folder`, states live on disk, so that a context of another process sees them."""

    key: StepKey
    tree: bytes = b""
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    folder: Path | None = None
    refuse: str = ""
    states: list[bytes] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)
    base: bytes = b""

    def log(self, text: str, level: str = "info") -> None:
        self.lines.append((level, text))

    @property
    def text(self) -> str:
        return "\n".join(t for _, t in self.lines)

    def point(self, **values: object) -> None:
        raise AssertionError("a site agent has no series")

    async def read_tree(self) -> bytes:
        return self.tree

    async def read_state(self) -> bytes:
        if self.folder:
            stored = sorted(self.folder.iterdir(), key=lambda p: int(p.name))
            return stored[-1].read_bytes() if stored else b""
        return self.states[-1] if self.states else self.base

    async def write_state(self, state: bytes) -> tuple[bool, str]:
        if self.refuse:
            return False, self.refuse
        self.states.append(state)
        if self.folder:
            part = self.folder.parent / f"{self.folder.name}.part"
            part.write_bytes(state)
            part.rename(self.folder / str(json.loads(state)["serial"]))
        return True, ""

    async def put_artifact(self, name: str, path: Path, media_type: str = "") -> str:
        raise AssertionError("a site agent has no artifacts")

    async def issue_enrolment(self, machine: str) -> FakeEnrolment:
        self.issued.append(machine)
        return FakeEnrolment(f"stk_enrol_{machine}-{len(self.issued)}-secret", f"agent-{machine}")


def key(run: str = "r1", test: str = "tpcb", epoch: int = 1, attempt: int = 1) -> StepKey:
    return StepKey(run, test, "apply", attempt, epoch)


MACHINES = [MachineSpec("db", "127.64.0.2", 2, 4, 20), MachineSpec("load", "127.64.0.3", 2, 4, 20)]


def module_input(
    at: StepKey,
    *,
    machines: list[MachineSpec] | None = None,
    variables: dict[str, object] | None = None,
    environment: str = "",
    creates_only: bool = False,
    target: str = "local",
    timeout_s: float = 120.0,
) -> ModuleInput:
    return ModuleInput(
        key=at,
        target=target,
        path="stack",
        variables=variables or {},
        network_cidr="127.64.0.0/28" if machines else "",
        machines=machines or [],
        labels={"stackly.run": at.run},
        environment=environment,
        creates_only=creates_only,
        timeout_s=timeout_s,
    )
