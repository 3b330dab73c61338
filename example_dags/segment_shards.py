"""One large table, sent by several tasks at once, each with a share of its rows.

**Connections**

- `warehouse`: any database that Airflow has a hook for, with the table `orders`.
- `segment_default`, type *Segment*: the source's write key, and `events_per_second` in its extra.

**Pool** `segment`: how many of the tasks run at once, made with

    airflow pools set segment 2 "Tasks that send to Segment"

Segment documents 1,000 events a second for a workspace, and tasks do not know of each other: a pool of two needs a
connection with `{"events_per_second": 500}`. Shards share Segment's limit, they do not lift it.
"""

from datetime import UTC, datetime

from airflow import DAG

from airflow_provider_segment.calls import Constant, Track
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

SHARDS = 4

with DAG(
    dag_id="segment_shards",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["segment"],
    doc_md=__doc__,
) as dag:
    SqlToSegmentOperator.partial(
        task_id="orders",
        pool="segment",
        sql_conn_id="warehouse",
        # The order's number, without the letter before it. `:shard` is SQLite's way; PostgreSQL
        # has `%(shard)s`, and wants the other percent sign twice then.
        sql=f"SELECT * FROM orders WHERE CAST(substr(id, 2) AS INTEGER) % {SHARDS} = :shard",  # noqa: S608 - our number
        key="id",
        calls=Track(
            event=Constant("Order Completed"),
            user_id="customer_id",
            timestamp="ordered_at",
            properties={"order_id": "id", "revenue": "amount_usd", "currency": "currency"},
        ),
    ).expand(parameters=[{"shard": shard} for shard in range(SHARDS)])
