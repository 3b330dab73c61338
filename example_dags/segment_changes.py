"""Only what changed: customers are identified when they are new or changed, and the ones that left are told as well.

**Connections**

- `warehouse`: any database that Airflow has a hook for, with the table `customers`.
- `segment_default`, type *Segment*: the source's write key.

What Segment accepted last is remembered in a SQLite file in Airflow's home; several workers need `state_conn_id`, a
connection to PostgreSQL or MySQL, instead.

The second task is mapped, and each shard has a state of its own, by its `sync_id`. The shards are made by the number
of the customer, which never changes, not by the plan, which does: a customer who moves to another shard is new there,
and gone in the first one. So shards make no call on "deleted" either. How to choose them: `segment_shards`.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from airflow import DAG

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

STATE = str(Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "segment_state.db")
SHARDS = 2
VALUE = "SELECT id, lifetime_value_usd FROM customers WHERE CAST(substr(id, 2) AS INTEGER) % {} = {}"

with DAG(
    dag_id="segment_changes",
    doc_md=__doc__,
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3},
) as dag:
    SqlToSegmentOperator(
        task_id="customers",
        sql_conn_id="warehouse",
        sql="SELECT id, first_name, last_name, email, city, plan FROM customers",
        calls=[
            Identify(user_id="id", traits=["first_name", "last_name", "email", "city", "plan"]),
            Track(Constant("Customer Left"), user_id="id", on_change=["deleted"]),
        ],
        sync_mode="changes",
        key="id",
        state_path=STATE,
    )

    SqlToSegmentOperator.partial(
        task_id="lifetime_value",
        sql_conn_id="warehouse",
        calls=Identify(user_id="id", traits={"lifetime_value": "lifetime_value_usd"}),
        sync_mode="changes",
        key="id",
        state_path=STATE,
    ).expand_kwargs(
        [
            {"sql": VALUE.format(SHARDS, shard), "sync_id": f"lifetime_value-{shard}-of-{SHARDS}"}
            for shard in range(SHARDS)
        ]
    )
