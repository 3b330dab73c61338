"""A table is built in the warehouse, and then sent: the second task starts when the first has made a whole new table.

**Connections**

- `warehouse`: any database that Airflow has a hook for, with the tables `customers` and `orders`.
- `segment_default`, type *Segment*: the source's write key.

The first task stands for whatever builds your tables: dbt, Cosmos, a stored procedure. A query that takes long, or that
several syncs read, is better built once than run by each of them; and a build that fails sends nothing.
"""

from datetime import UTC, datetime

from airflow import DAG
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator

from airflow_provider_segment.calls import AllColumns, Identify
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

with DAG(
    dag_id="segment_after_build",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3},
    tags=["segment"],
    doc_md=__doc__,
) as dag:
    build = SQLExecuteQueryOperator(
        task_id="build",
        conn_id="warehouse",
        sql=[
            "DROP TABLE IF EXISTS customer_totals",
            """
            CREATE TABLE customer_totals AS
            SELECT customer_id, count(*) AS orders, sum(amount_usd) AS spent_usd, max(ordered_at) AS last_order_at
            FROM orders
            GROUP BY customer_id
            """,
        ],
    )

    # Every column of the table becomes a trait, and so does one that the build gets later.
    send = SqlToSegmentOperator(
        task_id="send",
        sql_conn_id="warehouse",
        sql="SELECT * FROM customer_totals",
        key="customer_id",
        calls=Identify(user_id="customer_id", traits=AllColumns(rename="camelCase")),
    )

    build >> send
