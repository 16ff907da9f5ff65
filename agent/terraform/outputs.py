"""A module's outputs, and the `machines` among them."""

import ipaddress
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from stackly.engine.contracts.site import MachineOut, MachineSpec
from stackly.errors import Invalid
from stackly.temporal.steps import RESULT_CAP_BYTES

_MOST_BYTES = RESULT_CAP_BYTES // 2
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Public:
    """Outputs that are not sensitive. Shape: `dropped` for their size; `faulty` name -> why it cannot be stored."""

    values: dict[str, Any]
    dropped: list[str]
    faulty: dict[str, str]

    @property
    def fault(self) -> str:
        """The sentence that ends the run; '' when everything can be stored."""
        told = "; ".join(f"output {name!r} holds {why}" for name, why in sorted(self.faulty.items()))
        return f"Applied, and not all can be stored: {told}. Correct the module and push again." if told else ""


def public(outputs: dict[str, Any]) -> Public:
    found = Public({}, [], {})
    room = _MOST_BYTES
    for name, output in outputs.items():
        value = _rounded(output.get("value"))
        if output.get("sensitive"):
            continue
        if why := _unstorable(value):
            found.faulty[name] = why
            continue
        size = len(json.dumps(value))
        if size > room:
            found.dropped.append(name)
            continue
        room -= size
        found.values[name] = value
    return found


def _rounded(value: Any) -> Any:
    """Fractions as everybody keeps them. What is too large for that stays as it is."""
    if isinstance(value, Decimal):
        return float(value) if math.isfinite(float(value)) else value
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def _unstorable(value: Any) -> str:
    """What a database's JSON cannot hold: Terraform's can."""
    if isinstance(value, str):
        if "\0" in value:
            return "the character U+0000"
        return "half a character (a surrogate)" if _SURROGATE.search(value) else ""
    if isinstance(value, Decimal):
        return "a number that is too large"
    if isinstance(value, dict):
        return next((why for part in value.items() for each in part if (why := _unstorable(each))), "")
    if isinstance(value, list):
        return next((why for each in value if (why := _unstorable(each))), "")
    return ""


def sensitive(outputs: dict[str, Any]) -> list[Any]:
    return [o.get("value") for o in outputs.values() if o.get("sensitive")]


def machines(outputs: dict[str, Any], asked: Sequence[MachineSpec], *, fixed_addresses: bool) -> dict[str, MachineOut]:
    """Raises: Invalid, a sentence for each way a module can miss its contract.

    `fixed_addresses`: the target makes the machines at the addresses we gave, so the module must repeat them.
    """
    if not asked:
        return {}
    if "machines" not in outputs:
        raise Invalid('The module has no output "machines": it must give { name = { id, internal_ip, public_ip } }.')
    value = outputs["machines"].get("value")
    if not isinstance(value, dict):
        raise Invalid('The output "machines" must be a map from machine name to { id, internal_ip, public_ip }.')
    wanted = {m.name for m in asked}
    if missing := sorted(wanted - set(value)):
        raise Invalid(f'The output "machines" lacks {", ".join(missing)}: every machine asked for must be in it.')
    if extra := sorted(set(value) - wanted):
        raise Invalid(f'The output "machines" has {", ".join(extra)}, which nobody asked for.')
    return {m.name: _machine(m, value[m.name], fixed_address=fixed_addresses) for m in asked}


def _machine(asked: MachineSpec, value: Any, *, fixed_address: bool) -> MachineOut:
    where = f'The output "machines".{asked.name}'
    if not isinstance(value, dict):
        raise Invalid(f"{where} must be an object with id, internal_ip and public_ip.")
    for name in ("id", "internal_ip"):
        if not isinstance(value.get(name), str) or not value[name]:
            raise Invalid(f"{where}.{name} must be a text that is not empty.")
        if why := _unstorable(value[name]):
            raise Invalid(f"{where}.{name} holds {why}.")
    public_ip = value.get("public_ip") or ""
    for name, address in (("internal_ip", value["internal_ip"]), ("public_ip", public_ip)):
        if address and not _is_address(address):
            raise Invalid(f"{where}.{name} is {address!r}, which is no IP address.")
    if fixed_address and value["internal_ip"] != asked.internal_ip:
        raise Invalid(f"{where}.internal_ip is {value['internal_ip']}, and {asked.internal_ip} was given.")
    return MachineOut(value["id"], value["internal_ip"], public_ip)


def _is_address(text: Any) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
