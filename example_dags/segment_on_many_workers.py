"""One sync on all workers: a task plans, several send, and one ends the run, with one state and one report.

**Connections**

- `warehouse`: a PostgreSQL with the table `customers`, where the user may make tables in the schema `segment`, or make
  that schema; or any of the databases that docs/changes.md lists for `warehouse_schema`.
- `state_db`: a PostgreSQL or MySQL that all workers reach, where it is remembered what Segment has accepted; it may be
  the same database.
- `segment_default`, type *Segment*: the source's write key; its `events_per_second` is divided among the tasks that
  send.

The rows that may have changed are laid out in the warehouse once, before the first call, and each task sends a part of
them: at most 8 tasks, of which 4 run at once, and one where there are few rows. The last task makes the calls of
customers who are gone, and tells other DAGs by an asset that the customers are at Segment.

It is worth it where one task is too slow for the rows of a run. Below what Segment takes, 1,000 events a second by
default, one task is enough.
"""

from datetime import UTC, datetime, timedelta

from airflow import DAG
from airflow.providers.common.compat.assets import Asset

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.transfers.sql_to_segment_group import SqlToSegmentTaskGroup

with DAG(
    dag_id="segment_on_many_workers",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=1)},
    tags=["segment"],
    doc_md=__doc__,
) as dag:
    SqlToSegmentTaskGroup(
        group_id="customers",
        sql_conn_id="warehouse",
        sql="SELECT id, email, plan FROM customers",
        sync_mode="changes",
        key="id",
        state_conn_id="state_db",
        warehouse_schema="segment",
        shards=8,
        calls=[
            Identify(user_id="id", traits=["email", "plan"]),
            Track(event=Constant("Customer Removed"), user_id="id", on_change="deleted"),
        ],
        send_args={"retries": 5, "max_active_tis_per_dagrun": 4},
        finalize_args={"outlets": [Asset("segment://api.segment.io/customers")]},
    )
