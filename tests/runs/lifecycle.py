"""`python -m tests.runs.lifecycle` writes docs/run-lifecycle.md from the table of transitions."""

from pathlib import Path

from stackly.runs.model import TRANSITIONS
from stackly.spec.runs import ENDED, RunStatus

PAGE = Path(__file__).parents[2] / "docs" / "run-lifecycle.md"

_HEAD = """# The life of a run

Written from `TRANSITIONS` in `stackly/runs/model.py` by `python -m tests.runs.lifecycle`; a test keeps it current.
`transition()` in `stackly/runs/store.py` is the only writer of a run's status, and refuses every arrow that is not
here.

`queued`, and `awaiting_approval` before admission, are rows without a workflow; from `starting` on, one workflow
carries the run out. `recovering` is passed through when an agent died in a step.
"""


def page() -> str:
    arrows = [
        f"    {status} --> {target}: {event}"
        for status, events in TRANSITIONS.items()
        for event, target in sorted(events.items())
    ]
    ends = [f"    {status} --> [*]" for status in sorted(ENDED)]
    chart = "\n".join(["stateDiagram-v2", f"    [*] --> {RunStatus.QUEUED}", *arrows, *ends])
    return f"{_HEAD}\n```mermaid\n{chart}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page())
