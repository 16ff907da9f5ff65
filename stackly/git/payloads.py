"""A delivery's body, read tolerantly: what it says moved, and whether it is what its header claims.

The event name stands in a header that no signature covers, so a body is believed only when its shape fits the
claim. What a push says about files is never read: git is asked instead.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic_core import from_json

from stackly import texts
from stackly.errors import Invalid

# `hint`: a ref came or went, which a push says as well. `repository`, `installation`: what GitHub says of them changed.
Kind = Literal["push", "hint", "ping", "repository", "installation", "other", "ignored"]

ZERO = "0" * 40
_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?\Z")
_CONTROL = re.compile("[\x00-\x1f\x7f]")  # in no ref of git
_EVENT = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")

# What marks a body as of an event. Held by all of GitHub's published examples.
_MARKS: dict[str, frozenset[str]] = {
    "push": frozenset({"ref", "before", "after"}),
    "ping": frozenset({"zen", "hook_id"}),
    "create": frozenset({"ref", "ref_type", "master_branch"}),
    "delete": frozenset({"ref", "ref_type", "pusher_type"}),
    "pull_request": frozenset({"action", "number", "pull_request"}),
    "check_run": frozenset({"action", "check_run"}),
    "check_suite": frozenset({"action", "check_suite"}),
    "repository": frozenset({"action", "repository"}),
    "installation": frozenset({"action", "installation"}),
    "installation_repositories": frozenset({"action", "installation", "repository_selection"}),
    "installation_target": frozenset({"action", "account", "installation", "target_type"}),
}
# Shapes no other event has: a body that carries one is of that event, whatever the header says.
_TELLTALES: dict[str, frozenset[str]] = {
    "push": frozenset({"ref", "before", "after"}),
    "ping": frozenset({"zen", "hook_id"}),
    "pull_request": frozenset({"number", "pull_request"}),
    "installation_repositories": frozenset({"repositories_added", "repositories_removed"}),
}
_KINDS: dict[str, Kind] = {
    "ping": "ping",
    "push": "push",
    "create": "hint",
    "delete": "hint",
    "repository": "repository",
    "installation": "installation",
    "installation_repositories": "installation",
    "installation_target": "installation",
}
# What a body of these may hold and nothing else: with anything more it is about something else, and is another event's.
# They are hints alone, and a sweep finds what one of them that GitHub has extended would have said.
_ABOUT = frozenset({"action", "repository", "organization", "enterprise", "installation", "sender"})
_SHAPES: dict[str, frozenset[str]] = {
    "repository": _ABOUT | {"changes"},
    "installation": _ABOUT | {"repositories", "requester"},
    "installation_repositories": _ABOUT
    | {"repositories_added", "repositories_removed", "repository_selection", "requester"},
    "installation_target": _ABOUT | {"account", "changes", "target_type"},
}


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one delivery says. Absent facts are None; `reason` says why an ignored one is.

    Shape: `installation` is GitHub's number of it; `repositories` are the numbers of those its event names.
    """

    event: str
    kind: Kind
    action: str | None = None
    reason: str | None = None
    repo_github_id: int | None = None
    full_name: str | None = None
    default_branch: str | None = None
    ref: str | None = None
    before: str | None = None
    after: str | None = None
    sender: str | None = None
    pusher: str | None = None
    sender_id: int | None = None
    hook_id: int | None = None
    owner: str | None = None
    owner_before: str | None = None
    name_before: str | None = None
    archived: bool | None = None
    installation: int | None = None
    repositories: tuple[int, ...] = ()

    @property
    def deleted(self) -> bool:
        return self.after is not None and set(self.after) == {"0"}

    @property
    def created(self) -> bool:
        return self.before is not None and set(self.before) == {"0"}


@dataclass(frozen=True, slots=True)
class Announced:
    """What a push says that it did to a ref: a hint of what git will show, and of nothing else."""

    ref: str
    before: str
    after: str

    def is_shown(self, refs: Mapping[str, str]) -> bool | None:
        """Whether these refs show it. None: the ref is elsewhere, so that it is over, or to come, as its commit is."""
        now = refs.get(self.ref, "")
        before, after = self.before.strip("0") and self.before, self.after.strip("0") and self.after
        if now == after:
            return True
        if now == before:
            return False
        return None if after else True


def read(event: str, body: bytes) -> Delivered:
    """Read a body under the event its header claims.

    Raises: Invalid when the body is no JSON object. A body of the wrong shape is `ignored`, with the reason.
    """
    data = _object(body)
    if not _EVENT.match(event):
        return Delivered("unknown", "ignored", reason="The event name in X-GitHub-Event is not one GitHub sends.")
    wrong = _confusion(event, data)
    if wrong:
        return Delivered(event, "ignored", reason=wrong)
    return _push(data) if event == "push" else _facts(event, data)


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = _parsed(body)
    except RecursionError:
        raise Invalid("The body is nested too deeply to be a delivery.") from None
    except (ValueError, MemoryError):
        hint = " Set the hook's content type to application/json." if body.startswith(b"payload=") else ""
        raise Invalid(f"The body is not JSON.{hint}") from None
    if not isinstance(data, dict):
        raise Invalid("The body is JSON, but not an object.")
    return data


def _parsed(body: bytes) -> Any:
    """Raises: as json.loads."""
    try:
        return from_json(body)
    except ValueError:  # what it does not take, a lone surrogate for one, the other may; and its errors are told apart
        return json.loads(body)


def _confusion(event: str, data: dict[str, Any]) -> str | None:
    keys = data.keys()
    missing = _MARKS.get(event, frozenset()) - keys
    if missing:
        return f"Claims to be {event}, but lacks {', '.join(sorted(missing))}."
    for other, marks in _TELLTALES.items():
        if other != event and marks <= keys:
            return f"Claims to be {event}, but has the shape of {other}."
    more = keys - _SHAPES.get(event, keys)
    if more:
        return f"Claims to be {event}, but is about {', '.join(texts.shown(k) for k in sorted(map(str, more))[:5])}."
    if event in {"installation", "installation_repositories"} and "account" not in _dict(data, "installation"):
        return f"Claims to be {event}, but names no installation."
    return None


def _facts(event: str, data: dict[str, Any], **more: str | None) -> Delivered:
    repository, sender = _dict(data, "repository"), _dict(data, "sender")
    owner, archived = _dict(repository, "owner"), repository.get("archived")
    return Delivered(
        event=event,
        kind=_KINDS.get(event, "other"),
        action=_text(data, "action"),
        repo_github_id=_number(repository, "id"),
        full_name=_text(repository, "full_name"),
        default_branch=_text(repository, "default_branch"),
        sender=_text(sender, "login") or _text(_dict(data, "pusher"), "name"),
        sender_id=_number(sender, "id"),
        hook_id=_number(data, "hook_id"),
        # A push calls its owner's login `name`; everything else says `login`, and pushes of today say both.
        owner=_text(owner, "login") or _text(owner, "name"),
        archived=archived if isinstance(archived, bool) else None,
        installation=_number(_dict(data, "installation"), "id"),
        repositories=_repositories(data),
        **(_before(_dict(data, "changes")) if "changes" in data else {}),
        **more,
    )


def _before(changes: dict[str, Any]) -> dict[str, str | None]:
    """What a rename or a transfer says was before. A new owner is a person or an organisation, under its own key."""
    former = _dict(_dict(changes, "owner"), "from")
    owners = [_text(_dict(former, kind), "login") for kind in ("user", "organization")]
    name = _text(_dict(_dict(changes, "repository"), "name"), "from")
    return {"owner_before": next((o for o in owners if o), None), "name_before": name}


def _repositories(data: dict[str, Any]) -> tuple[int, ...]:
    listed = [data.get(key) for key in ("repositories", "repositories_added", "repositories_removed")]
    entries = [entry for entries in listed if isinstance(entries, list) for entry in entries]
    numbers = [_number(entry, "id") for entry in entries if isinstance(entry, dict)]
    return tuple(n for n in numbers if n is not None)


def _push(data: dict[str, Any]) -> Delivered:
    ref, before, after = _text(data, "ref"), _text(data, "before"), _text(data, "after")
    number = _number(_dict(data, "repository"), "id")
    reason = None
    if number is None:
        reason = "The push names no repository id."
    elif ref is None or not ref.startswith("refs/") or _CONTROL.search(ref):
        reason = "The push names no full ref."
    elif not (before and after and _SHA.match(before) and _SHA.match(after)):
        reason = "The push's before and after are not commit ids."
    if reason:
        return Delivered("push", "ignored", reason=reason, repo_github_id=number)
    pusher = _text(_dict(data, "pusher"), "name")
    return _facts("push", data, ref=ref, before=before, after=after, pusher=pusher)


def _dict(data: dict[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _text(data: dict[str, Any], key: str) -> str | None:
    value = data.get(key)
    # What cannot be kept is no name of anything.
    if not isinstance(value, str) or not value or texts.flaw(value):
        return None
    return value


def _number(data: dict[str, Any], key: str) -> int | None:
    value = data.get(key)
    return value if type(value) is int and 0 <= value < 2**63 else None
