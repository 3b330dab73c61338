"""A sync of customers; its task is tried twice."""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

with DAG("crm", schedule="@hourly", start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), catchup=False):
    SqlToSegmentOperator(
        task_id="customers",
        sql_conn_id="warehouse",
        sql="SELECT id, email, plan, signed_up FROM customers",
        calls=[
            Identify("id", traits=["email", "plan"]),
            Track(Constant("Signed Up"), "id", timestamp="signed_up", on_change="added"),
            Track(Constant("Customer Left"), "id", on_change="deleted"),
        ],
        key="id",
        sync_mode="changes",
        state_conn_id="segment_state",
        max_rejected=50,
        retries=1,
        retry_delay=dt.timedelta(0),
    )
