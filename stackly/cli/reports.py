"""A run for other readers: Markdown for a comment, JUnit for a build server."""

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

from stackly import clock
from stackly.cli.command import Invocation
from stackly.cli.screen import GATE_WORDS, deciding, grouped, heads, limits, metric_of, row, tally, value_of
from stackly.cli.speech import clean, short

Json = dict[str, Any]
_CELLS = str.maketrans({"|": "\\|", "\n": " ", "<": "&lt;", "`": "'"})


def show(call: Invocation, run: Json, text: Callable[[Json], str]) -> None:
    """In the form that was asked for."""
    if call.say.form == "markdown":
        call.say.line(markdown(run))
    elif call.say.form == "junit":
        call.say.line(junit(run))
    else:
        call.say.one(run, text)


def markdown(run: Json) -> str:
    gate = run["gate"] or {}
    decision = GATE_WORDS.get(gate.get("decision", ""), "not decided")
    lines = [
        f"### {_md(run['repo'])} {_md(run['stack'])}: {run['verdict'] or run['status']}, gate {decision}",
        "",
        f"Run [`{_md(run['id'])}`]({run['url']}), {run['kind']} {run['status']}, "
        f"branch {_md(run['branch'])} @ {short(run['commit'])}. {tally(run['tests']) if run['tests'] else ''}".rstrip(),
    ]
    if run["baseline"] and run["baseline"].get("commit"):
        lines.append(f"Baseline {short(run['baseline']['commit'])}, run `{_md(run['baseline'].get('run_id'))}`.")
    lines += [f"- {_md(reason)}" for reason in gate.get("reasons") or ()]
    for name, tests in grouped(run["tests"]):
        lines += ["", _md_row(heads(name, tests)), _md_row(["---"] * 7), *(_md_row(row(t)) for t in tests)]
    failed = [t for test in run["tests"] for t in test["thresholds"] if t["verdict"] not in {"pass", None}]
    lines += ["", *(f"- {_md(t.get('evidence') or ', '.join(limits(t)))}" for t in failed)] if failed else []
    return "\n".join(lines)


def _md(text: object) -> str:
    return clean(text).translate(_CELLS)


def _md_row(cells: list[str]) -> str:
    return f"| {' | '.join(map(_md, cells))} |"


def junit(run: Json) -> str:
    """A test suite of the run's tests. Shape: worse and fail are failures, invalid and unmeasured errors."""
    suite = ET.Element("testsuite", name=_xml(run["stack"]), id=_xml(run["id"]), timestamp=run["created_at"])
    for test in run["tests"]:
        suite.append(_case(run, test))
    if not run["tests"]:
        suite.append(_whole_run(run))
    counts = {kind: str(len(suite.findall(f"testcase/{kind}"))) for kind in ("failure", "error", "skipped")}
    suite.attrib.update(
        tests=str(len(suite)), failures=counts["failure"], errors=counts["error"], skipped=counts["skipped"]
    )
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode")


def _case(run: Json, test: Json) -> ET.Element:
    case = ET.Element("testcase", classname=_xml(run["stack"]), name=_xml(test["name"]), time=_time(test["phases"]))
    kind = {"worse": "failure", "fail": "failure", "inconclusive": "skipped"}.get(test["verdict"] or "")
    if test["verdict"] in {None, "invalid"}:
        kind = "error"
    why = "; ".join(map(str, test["reasons"])) or test["verdict"] or f"not measured: {test['status']}"
    if kind:
        ET.SubElement(case, kind, message=_xml(why))
    comparison, metric = deciding(test) or {}, metric_of(test)
    said = [f"verdict {test['verdict']}", f"{metric} {value_of(test['result'], metric)}"]
    if comparison:
        said.append(f"change {comparison.get('change_pct')} % against {comparison.get('baseline')}")
    ET.SubElement(case, "system-out").text = _xml("\n".join(said))
    return case


def _whole_run(run: Json) -> ET.Element:
    case = ET.Element("testcase", classname=_xml(run["stack"]), name=_xml(run["kind"]), time=_time(run["phases"]))
    if run["status"] != "succeeded":
        ET.SubElement(case, "error", message=_xml(run.get("reason") or run["status"]))
    return case


def _time(phases: list[Json]) -> str:
    if not phases or not all(p["ended_at"] for p in phases):
        return "0"
    start, end = min(clock.parse(p["started_at"]) for p in phases), max(clock.parse(p["ended_at"]) for p in phases)
    return f"{(end - start).total_seconds():.3f}"


def _xml(text: object) -> str:
    return clean(text)
