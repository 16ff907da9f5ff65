"""`python -m stackly.api.openapi`: write docs/openapi.json and a page for every problem under docs/problems."""

import importlib
import json
import pkgutil
import sys
from pathlib import Path

import stackly
from stackly.api.app import routes
from stackly.api.problems import status_of
from stackly.errors import KINDS, StacklyError, kind_of

_MEANING = {
    "Invalid": "Correct the request and send it again; sending it unchanged ends alike.",
    "Unauthenticated": "Sign in: open the link of `stackly status`, or send a token.",
    "Denied": "Ask somebody with the right, or for the right.",
    "NotFound": "Check the id; what another account owns is not shown either.",
    "Conflict": "Look at its present state, then decide again.",
    "Exhausted": "Wait as `Retry-After` says, or ask for more.",
    "Unavailable": "It is retried where that is safe; `stackly status` shows what is down.",
    "Faulty": "Read the detail: a tool or an upstream failed on its own terms.",
}


def openapi_text() -> str:
    return json.dumps(routes().openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def all_errors() -> list[type[StacklyError]]:
    """Every error the control plane can raise. Shape: by slug."""
    for module in pkgutil.walk_packages(stackly.__path__, "stackly."):
        if not module.name.startswith("stackly.wire") and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: set[type[StacklyError]] = set()
    pending = list(KINDS)
    while pending:
        error = pending.pop()
        found.add(error)
        pending += error.__subclasses__()
    return sorted((e for e in found if e.__module__.startswith("stackly.")), key=lambda e: (e.slug(), e.__module__))


def problem_page(error: type[StacklyError]) -> str:
    sample = error.__new__(error)
    kind = kind_of(sample).__name__
    about = (error.__doc__ or "").strip() if error.__doc__ != StacklyError.__doc__ else ""
    parts = [
        f"# {error.slug()}",
        error.title,
        *([about] if about else []),
        f"Kind `{kind}`, HTTP status {status_of(sample)}.",
        _MEANING[kind],
    ]
    return "\n\n".join(parts) + "\n"


def problem_pages() -> dict[str, str]:
    """Shape: file name -> text."""
    return {f"{error.slug()}.md": problem_page(error) for error in all_errors()}


def write(docs: Path) -> None:
    folder = docs / "problems"
    folder.mkdir(parents=True, exist_ok=True)
    (docs / "openapi.json").write_text(openapi_text(), encoding="utf-8")
    pages = problem_pages()
    for stale in {p.name for p in folder.glob("*.md")} - set(pages):
        (folder / stale).unlink()
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2] / "docs")
