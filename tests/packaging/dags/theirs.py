"""DAGs of the official provider: its operator, and its hook in a function, with the connection `theirs`."""

from __future__ import annotations

import os
from datetime import datetime

from airflow.providers.common.compat.sdk import DAG, task
from airflow.providers.segment.hooks.segment import SegmentHook
from airflow.providers.segment.operators.segment_track_event import SegmentTrackEventOperator

with DAG("their_operator", schedule=None, start_date=datetime(2026, 1, 1)):  # noqa: DTZ001  Airflow takes it as UTC
    SegmentTrackEventOperator(task_id="welcome", user_id="u1", event="Signed Up", segment_conn_id="theirs")

with DAG("their_hook", schedule=None, start_date=datetime(2026, 1, 1)):  # noqa: DTZ001

    @task
    def welcome() -> None:
        """Send one call with Segment's SDK, which takes its endpoint from no connection."""
        analytics = SegmentHook("theirs").get_conn()
        analytics.host = os.environ["LOCAL_SEGMENT"]
        analytics.track("u1", "Signed Up", {"plan": "pro"})
        analytics.flush()

    welcome()
