"""What the registry must be, from git and from the history of syncs alone; and the comparison with what it is.

Nothing is predicted that the product could compute alike: what a sync did is held against what must be true of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stackly.db import Json
from stackly.engine.contracts.control import RefChange
from tests.properties.looking import Looked
from tests.properties.reading import Seen, newest_shared, read

MAIN = "refs/heads/main"
LIVE = frozenset({"active", "rejected"})
HOLDING = frozenset({"active", "loose", "destroying"})
ENDED = frozenset({"succeeded", "failed", "cancelled", "rejected", "superseded"})


@dataclass(frozen=True)
class Row:
    """A stack that stands somewhere. Shape: `code` is the registry's id of it."""

    code: str
    seen: Seen


def wants_run(ref: str, seen: Seen) -> bool:
    """Whether a push of this stack on that ref starts a run."""
    branch = ref.removeprefix("refs/heads/")
    if seen.problems or (seen.branches and branch not in seen.branches):
        return False
    return seen.kind != "plain" or ref == MAIN


@dataclass
class Model:
    """Shape: `rows` ref -> path -> what stands there; `gone` ids of stacks whose code went; `holds` deployed ones."""

    repository: Path
    rows: dict[str, dict[str, Row]] = field(default_factory=dict)
    at: dict[str, str] = field(default_factory=dict)
    gone: dict[str, str] = field(default_factory=dict)
    holds: set[str] = field(default_factory=set)
    # One content, one key.
    keys: dict[tuple[str, ...], str] = field(default_factory=dict)
    # What a new branch brought as others have it: nothing is started for it until it changes.
    spared: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    def processed(self, change: RefChange, looked: Looked) -> None:
        """A sync has carried the ref there. Raises: AssertionError when what it did with the stacks cannot be."""
        self._spare(change)
        self.at[change.ref] = change.commit
        before = self.rows.get(change.ref, {})
        now: Mapping[str, Seen] = read(self.repository, change.commit) if change.commit else {}
        live = {c["path"]: c for c in looked.codes if c["ref"] == change.ref and c["status"] in LIVE}
        assert live.keys() == now.keys(), f"{change.ref}: {sorted(live)} are registered, and {sorted(now)} are there"
        after = {path: Row(live[path]["id"], seen) for path, seen in now.items()}
        origins = {p: live[p]["moved_from"] for p in after if after[p].code not in {r.code for r in before.values()}}
        self._check_stayed(before, after)
        self._check_moves(change.ref, before, after, origins)
        self.rows[change.ref] = after
        there = {r.code for r in after.values()}
        self.gone |= {r.code: f"{change.ref} {p}" for p, r in before.items() if r.code not in there}
        for code in there:
            self.gone.pop(code, None)

    def _shared(self, ref: str, commit: str) -> Mapping[str, Seen]:
        others = sorted({at for other, at in self.at.items() if at and other != ref})
        shared = newest_shared(self.repository, commit, others)
        return read(self.repository, shared) if shared else {}

    def _spare(self, change: RefChange) -> None:
        kept = {place: content for place, content in self.spared.items() if place[0] != change.ref}
        now: Mapping[str, Seen] = read(self.repository, change.commit) if change.commit else {}
        if change.seen:
            before = {p: c for (ref, p), c in self.spared.items() if ref == change.ref}
            kept |= {(change.ref, p): c for p, c in before.items() if p in now and now[p].content == c}
        elif change.commit:
            there = self._shared(change.ref, change.commit)
            same = {p: s.content for p, s in now.items() if p in there and there[p].content == s.content}
            kept |= {(change.ref, p): content for p, content in same.items()}
        self.spared = kept

    def _check_stayed(self, before: Mapping[str, Row], after: Mapping[str, Row]) -> None:
        contents = {p: r.seen.content for p, r in before.items()}
        for path in before.keys() & after.keys():
            old, new = before[path], after[path]
            is_same = old.seen.content == new.seen.content
            came = [p for p in contents if p != path and contents[p] == new.seen.content]
            if is_same or (old.seen.name == new.seen.name and not came):
                assert old.code == new.code, f"{path} stayed, and is another stack now"

    def _check_moves(
        self, ref: str, before: Mapping[str, Row], after: Mapping[str, Row], origins: Mapping[str, str | None]
    ) -> None:
        was = {r.code: (p, r) for p, r in before.items()}
        told = [o for o in origins.values() if o in was]
        assert len(told) == len(set(told)), f"{ref}: one stack moved to two places"
        for path, origin in origins.items():
            if origin in was:
                source, old = was[origin]
                assert path not in before or before[path].code != after[path].code
                assert source not in after or after[source].code != origin, f"{source} is still there, and moved"
                is_alike = old.seen.content == after[path].seen.content or old.seen.name == after[path].seen.name
                assert is_alike, f"{path} has nothing of {source}, and came from there"
        left = [p for p in before if p not in after]
        for path in [p for p in after if p not in before]:
            content = after[path].seen.content
            sources = [p for p, r in before.items() if r.seen.content == content]
            targets = [p for p in after if after[p].seen.content == content]
            if len(sources) == len(targets) == 1 and sources[0] in left and after[path].code not in self.gone:
                expected = before[sources[0]].code
                assert origins.get(path) == expected, f"{ref}: {path} came from {sources[0]}, and is taken for new"

    def deployed(self, code: str) -> None:
        self.holds.add(code)

    def check(self, looked: Looked) -> None:
        """Raises: AssertionError with the first difference."""
        codes = {c["id"]: c for c in looked.codes}
        there = {(ref, path): row for ref, rows in self.rows.items() for path, row in rows.items()}
        told = {(c["ref"], c["path"]): c["id"] for c in looked.codes if c["status"] in LIVE}
        assert told == {place: row.code for place, row in there.items()}
        for place, row in there.items():
            self._check_code(looked, codes[row.code], place, row.seen)
        for code, where in self.gone.items():
            self._check_gone(looked, codes[code], where)
        assert not [r["id"] for r in looked.runs if r["kind"] == "destroy"], "a push has destroyed something"
        assert not [s["id"] for s in looked.states if s["status"] in {"destroying", "destroyed", "waived"}]

    def _check_code(self, looked: Looked, code: Json, place: tuple[str, str], seen: Seen) -> None:
        problems = frozenset((e["file"], e["line"]) for e in code["errors"])
        status = "rejected" if seen.problems else "active"
        told, wanted = (code["status"], code["name"], problems), (status, seen.name, seen.problems)
        key = seen.tree if not seen.calls else self.keys.setdefault(seen.content, code["tree"])
        brought = read(self.repository, code["commit"])[place[1]]
        is_right = told == wanted and code["tree"] == key and brought.content == seen.content
        assert is_right, f"{place} is not what git has there: {told}, not {wanted}: {code['errors']}"
        if code["id"] in self.holds:
            assert [s["status"] for s in looked.states_of(code["id"])] == ["active"], f"{place} is there, its state not"
        if not wants_run(place[0], seen) or self.spared.get(place) == seen.content:
            return
        assert code["kind"] == seen.kind, place
        if waiting := [s for s in looked.states if s["successor"] == code["id"] and s["status"] == "loose"]:
            self._check_follows(looked, place, code, waiting[0])
        else:
            self._check_runs(looked, place, seen, code)

    def _check_runs(self, looked: Looked, place: tuple[str, str], seen: Seen, code: Json) -> None:
        """The last run of the state is of this very code; every other is superseded, or was begun before it."""
        states = [s["id"] for s in looked.states_of(code["id"])]
        runs = [r for r in looked.runs if r["state"] in states and r["kind"] != "preview"]
        assert runs, f"{place} has no run"
        last = runs[-1]
        assert last["status"] not in {"superseded", "cancelled"}, f"{place}: the last run is {last['status']}"
        assert last["kind"] == ("deploy" if seen.kind == "plain" else "benchmark")
        assert (last["spec"]["path"], last["spec"]["tree"]) == (place[1], code["tree"]), place
        assert last["spec"]["bundle"], place
        assert read(self.repository, last["commit"])[place[1]].content == seen.content, place
        left = [r["id"] for r in _waiting(runs) if r["id"] != last["id"]]
        assert not left, f"{place}: {len(left)} runs wait that a newer push replaced"

    def _check_follows(self, looked: Looked, place: tuple[str, str], code: Json, state: Json) -> None:
        """A state waits to follow this code: it is planned against, and nothing is made a second time meanwhile."""
        plans = [r for r in looked.runs if r["state"] == state["id"] and r["kind"] == "preview"]
        assert [p["spec"]["tree"] for p in plans[-1:]] == [code["tree"]], f"{place}: no plan against it"
        assert not _waiting(r for r in looked.runs_of(code["id"]) if r["kind"] == "deploy"), place

    def _check_gone(self, looked: Looked, code: Json, where: str) -> None:
        states = [s for s in looked.states_of(code["id"]) if s["status"] in HOLDING]
        assert code["status"] == ("loose" if code["id"] in self.holds else "deregistered"), where
        assert [s["status"] for s in states] == (["loose"] if code["id"] in self.holds else []), where
        for state in states:
            assert all([code["reason"], state["reason"]]), f"{where} is loose and does not say why"
            heirs = [c["id"] for c in looked.codes if c["moved_from"] == code["id"] and c["status"] in LIVE]
            assert not heirs or state["successor"] in heirs, f"{where} moved, and its state does not wait to follow"
            further = [c["id"] for c in looked.codes if c["moved_from"] == state["successor"] and c["status"] in LIVE]
            is_left = state["successor"] in self.gone and further
            assert not is_left, f"{where}: its state waits for a stack that moved on"

    def check_idle(self, looked: Looked) -> None:
        """Nothing waits to be carried out for code that is gone, is wrong, or asks for no run."""
        asking = {r.code for ref, rows in self.rows.items() for r in rows.values() if wants_run(ref, r.seen)}
        for run in _waiting(looked.runs):
            code = next(c for c in looked.codes if c["id"] == run["code"])
            where = f"{code['ref']} {code['path']}"
            assert code["id"] in asking, f"{where} is {code['status']}, and a {run['kind']} of it waits"


def _waiting(runs: Any) -> list[Json]:
    return [r for r in runs if r["epoch"] is None and r["status"] not in ENDED]


def dump(looked: Looked) -> dict[str, Any]:
    """The registry and what each state's last run carries out; without ids, times, and how often something was done."""
    found = {}
    for code in looked.codes:
        if code["status"] in LIVE:
            runs = [r for r in looked.runs_of(code["id"]) if r["status"] != "superseded"]
            found[f"{code['ref']}:{code['path']}"] = {
                **{k: code[k] for k in ("status", "name", "kind", "tree", "errors", "config", "requires")},
                "states": sorted((s["name"], s["status"]) for s in looked.states_of(code["id"])),
                "runs": [[r["kind"], r["slot"], _carried(r["spec"])] for r in runs[-1:]],
            }
    return found


def alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The first, without the runs of branches and their unused states where one of the two has none.

    Whether a branch starts again what others have had depends on what arrived together.
    """
    both = [p for p in one.keys() & other.keys() if not p.startswith(f"{MAIN}:")]
    spared = {p for p in both if not (one[p]["runs"] and other[p]["runs"])}
    used = {p: [s for s in one[p]["states"] if s[1] != "empty"] for p in spared}
    return {p: told | {"runs": [], "states": used[p]} if p in spared else told for p, told in one.items()}


def _carried(spec: Json) -> Json:
    """Names of the worlds and the commit in the suite's digest aside: the code's own digest stands beside it."""
    suite = spec["suite"] and {k: v for k, v in spec["suite"].items() if k != "digest"}
    return {k: v for k, v in spec.items() if k not in {"suite", "repo", "plan", "plans"}} | {"suite": suite}
