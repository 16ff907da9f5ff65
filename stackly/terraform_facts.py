"""What a Terraform file says that must be known before Terraform runs: read by scan, in both of its languages."""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from stackly.terraform_text import attribute, blocks, place, tokens

_BACKENDS = ("backend", "cloud")


def is_module_file(name: str) -> bool:
    return name.endswith((".tf", ".tf.json"))


@lru_cache(maxsize=256)
def sensitive_variables(text: str, *, is_json: bool) -> frozenset[str]:
    """Variables declared sensitive. What is not plainly `false` counts: logs are written before Terraform judges."""
    if is_json:
        found = ((name, body.get("sensitive", False)) for name, body in _bodies(_read(text), "variable"))
        return frozenset(name for name, value in found if value not in (False, "false"))
    out = set()
    for block in blocks(tokens(text)):
        value = [t.text for t in attribute(block.body, "sensitive")]
        if block.type == "variable" and block.labels and value not in ([], ["false"]):
            out.add(block.labels[0])
    return frozenset(out)


def json_variables(text: str) -> dict[str, bool] | None:
    """Variables, and whether they have a default. None: no JSON object."""
    try:
        found = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    return {name: "default" in body for name, body in _bodies(found, "variable")}


def prevented(text: str, *, is_json: bool) -> list[tuple[str, int, int]]:
    """Resources that set `prevent_destroy`. Shape: address, line, column; a JSON file has no places."""
    if is_json:
        return [(address, 1, 1) for address in _prevented_json(_read(text))]
    out = []
    for resource in blocks(tokens(text)):
        for inner in blocks(resource.body) if resource.type == "resource" else ():
            value = attribute(inner.body, "prevent_destroy") if inner.type == "lifecycle" else ()
            if value and [t.text for t in value] != ["false"]:
                out.append((".".join(resource.labels), *place(text, value[0].at)))
    return out


def backends(text: str, *, is_json: bool) -> list[tuple[int, str]]:
    """`backend` and `cloud` blocks of `terraform` blocks. Shape: line, and which it is."""
    if is_json:
        return [(1, name) for body in _groups(_read(text).get("terraform")) for name in _BACKENDS if name in body]
    return [
        (place(text, inner.at)[0], inner.type)
        for block in blocks(tokens(text))
        if block.type == "terraform"
        for inner in blocks(block.body)
        if inner.type in _BACKENDS
    ]


def declares(text: str, kind: str, *, is_json: bool) -> list[tuple[int, int]]:
    """The places of the top-level blocks of one kind."""
    if is_json:
        found = _read(text).get(kind, [])
        return [(1, 1)] * (len(found) if isinstance(found, list | dict) else 1)
    return [place(text, block.at) for block in blocks(tokens(text)) if block.type == kind]


def _read(text: str) -> dict[str, Any]:
    """What cannot be read says nothing: Terraform will say why."""
    try:
        found = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _groups(value: Any) -> list[dict[str, Any]]:
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, dict)]


def _bodies(inside: dict[str, Any], kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for group in _groups(inside.get(kind)):
        for name, bodies in group.items():
            for body in _groups(bodies):
                yield name, body


def _prevented_json(data: dict[str, Any]) -> Iterator[str]:
    for kind, named in _bodies(data, "resource"):
        for name, bodies in named.items():
            for lifecycle in (each for body in _groups(bodies) for each in _groups(body.get("lifecycle"))):
                if lifecycle.get("prevent_destroy", False) not in (False, "false"):
                    yield f"{kind}.{name}"
