"""A sync of orders, which ends at the first call that is refused."""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG

from airflow_provider_segment.calls import Constant, Track
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

with DAG("shop", schedule="15 6 * * *", start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), catchup=False):
    SqlToSegmentOperator(
        task_id="orders",
        sql_conn_id="warehouse",
        sql="SELECT id, customer_id, total, ordered_at FROM orders",
        calls=Track(Constant("Order Completed"), "customer_id", properties=["total"], timestamp="ordered_at"),
        key="id",
        sync_mode="changes",
        state_conn_id="segment_state",
    )
