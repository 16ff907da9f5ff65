"""`python -m tests.stacks.lifecycle_page` writes docs/stack-lifecycle.md from the tables of transitions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stackly.stacks.transitions import CODE_TRANSITIONS, TRANSITIONS

PAGE = Path(__file__).parents[2] / "docs" / "stack-lifecycle.md"

_HEAD = """# The life of a stack and of its states

Written from the tables in `stackly/stacks/transitions.py` by `python -m tests.stacks.lifecycle_page`; a test keeps it
current. `move_state` in `stackly/stacks/lifecycle.py` is the only writer of a state's status. An event that has no
arrow here changes nothing, or is refused with what to do.

Code that goes away never destroys anything. A state that holds resources is `loose` then, with its reason, and so is
the stack; `stackly stack list --status loose` shows them. What ends that:

- the code comes back, or moved: a plan of the state against the code at its new place changes nothing, so the state
  follows; with changes it waits, with the evidence
- `stackly stack associate LOOSE TARGET` gives it other code, and a deploy that policies judge
- `stackly stack destroy LOOSE` destroys it by the code and the variables it was deployed with
- `stackly stack waive LOOSE --reason …`: a named person answers for it
- `deregister { action = "auto_destroy" after = "24h" }` in the stack's last stackly.hcl asks for the destroy after a
  delay; an event says so at once, `stackly stack destroy LOOSE --cancel` calls it off, and the time stands still while
  the repository is suspended, archived, deleted or the App is uninstalled
"""


def _chart(first: str, table: Mapping[Any, Mapping[Any, str]]) -> str:
    arrows = [
        f"    {status} --> {target}: {event}"
        for status, events in table.items()
        for event, target in sorted(events.items())
        if status != target
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {first}", *arrows, "```"])


def page() -> str:
    return (
        f"{_HEAD}\n## A state\n\n{_chart('empty', TRANSITIONS)}\n\n## A stack\n\n{_chart('active', CODE_TRANSITIONS)}\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page())
