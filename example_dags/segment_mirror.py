"""A true mirror: who is deleted in the warehouse is deleted at Segment, and who comes back is sent there again.

**Connections**

- `warehouse`: PostgreSQL, or SQLite 3.35 or later, with the tables `customers` and `deleted_customers`. The second has
  one row for each deletion, written by whoever deletes the customer: the `id`, and `returned`, which is NULL. No `id`
  in either is NULL.
- `segment_default`, type *Segment*: the source's write key, and a token of Segment's Public API (`public_api_token`).

**Each day**

1. `customers` identifies who is new or changed, and tells who is gone by an event. The call on "deleted" also lets the
   state forget the customer: whoever comes back is new again. Who was deleted waits for step 4 before that, since
   Segment drops what it gets of a suppressed user, and nobody hears of it.
2. `forget` lets Segment suppress and delete who is in `deleted_customers` and not back. Each is sent once.
3. `unsuppress` marks who is back, and asks Segment to end the suppression.
4. `unsuppressed` waits until Segment has done so, mostly within a day; then `welcome` takes the row out of
   `deleted_customers`, and the next run identifies the customer.
5. `forgotten` waits until Segment and its destinations have deleted, which may take 30 days.

So many runs wait at the same time, and more than that are allowed. Where the setting `[operators] default_deferrable`
is on, what waits takes no worker.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from airflow import DAG
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.sensors.regulation import SegmentRegulationSensor
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator
from airflow_provider_segment.transfers.sql_to_segment_regulation import SqlToSegmentRegulationOperator

STATE = str(Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "segment_state.db")
KNOWN = "SELECT id, email, plan FROM customers WHERE id NOT IN (SELECT id FROM deleted_customers)"
DELETED = """
    SELECT DISTINCT id FROM deleted_customers
    WHERE returned IS NULL AND id NOT IN (SELECT id FROM customers)
"""
RETURNED = """
    UPDATE deleted_customers SET returned = '{{ run_id }}'
    WHERE returned IS NULL AND id IN (SELECT id FROM customers)
    RETURNING id
"""
WELCOMED = "DELETE FROM deleted_customers WHERE returned = '{{ run_id }}'"

with DAG(
    dag_id="segment_mirror",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=40,
    params={"max_users": 100},
    doc_md=__doc__,
) as dag:
    customers = SqlToSegmentOperator(
        task_id="customers",
        sql_conn_id="warehouse",
        sql=KNOWN,
        calls=[
            Identify(user_id="id", traits=["email", "plan"]),
            Track(Constant("Customer Deleted"), user_id="id", on_change=["deleted"]),
        ],
        sync_mode="changes",
        key="id",
        state_path=STATE,
    )
    forget = SqlToSegmentRegulationOperator(
        task_id="forget",
        sql_conn_id="warehouse",
        sql=DELETED,
        regulation_type="SUPPRESS_WITH_DELETE",
        max_users="{{ params.max_users }}",
        state_path=STATE,
    )
    forgotten = SegmentRegulationSensor(task_id="forgotten", regulations=forget.output)
    unsuppress = SqlToSegmentRegulationOperator(
        task_id="unsuppress",
        sql_conn_id="warehouse",
        sql=RETURNED,
        sql_hook_params={"streaming": False},  # PostgreSQL's server-side cursor takes a SELECT only
        regulation_type="UNSUPPRESS",
        max_users="{{ params.max_users }}",
        state_path=STATE,
    )
    unsuppressed = SegmentRegulationSensor(task_id="unsuppressed", regulations=unsuppress.output)
    welcome = SQLExecuteQueryOperator(
        task_id="welcome",
        conn_id="warehouse",
        sql=WELCOMED,
    )
    customers >> forget >> forgotten
    customers >> unsuppress >> unsuppressed >> welcome
