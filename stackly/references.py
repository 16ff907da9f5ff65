"""What a person calls a thing by: an id, a beginning of it, or a name. What means more than one thing is refused."""

from collections.abc import Mapping, Sequence
from typing import Any

from stackly.errors import Invalid

# A refusal names this many; a longer list is not read anyway.
SHOWN = 20


class ReferenceAmbiguous(Invalid):
    """Shape: `candidates [{id repository path ref status}]`, at most `SHOWN`; of what belongs to a test, its `test`."""

    title = "This means more than one thing."


def one(noun: str, reference: str, found: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The only thing meant; None where nothing is. Nothing is ever chosen here: an exact id alone is one thing.

    Shape: of `found` each has `id repository path ref status`, and `test` where it belongs to one.
    Raises: ReferenceAmbiguous.
    """
    exact = [row for row in found if row["id"] == reference]
    meant = exact or list(found)
    if len(meant) > 1:
        raise _ambiguous(noun, reference, meant)
    return meant[0] if meant else None


def _ambiguous(noun: str, reference: str, found: Sequence[Mapping[str, Any]]) -> ReferenceAmbiguous:
    listed = [_candidate(row) for row in found[:SHOWN]]
    more = len(found) - len(listed)
    lines = [_line(c) for c in listed] + (["  and more"] if more else [])
    said = f"{reference} means {'more than ' if more else ''}{len(listed)} {noun}s; name one by its id:\n"
    return ReferenceAmbiguous(said + "\n".join(lines), reference=reference, candidates=listed)


def _candidate(row: Mapping[str, Any]) -> dict[str, Any]:
    test = {"test": row["test"]} if row.get("test") else {}
    return {k: row.get(k) for k in ("id", "repository", "path", "ref", "status")} | test


def _line(candidate: Mapping[str, Any]) -> str:
    where = f"{candidate['repository']}:{candidate['path'] or '.'}" if candidate["path"] is not None else "-"
    if candidate["path"] is None and candidate["repository"]:
        where = str(candidate["repository"])
    ref = str(candidate["ref"] or "").removeprefix("refs/heads/")
    test = f"  test {candidate['test']}" if candidate.get("test") else ""
    return f"  {candidate['id']}  {where}{f'@{ref}' if ref else ''}{test}  {candidate['status']}"
