"""What a test's server is started with."""

import pytest

from stackly.engine.inputs import server_settings
from stackly.suites import plan, schema

SUITE = """
version: 1
name: many
tests:
  - name: odd
    database: {{engine: postgres, version: "16", settings: {settings}}}
    workload: {{driver: pgbench, name: select-only, scale_factor: 1, clients: {clients}}}
    measure: {{warmup: 1s, duration: 5s, repeats: 1}}
"""


@pytest.mark.parametrize(
    ("clients", "settings", "wanted"),
    [
        (2, "{}", {}),
        (180, "{}", {}),
        (181, "{}", {"max_connections": "201"}),
        (250, '{cluster_name: "bench "}', {"max_connections": "270", "cluster_name": "bench "}),
        (250, "{Max_Connections: 300}", {"Max_Connections": "300"}),
    ],
)
def test_a_server_takes_all_clients_of_its_load(clients: int, settings: str, wanted: dict[str, str]) -> None:
    suite = schema.parse(SUITE.format(clients=clients, settings=settings), "suite.yaml")
    (resolved,) = plan.resolve(suite, "c").tests
    assert server_settings(resolved) == wanted
