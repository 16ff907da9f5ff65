"""A module's outputs, and the `machines` among them."""

import ipaddress
import json
from collections.abc import Sequence
from typing import Any

from stackly.engine.contracts.site import MachineOut, MachineSpec
from stackly.engine.contracts.steps import RESULT_CAP_BYTES
from stackly.errors import Invalid

_MOST_BYTES = RESULT_CAP_BYTES // 2


def public(outputs: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(values that may be shown, names left out for their size). Sensitive ones are in neither."""
    kept: dict[str, Any] = {}
    dropped: list[str] = []
    room = _MOST_BYTES
    for name, output in outputs.items():
        if output.get("sensitive"):
            continue
        size = len(json.dumps(output.get("value")))
        if size > room:
            dropped.append(name)
            continue
        room -= size
        kept[name] = output.get("value")
    return kept, dropped


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
