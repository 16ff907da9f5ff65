"""Any module whose `terraform apply` makes the machines itself: there is nothing to boot and nothing to remove."""

from typing import ClassVar

from agent.context import StepContext
from agent.targets.target import Target, TargetSite
from stackly.engine.contracts.site import BootInput, InventoryItem, ProbeOutcome


class ModuleTarget(Target):
    """The module starts the edge agents (by the cloud-config it is given) and Terraform's destroy ends them."""

    name: ClassVar[str] = "module"
    makes_machines: ClassVar[bool] = False

    async def probe(self, cidr: str) -> ProbeOutcome:
        return ProbeOutcome(free=True, reason=f"{cidr} is the module's to use: this agent cannot look there.")

    async def boot(self, given: BootInput, context: StepContext) -> dict[str, str]:
        context.log(f"Nothing to boot: the module made {len(given.machines)} machines itself.")
        return {}

    async def remove(self, run: str, test: str) -> list[str]:  # noqa: ARG002 - nothing is there by definition
        return []

    async def inventory(self, run: str, test: str) -> list[InventoryItem]:  # noqa: ARG002 - the same
        return []


def create(site: TargetSite) -> Target:  # noqa: ARG001 - every target is made alike
    return ModuleTarget()
