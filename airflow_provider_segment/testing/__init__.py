"""A local Segment for tests and demos: the public names; nothing here needs Airflow or the rest of the provider."""

from airflow_provider_segment.testing.listener import Request
from airflow_provider_segment.testing.server import Dropped, SegmentServer

__all__ = ["Dropped", "Request", "SegmentServer"]
