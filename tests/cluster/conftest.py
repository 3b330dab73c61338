"""What the tests of a deployment share: it, its warehouse and state, and the Segment that its tasks reach."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_segment.testing import SegmentServer

sys.path.append(str(Path(__file__).parents[1] / "provider"))  # its `warehouses`
from cluster import Cluster
from databases import RestartablePostgres, running
from warehouses import PostgresWarehouse

# Events a second over the connection `segment_paced`: slow enough that a test finds a task in the middle.
PACE = 2_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests here, so that they run when they are asked for only."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def _terminated() -> None:
    """A pytest that gets SIGTERM ends what it has started."""
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated"))


@pytest.fixture(scope="session")
def segment_server() -> Iterator[SegmentServer]:
    """A local Segment for as long as the deployment runs."""
    with SegmentServer() as server:
        yield server


@pytest.fixture(scope="session")
def source_server(_terminated: None) -> Iterator[RestartablePostgres]:
    """The PostgreSQL of the warehouse and the state, which can be stopped."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def warehouse(source_server: RestartablePostgres) -> PostgresWarehouse:
    """The database behind the connection `warehouse`, which holds the states too."""
    return PostgresWarehouse(source_server)


@pytest.fixture(scope="session")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, segment_server: SegmentServer, warehouse: PostgresWarehouse
) -> Iterator[Cluster]:
    """A deployment, one for all tests; whoever kills a part of it starts it again."""
    at_most = {"paced": PACE, "limited": 5_000}
    segments = {
        f"segment_{name}": json.dumps(json.loads(segment_server.connection) | {"extra": {"events_per_second": pace}})
        for name, pace in at_most.items()
    }
    connections = segments | {
        "warehouse": warehouse.connection(),
        "segment_default": segment_server.connection,
    }
    with running() as server:
        deployment = Cluster(tmp_path_factory.mktemp("cluster"), server.url(server.make_database()), connections)
        try:
            deployment.start()
            yield deployment
        finally:
            deployment.stop()


@pytest.fixture
def segment(segment_server: SegmentServer) -> SegmentServer:
    """The local Segment, which has forgotten what the tests before sent."""
    segment_server.reset()
    return segment_server
