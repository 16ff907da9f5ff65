"""`python -m stackly.local up|down|status|logs|doctor`: the home of STACKLY_HOME, for the command line.

Shape: stdout is the answer, one JSON object (of `logs` its lines); stderr is a JSON object a line: progress, and at the
end `{"problem": …}` when it failed.
"""

import argparse
import contextlib
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from stackly.errors import StacklyError, kind_of
from stackly.local import platform

Json = dict[str, Any]


def _tell(said: Json) -> None:
    print(json.dumps(said), file=sys.stderr, flush=True)  # noqa: T201 - this is the protocol


def _progress(component: str, state: str, reason: str | None) -> None:
    _tell({"component": component, "state": state, "reason": reason})


def _up(home: Path, _: argparse.Namespace) -> Json:
    return dataclasses.asdict(platform.up(home, _progress))


def _down(home: Path, asked: argparse.Namespace) -> Json:
    stopped = platform.down(home, wipe=asked.wipe, keep_machines=asked.keep_machines, progress=_progress)
    return {"stopped": True, "wiped": asked.wipe, "machines": dict(stopped.machines), "kept": stopped.kept}


def _status(home: Path, _: argparse.Namespace) -> Json:
    told = platform.status(home)
    running = {c["name"] for c in told["components"] if c["state"] == "running"}
    # A link is made in Postgres and answered by the API; without a supervisor neither is sure of the next moment.
    stands = told["supervised"] and {"postgres", "api"} <= running
    return told | {"ui_url": platform.fresh_link(home) if stands else None}


def _doctor(home: Path, _: argparse.Namespace) -> Json:
    from stackly.local.doctor import doctor  # late: the other commands need none of its parts

    found = doctor(home)
    return {"findings": [dataclasses.asdict(f) for f in found]}


def _logs(home: Path, asked: argparse.Namespace) -> None:
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        for line in platform.logs(home, asked.component, follow=asked.follow):
            print(line, flush=True)  # noqa: T201


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stackly.local")
    verbs = parser.add_subparsers(required=True)
    for name, work in (("up", _up), ("status", _status), ("doctor", _doctor)):
        verbs.add_parser(name).set_defaults(work=work)
    down = verbs.add_parser("down")
    down.add_argument("--wipe", action="store_true")
    down.add_argument("--keep-machines", action="store_true")
    down.set_defaults(work=_down)
    logs = verbs.add_parser("logs")
    logs.add_argument("component")
    logs.add_argument("-f", "--follow", action="store_true")
    logs.set_defaults(work=_logs)
    return parser


def main(argv: list[str]) -> int:
    asked = _arguments().parse_args(argv)
    try:
        answer = asked.work(platform.default_home(), asked)
    except StacklyError as e:
        problem = {"type": f"/problems/{e.slug()}", "title": e.title, "detail": e.detail, "kind": kind_of(e).slug()}
        _tell({"problem": {**problem, **e.fields}})
        return 1
    if answer is not None:
        print(json.dumps(answer))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
