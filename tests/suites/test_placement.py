"""Placement is a function of its input, to the byte."""

import json
from pathlib import Path

import pytest

from stackly.errors import Invalid
from stackly.suites import jsonform
from stackly.suites.model import ResolvedTest
from stackly.suites.placement import NETWORKS, Placement, place
from stackly.suites.plan import resolve
from stackly.suites.schema import parse
from stackly.suites.store import first_free

FILES = Path(__file__).parent / "files"


def a_test(name: str) -> ResolvedTest:
    return resolve(parse((FILES / name).read_text(), name), "abc").tests[0]


@pytest.mark.parametrize(
    ("suite", "cidr", "target"),
    [
        ("smallest", "127.64.0.16/28", "local"),
        ("smallest", "10.213.7.0/24", "docker"),
        ("everything", "10.0.0.0/24", "docker"),
    ],
)
def test_golden(suite: str, cidr: str, target: str) -> None:
    made = place(a_test(f"{suite}.yaml"), cidr, target)
    golden = FILES / f"placement-{suite}-{target}.json"
    assert json.dumps(made.to_json(), indent=2) + "\n" == golden.read_text()
    assert Placement.from_json(json.loads(golden.read_text())) == made
    assert jsonform.canonical(place(a_test(f"{suite}.yaml"), cidr, target)) == jsonform.canonical(made)


def test_loopback_clients_are_admitted_on_local_only() -> None:
    assert "127.0.0.1" in place(a_test("smallest.yaml"), "127.64.0.0/28", "local").admit
    assert "127.0.0.1" not in place(a_test("smallest.yaml"), "10.213.0.0/24", "docker").admit


def test_a_block_that_is_too_small_is_refused() -> None:
    with pytest.raises(Invalid, match="too few addresses"):
        place(a_test("everything.yaml"), "10.0.0.0/30", "docker")


@pytest.mark.parametrize("target", sorted(NETWORKS))
def test_pools_hold_many_blocks_of_their_size(target: str) -> None:
    pool = NETWORKS[target]
    assert first_free(pool.supernet, pool.prefix, []) is not None
