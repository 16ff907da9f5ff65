"""What GitHub says of a repository, and what that means here: scheduling stops at most (G13)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackly.engine.activities.sweep import _lost, differs, spread
from stackly.engine.upstream import Reach, judge
from stackly.git.github_client import UpstreamDelivery, UpstreamRepo
from stackly.ids import AccountId, RepoId
from stackly.stacks.model import Repo

REPO = Repo(RepoId("r"), AccountId("a"), 7, "octo/stacks", "http://hub/octo/stacks.git", "main", "active", "1")
REACHES: list[Reach] = ["none", "active", "suspended", "gone"]
UPSTREAMS = st.builds(
    UpstreamRepo,
    github_id=st.just(7),
    full_name=st.sampled_from(["octo/stacks", "OCTO/stacks", "octo/renamed", "tin/stacks"]),
    clone_url=st.just("http://hub/x.git"),
    default_branch=st.sampled_from(["main", "trunk"]),
    archived=st.booleans(),
)


@given(st.none() | UPSTREAMS, st.sampled_from(REACHES), st.booleans())
def test_it_is_active_only_where_everything_says_so(upstream: UpstreamRepo | None, reach: Reach, said: bool) -> None:
    got = judge(REPO, upstream, reach, said_deleted=said)
    shown = upstream is not None and reach in {"none", "active"}
    ours = upstream is not None and upstream.owner.lower() == "octo"
    assert (got.status == "active") == bool(shown and ours and upstream and not upstream.archived)
    assert (got.reason is None) == (got.status == "active")
    assert (got.status == "deleted") == (said and upstream is None)
    # A name is taken over only while the owner is the one a person connected.
    assert got.known_as is None or (got.known_as is upstream and ours)


@given(st.none() | UPSTREAMS, st.sampled_from(REACHES), st.booleans())
def test_looking_again_ends_alike(upstream: UpstreamRepo | None, reach: Reach, said: bool) -> None:
    """Level-triggered: the outcome does not depend on how often, or after what, one looks."""
    first = judge(REPO, upstream, reach, said_deleted=said)
    known = first.known_as
    now = REPO if known is None else replace(REPO, full_name=known.full_name, status=first.status)
    again = judge(now, upstream, reach, said_deleted=said)
    assert (again.status, again.known_as) == (first.status, first.known_as)


def _delivery(number: int, guid: str, *, ok: bool, redelivery: bool = False, event: str = "push") -> UpstreamDelivery:
    return UpstreamDelivery(number, guid, event, ok, redelivery, 7)


def test_an_event_is_lost_when_no_attempt_of_it_arrived() -> None:
    fresh = {
        "arrived": [_delivery(1, "arrived", ok=True)],
        "lost": [_delivery(2, "lost", ok=False), _delivery(3, "lost", ok=False)],
        "mended": [_delivery(4, "mended", ok=False), _delivery(5, "mended", ok=True, redelivery=True)],
        "in vain": [_delivery(6, "in vain", ok=False), _delivery(7, "in vain", ok=False, redelivery=True)],
        "ping": [_delivery(8, "ping", ok=False, event="ping")],
    }
    assert {guid: d.id for guid, d in _lost(fresh).items()} == {"lost": 3}


def test_refs_differ_also_when_one_is_gone() -> None:
    assert not differs({"a": "1"}, {"a": "1", "b": None})
    assert differs({"a": "2"}, {"a": "1"})
    assert differs({}, {"a": "1"})
    assert differs({"a": "1"}, {})


@given(st.text(max_size=20))
def test_each_repository_keeps_its_own_pace(repo: str) -> None:
    every = timedelta(seconds=300)
    assert every * 0.8 <= spread(repo, every) < every * 1.2
    assert spread(repo, every) == spread(repo, every)


@pytest.mark.parametrize(("owner_id", "status"), [(5, "active"), (6, "suspended"), (None, "suspended")])
def test_an_owner_is_its_number(owner_id: int | None, status: str) -> None:
    """Called otherwise it is the same; another that has its name is not."""
    known = replace(REPO, owner_id=5)
    renamed = UpstreamRepo(7, "newname/stacks", "http://hub/newname/stacks.git", "main", owner_id=owner_id)
    assert judge(known, renamed, "none", said_deleted=False).status == status
    taken = UpstreamRepo(7, "octo/stacks", "http://hub/octo/stacks.git", "main", owner_id=6)
    assert judge(known, taken, "none", said_deleted=False).status == "suspended"
