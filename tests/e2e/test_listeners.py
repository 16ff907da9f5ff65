"""Everything that listens in a running home stands in docs/security.md."""

import pytest

from stackly.local.home import Home
from tests.e2e.house import House
from tests.local.listening import documented, listening

pytestmark = pytest.mark.e2e


def test_every_listener_of_a_home_stands_in_the_documents(platform: House) -> None:
    found = listening(Home(platform.home))
    assert found >= {"postgres", "temporal", "s3", "hub", "api", "gateway", "enrol", "agent other port"}
    assert found - documented() == set()
