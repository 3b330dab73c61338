"""A DAG of ours: a table's rows become calls."""

from __future__ import annotations

from datetime import datetime

from airflow import DAG

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

with DAG("ours", schedule=None, start_date=datetime(2026, 1, 1)):  # noqa: DTZ001  Airflow takes it as UTC
    SqlToSegmentOperator(
        task_id="customers",
        sql_conn_id="warehouse",
        sql="SELECT id, email FROM customers",
        key="id",
        calls=Identify(user_id="id", traits=["email"]),
    )
