"""A suite and a commit -> what will be carried out, to the last default. Pure."""

from typing import Any

from stackly.errors import FileInvalid, FileProblem
from stackly.suites import jsonform
from stackly.suites.model import PHASES, Cell, ResolvedSuite, ResolvedTest, Suite, Test
from stackly.suites.reading import place

_FORMAT = 1  # raised when the same file comes to mean something else


def resolve(suite: Suite, commit: str) -> ResolvedSuite:
    """Fill in the commit and name the tests.

    Shape: a test without matrix keeps its name; cell N of a matrix is `name.N`, N from 1 in the matrix's order.
    Raises: FileInvalid when `${commit}` is used and `commit` is ''.
    """
    tests = tuple(_test(suite, t, c, n, commit) for t in suite.tests for n, c in enumerate(t.cells, start=1))
    return ResolvedSuite(name=suite.name, parallel=suite.parallel, timeout_s=suite.timeout_s, tests=tests)


def digest(resolved: ResolvedSuite) -> str:
    """SHA-256 of the canonical JSON: equal on a laptop and on the server, whatever the file's layout.

    Shape: 64 hex digits. The commit counts only where `${commit}` was used; descriptions and positions never do.
    """
    body: dict[str, Any] = jsonform.to_json(resolved)
    tests = [{k: v for k, v in test.items() if k != "path"} for test in body["tests"]]
    return jsonform.sha256({**body, "tests": tests, "format": _FORMAT})


def ruler(test: ResolvedTest) -> dict[str, Any]:
    """What two measurements must share to be compared at all: workload, measure and nodes, as `to_json` writes them."""
    body = jsonform.to_json(test)
    return {key: body[key] for key in ("workload", "measure")} | {"topology": {"nodes": body["topology"]["nodes"]}}


def _test(suite: Suite, test: Test, cell: Cell, n: int, commit: str) -> ResolvedTest:
    own = {"name": test.name, "cell": dict(cell.values), "path": test.path}
    own["test"] = f"{test.name}.{n}" if test.has_matrix else test.name
    if "${commit}" not in repr(cell.spec):
        given: dict[str, Any] = {**own, **cell.spec._asdict()}
        return ResolvedTest(**given, phases=PHASES)
    if not commit:
        line, column = place(suite.where, f"{test.path}.name")
        problem = FileProblem(suite.file, line, column, "This test uses ${commit}; commit the file, or name a commit.")
        raise FileInvalid([problem])
    body = _with_commit(jsonform.to_json(cell.spec), commit)
    return jsonform.from_json(ResolvedTest, {**body, **own, "phases": list(PHASES)})


def _with_commit(value: Any, commit: str) -> Any:
    if isinstance(value, str):
        return value.replace("${commit}", commit)
    if isinstance(value, dict):
        return {k: _with_commit(v, commit) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_commit(v, commit) for v in value]
    return value
