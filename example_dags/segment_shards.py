"""One large table of events, sent by several tasks at once, each with a share of its rows, and each row once.

It is for a warehouse that can only be read. Where the connection may make tables in it, use a group instead, as in
`segment_on_many_workers`: it has one state, the number of its tasks may change, and they share the limit by themselves.

**Connections**

- `warehouse`: any database that Airflow has a hook for, with the table `orders`.
- `segment_default`, type *Segment*: the source's write key, and `events_per_second` in its extra.

**Pool** `segment`: how many of the tasks run at once, made with

    airflow pools set segment 2 "Tasks that send to Segment"

Segment documents 1,000 events a second for a workspace, and tasks do not know of each other: a pool of two needs a
connection with `{"events_per_second": 500}`. Shards share Segment's limit, they do not lift it.

**Shards** are made by a hash of the key, which a row never leaves; the number of the order stands for one here. Each
shard remembers its own rows, by its `sync_id`, in a SQLite file in Airflow's home; several workers need
`state_conn_id`, a connection to PostgreSQL or MySQL, instead. Another number of shards, or another hash, sends all
orders again: make the first run after it one with `first_run="baseline"`, which remembers them and sends nothing.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from airflow import DAG

from airflow_provider_segment.calls import Constant, Track
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

SHARDS = 4
# In the query itself, not as a parameter, and so right for every driver: in a query with parameters PostgreSQL's and
# MySQL's want each other % written as %%. A hash of a key that is no number is abs(hashtext(id)::bigint) in PostgreSQL,
# crc32(id) in MySQL, hash(id) in DuckDB.
QUERY = "SELECT * FROM orders WHERE CAST(substr(id, 2) AS INTEGER) % {shards} = {shard}"
STATE = str(Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "segment_state.db")

with DAG(
    dag_id="segment_shards",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3},
    tags=["segment"],
    doc_md=__doc__,
) as dag:
    SqlToSegmentOperator.partial(
        task_id="orders",
        pool="segment",
        sql_conn_id="warehouse",
        sync_mode="changes",
        key="id",
        state_path=STATE,
        calls=Track(
            event=Constant("Order Completed"),
            user_id="customer_id",
            timestamp="ordered_at",
            properties={"order_id": "id", "revenue": "amount_usd", "currency": "currency"},
        ),
    ).expand_kwargs(
        [
            {"sql": QUERY.format(shards=SHARDS, shard=shard), "sync_id": f"orders-{shard}-of-{SHARDS}"}
            for shard in range(SHARDS)
        ]
    )
