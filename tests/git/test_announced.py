"""What a delivery said of a ref, beside what git shows of it."""

import pytest

from stackly.git.payloads import Announced

A, B, C, NONE = "a" * 40, "b" * 40, "c" * 40, "0" * 40
MAIN = "refs/heads/main"


@pytest.mark.parametrize(
    ("before", "after", "now", "shown"),
    [
        (A, B, B, True),
        (A, B, A, False),
        (A, B, C, None),
        (A, B, "", None),  # deleted, or never there: whether its commit is here tells
        (NONE, B, "", False),
        (NONE, B, B, True),
        (NONE, B, C, None),
        (A, NONE, A, False),
        (A, NONE, "", True),
        (A, NONE, C, True),  # deleted, and made again since
        ("0" * 64, "d" * 64, "", False),
    ],
)
def test_a_ref_shows_a_push_or_does_not_yet_or_is_elsewhere(
    before: str, after: str, now: str, *, shown: bool | None
) -> None:
    refs = {MAIN: now} if now else {}
    assert Announced(MAIN, before, after).is_shown(refs) is shown
