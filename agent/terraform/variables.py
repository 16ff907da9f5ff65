"""What a module is given: the contract's two variables, its own, in one 0600 file."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from agent.context import Enrolment
from stackly.engine.contracts.site import ModuleInput
from stackly.errors import Invalid
from stackly.temporal.steps import StepKey

CONTRACT = ("stackly", "stackly_user_data")
ENROLMENT_PATH = "/etc/stackly/enrolment.json"


def enrolment_entry(
    key: StepKey, machine: str, internal_ip: str, enrolment: Enrolment, home: str, **more: str
) -> dict[str, str]:
    """The file an edge agent starts from. Holds a one-time token: 0600 wherever it is written."""
    return {
        "token": enrolment.token,
        "enrol_address": enrolment.enrol_address,
        "ca_pem": enrolment.ca_pem.decode(),
        "agent_id": enrolment.agent_id,
        "home": home,
        "run": key.run,
        "test": key.test,
        "machine": machine,
        "internal_ip": internal_ip,
        **more,
    }


def cloud_config(entry: Mapping[str, str]) -> str:
    """One `write_files` entry. Shape: cloud-config is YAML, and every JSON text is YAML."""
    content = base64.b64encode(json.dumps(entry).encode()).decode()
    file = {"path": ENROLMENT_PATH, "permissions": "0600", "owner": "root:root", "encoding": "b64", "content": content}
    return "#cloud-config\n" + json.dumps({"write_files": [file]}) + "\n"


def render(given: ModuleInput, user_data: Mapping[str, str]) -> dict[str, Any]:
    """The variables file's content. `user_data` has every machine's name, with '' where there is nothing to say.

    Raises: Invalid when the stack's own variables take a name of the contract.
    """
    taken = [name for name in CONTRACT if name in given.variables and given.machines]
    if taken:
        raise Invalid(f"Variables {', '.join(taken)} are set by Stackly: remove them from stackly.hcl.")
    values = dict(given.variables)
    if given.environment:
        values.setdefault("environment", given.environment)
    if given.machines:
        values["stackly"] = {
            "run_id": given.key.run,
            "network_cidr": given.network_cidr,
            "machines": {
                m.name: {
                    "cores": m.cores,
                    "memory_gb": m.memory_gb,
                    "disk_gb": m.disk_gb,
                    "internal_ip": m.internal_ip,
                }
                for m in given.machines
            },
            "labels": given.labels,
        }
        values["stackly_user_data"] = {m.name: user_data.get(m.name, "") for m in given.machines}
    return values


def check_declared(given: ModuleInput, declared: Mapping[str, Any]) -> None:
    """`declared`: the root module's variables as the plan's configuration shows them. Raises: Invalid."""
    if given.machines:
        missing = [name for name in CONTRACT if name not in declared]
        if missing:
            raise Invalid(
                f"{given.path}: a module with a suite must declare {' and '.join(_quoted(missing))} "
                "(see examples/pg-standalone/main.tf)."
            )
        if not declared["stackly_user_data"].get("sensitive"):
            raise Invalid(f'{given.path}: variable "stackly_user_data" must be sensitive = true: it holds tokens.')
    unknown = sorted(set(given.variables) - set(declared) - {"environment"})
    if unknown:
        raise Invalid(
            f"{given.path}: stackly.hcl sets {', '.join(_quoted(unknown))}, which the module does not declare."
        )


def _quoted(names: list[str]) -> list[str]:
    return [f'"{n}"' for n in names]
