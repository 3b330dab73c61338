"""A host that is like Segment's and answers in other words, such as RudderStack's, as a task meets it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from runs import NO_WAIT, RunDag, new_dag
from warehouses import SqliteWarehouse

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

OK: Any = (200, {"Content-Type": "text/plain; charset=utf-8"}, b"OK")


@pytest.fixture
def dag(warehouse: SqliteWarehouse, segment: SegmentServer) -> Any:
    """A DAG that sends three rows to a host that says OK, and would try again."""
    warehouse.run("CREATE TABLE customers (id TEXT)")
    warehouse.insert("customers", [("c1",), ("c2",), ("c3",)])
    segment.respond_with(lambda _: OK)
    with new_dag() as dag:
        SqlToSegmentOperator(
            task_id="send",
            sql_conn_id="warehouse",
            sql="SELECT id FROM customers",
            calls=Identify(user_id="id"),
            retries=3,
            retry_delay=NO_WAIT,
        )
    return dag


def test_the_first_answer_ends_the_task_and_says_what_came_back(
    dag: Any, segment: SegmentServer, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
) -> None:
    """The task fails after one request, without a retry; the log has the answer and the setting that takes it."""
    run = run_dag(dag)
    assert (run.task("send"), len(segment.requests)) == (("failed", 1), 1)
    assert run.xcom("send", "report")["not_sent"] == 3
    shown = capfd.readouterr()
    said = shown.out + shown.err
    assert "/v1/batch answers HTTP 200 text/plain 'OK' in place of HTTP 200 with" in said
    assert "set accept_any_2xx in the connection's extra" in said


def test_accept_any_2xx_takes_it(
    dag: Any, segment: SegmentServer, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With accept_any_2xx in the connection's extra the task succeeds, with one request."""
    accepting = json.loads(segment.connection) | {"extra": {"accept_any_2xx": True}}
    monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", json.dumps(accepting))
    run = run_dag(dag)
    assert (run.state, run.xcom("send")["accepted"], len(segment.requests)) == ("success", 3, 1)
