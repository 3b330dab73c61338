"""One sync on all workers: a task plans, several send, and one ends the run, with one state and one report.

**Connections**

- `warehouse`: PostgreSQL, MySQL, Snowflake, BigQuery ... with the table `customers`, where the connection may make
  tables in the schema that `warehouse_schema` names.
- `segment_default`, type *Segment*: the source's write key; its `events_per_second` is divided among the tasks that
  send.

The rows that have changed are laid out in the warehouse, once, before the first call; each task sends a part of them.
It is worth it where one task is too slow for the rows of a run: below what Segment takes, 1,000 events a second by
default, one task is enough.

Several machines need `state_conn_id`, a connection to PostgreSQL or MySQL, in the place of `state_path`.
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow import DAG

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.transfers.sql_to_segment_group import SqlToSegmentTaskGroup

STATE = str(Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "segment_state.db")

with DAG(
    dag_id="segment_on_many_workers",
    schedule=timedelta(days=1),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=1)},
    tags=["segment"],
    doc_md=__doc__,
) as dag:
    SqlToSegmentTaskGroup(
        "customers",
        sql_conn_id="warehouse",
        sql="SELECT id, email, plan FROM customers",
        sync_mode="changes",
        key="id",
        state_path=STATE,
        warehouse_schema="main",  # of SQLite; elsewhere a schema of its own, such as "segment"
        shards=4,
        rows_per_shard=10_000,
        calls=[
            Identify(user_id="id", traits=["email", "plan"]),
            Track(event=Constant("Customer Removed"), user_id="id", on_change="deleted"),
        ],
        send_args={"max_active_tis_per_dagrun": 4},
    )
