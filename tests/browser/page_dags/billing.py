"""A sync of accounts that several tasks send."""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG

from airflow_provider_segment.calls import Group
from airflow_provider_segment.transfers.sql_to_segment_group import SqlToSegmentTaskGroup

with DAG("billing", schedule=None, start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), catchup=False):
    SqlToSegmentTaskGroup(
        "accounts",
        sql_conn_id="warehouse",
        sql="SELECT id, owner_id, seats FROM accounts",
        calls=Group(group_id="id", user_id="owner_id", traits=["seats"]),
        key="id",
        sync_mode="changes",
        state_conn_id="segment_state",
        warehouse_schema="main",
        shards=3,
        rows_per_shard=100,
        send_args={"retries": 1, "retry_delay": dt.timedelta(0)},
    )
