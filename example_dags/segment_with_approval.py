"""A plan that a person approves: the first task counts the calls, the last one sends no more than those.

Needs Airflow 3.1, which has human-in-the-loop operators; on Airflow 2 leave this file out.

**Connections**

- `warehouse`: any database that Airflow has a hook for, with the table `customers`.
- `segment_default`, type *Segment*: the source's write key.

The plan is the report of a run with `validate_only`. The question shows its numbers, and they are the caps of the task
that sends. Rows may change until then: what is sent are the changes at that time, and where they are more than was
approved, nothing is sent. After "Reject" the last task is skipped. In both cases the next run plans anew.

What Segment accepted last is remembered in a SQLite file in Airflow's home; several workers need `state_conn_id`, a
connection to PostgreSQL or MySQL, instead.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

CUSTOMERS: dict[str, Any] = {
    "sql_conn_id": "warehouse",
    "sql": "SELECT id, first_name, last_name, email, city, plan FROM customers",
    "calls": Identify(user_id="id", traits=["first_name", "last_name", "email", "city", "plan"]),
    "sync_mode": "changes",
    "sync_id": "customers_with_approval",
    "key": "id",
    "state_path": str(Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "segment_state.db"),
}
QUESTION = """
| call | added | updated | deleted |
| --- | --- | --- | --- |
{% for call, kinds in ti.xcom_pull('plan')['planned'].items() -%}
| {{ call }} | {{ kinds.added }} | {{ kinds.updated }} | {{ kinds.deleted }} |
{% endfor %}
"""

with DAG(
    dag_id="segment_with_approval",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
) as dag:
    plan = SqlToSegmentOperator(task_id="plan", validate_only=True, **CUSTOMERS)
    approve = ApprovalOperator(task_id="approve", subject="May these calls be sent to Segment?", body=QUESTION)
    send = SqlToSegmentOperator(
        task_id="send",
        max_calls="{{ ti.xcom_pull('plan')['not_sent'] }}",
        max_added="{{ ti.xcom_pull('plan')['added'] }}",
        max_updated="{{ ti.xcom_pull('plan')['updated'] }}",
        **CUSTOMERS,
    )
    plan >> approve >> send
