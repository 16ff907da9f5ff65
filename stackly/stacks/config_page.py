"""`python -m stackly.stacks.config_page`: docs/stackly-hcl.md and its JSON Schema, from the one definition."""

import json
from pathlib import Path
from typing import Any, Final

from stackly.hcl_shape import MAX_BLOCKS, MAX_ITEMS, Field, Shape
from stackly.stacks.config import MAX_BYTES
from stackly.stacks.config_schema import STACK, json_schema

DOCS: Final = Path(__file__).parents[2] / "docs"
SCHEMA_FILE: Final = "stackly-hcl.schema.json"
PAGE_FILE: Final = "stackly-hcl.md"

_EXAMPLE = """\
stack "orders" {
  version  = "1.0.0"
  policies = ["deployment_window"]
  suite    = "suite.yaml"
  target   = "docker"

  variables {
    environment = "staging"
    region      = "us-west-2"
  }

  hooks {
    pre_plan   = ["validate_quotas"]
    post_apply = ["notify_slack"]
  }

  trigger {
    branches = ["main", "release/*"]
    paths    = ["src/storage/**", "Makefile"]
  }

  budget {
    max_duration = "3h"
  }

  state "large" {
    variables {
      environment = "production"
    }
  }
}
"""

_HEAD = f"""\
# stackly.hcl

A directory with a `stackly.hcl` and at least one `*.tf` or `*.tf.json` file is a stack. This page and
[the JSON Schema]({SCHEMA_FILE}) are made from the definition that the reader itself uses
(`python -m stackly.stacks.config_page`); `stackly schema stack` prints the latter.

```hcl
{_EXAMPLE}```

Only the `stack` block is needed; everything in it may be left out.

## How it is read

- Strictly: an unknown block or attribute, a wrong type, or a name set twice is refused. All problems of a file
  are told at once, each as `file:line:column`; only a syntax error ends the reading at its place.
- Literals only: no references, functions or `${{...}}`.
- A file has at most {MAX_BYTES // 1024} KB, a list {MAX_ITEMS} entries, one type of block {MAX_BLOCKS} of its kind.
- A file that takes longer than ten seconds of processor time to read is refused.
- A policy that the account does not have is refused where it is named.

## Patterns of `trigger.paths`

They are compared with whole paths from the repository's root. `*` and `?` stay within one name, `**` stands for any
number of directories. A pattern without a wildcard names a file, or a directory with everything below it; one that
ends with `/` names directories only. Case counts.
"""


def page() -> str:
    """Shape: Markdown, one section a block."""
    return "\n".join([_HEAD, *_sections(STACK, ()), *_later()])


def _later() -> list[str]:
    """What is refused because nothing carries it out yet."""
    out = ["## Not carried out yet", "", "These words are refused at their line, each with what to do instead.", ""]
    return out + [f"- {line}" for line in _unbuilt(STACK, ())] + [""]


def _unbuilt(shape: Shape, above: tuple[str, ...]) -> list[str]:
    path = (*above, shape.name)
    own = [
        f"`{' > '.join((*path[1:], u.name))}{' = ' + json.dumps(u.values[0]) if u.values else ''}`: {u.instead}"
        for u in shape.unbuilt
    ]
    return own + [line for block in shape.blocks for line in _unbuilt(block, path)]


def schema() -> str:
    return json.dumps(json_schema(), indent=2) + "\n"


def example() -> str:
    """The page's own, which has to be valid."""
    return _EXAMPLE


def _sections(shape: Shape, above: tuple[str, ...]) -> list[str]:
    path = (*above, shape.name)
    title = f"## `{' > '.join(path)}`"
    out = [title, "", shape.about + _label(shape), ""]
    if shape.free:
        out += ["Any names; their values are literals.", ""]
    if shape.fields:
        out += ["| attribute | type | default | allowed | |", "|---|---|---|---|---|"]
        out += [_row(field) for field in shape.fields]
        out.append("")
    if shape.blocks:
        out += ["Blocks: " + ", ".join(f"`{b.name}`" for b in shape.blocks) + ".", ""]
    for block in shape.blocks:
        out += _sections(block, path)
    return out


def _label(shape: Shape) -> str:
    if shape.label is None:
        return " One block, without a name."
    how_many = f"Up to {MAX_BLOCKS} blocks" if shape.many else "One block"
    return f' {how_many}, `{shape.name} "name" {{`; the name matches `{shape.label}`.'


def _row(field: Field) -> str:
    kind = (
        "list of texts"
        if field.kind == "list"
        else {"string": "text", "bool": "true or false"}.get(field.kind, "number")
    )
    told = [f"`{field.name}`", kind, _default(field), _allowed(dict(field.schema)), field.about]
    return "| " + " | ".join(part.replace("|", "\\|") for part in told) + " |"


def _default(field: Field) -> str:
    if field.required:
        return "required"
    if field.default in (None, ()):
        return ""
    if field.kind == "string" and isinstance(field.default, int):  # a duration, read as seconds
        return f"`{field.default // 60}m`" if field.default % 3600 else f"`{field.default // 3600}h`"
    return f"`{json.dumps(field.default)}`"


def _allowed(extra: dict[str, Any]) -> str:
    if "enum" in extra:
        return ", ".join(f"`{json.dumps(choice)}`" for choice in extra["enum"])
    return f"`{extra['pattern']}`" if "pattern" in extra else ""


if __name__ == "__main__":
    (DOCS / PAGE_FILE).write_text(page())
    (DOCS / SCHEMA_FILE).write_text(schema())
