"""A process with OpenLineage turned on, which Airflow reads once: it runs the DAG whose events the tests look at."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import task
from runs import new_dag, run

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.transfers.query import open_query
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

SQL = "SELECT id, email FROM users WHERE email <> '{{ task.task_id }}'"


def sync(task_id: str, **options: object) -> None:
    """Add a task that sends the users."""
    calls = Identify(user_id="id", traits=["email"])
    SqlToSegmentOperator(task_id=task_id, sql=SQL, sql_conn_id="postgres", calls=calls, **options)  # type: ignore[arg-type]


@task
def hook_alone() -> None:
    """Send by the hook, as users of `@task` do."""
    SegmentHook().sync([{"id": "u1"}], Identify(user_id="id"))


@task
def query_alone() -> None:
    """Only read, as the operator does."""
    with open_query("postgres", "SELECT id FROM orders", {"secret": "sEcReT"}) as rows:
        list(rows.pages)


if __name__ == "__main__":
    with new_dag() as dag:
        sync("some_refused", max_rejected=5, sql_hook_params={"streaming": True})
        sync("too_many_refused")
        sync("nothing_sent", validate_only=True, max_rejected=5)
        hook_alone()
        query_alone()
    run(dag)
