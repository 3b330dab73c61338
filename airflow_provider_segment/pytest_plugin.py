"""The pytest plugin: the fixture `segment_server`, a local Segment that DAG tests send to.

pytest loads it in every project where this package is installed: nothing else of ours is imported until a test asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow_provider_segment.testing import SegmentServer


@pytest.fixture
def segment_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SegmentServer]:
    """Return a local Segment, which the connection `segment_default` leads to for the time of the test."""
    from airflow_provider_segment.testing import SegmentServer

    with SegmentServer() as server:
        monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", server.connection)
        # A proxy of the environment does not reach this machine's own ports.
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "127.0.0.1", prepend=",")
        yield server
