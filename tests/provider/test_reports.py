"""Each try of a task leaves exactly one report, and it is true."""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import runs
from airflow.providers.common.compat.sdk import task
from runs import HAS_STORE, NO_WAIT, RunDag, again, new_dag
from warehouses import SqliteWarehouse

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.operators.segment import SegmentIdentifyOperator
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

TIMES = ("seconds", "started", "ended")
NOTHING = {name: count for name, count in Report().as_dict().items() if name not in TIMES}


def fill(warehouse: SqliteWarehouse) -> None:
    warehouse.run("CREATE TABLE users (id TEXT, email TEXT)")
    warehouse.insert("users", [(f"u{n}", f"user{n}@example.com") for n in range(3_000)])


def operator(**changed: Any) -> SqlToSegmentOperator:
    settings = {"task_id": "sync", "sql": "SELECT * FROM users", "sql_conn_id": "warehouse"}
    return SqlToSegmentOperator(**(settings | {"calls": Identify(user_id="id", traits=["email"])} | changed))


def counts(report: dict[str, Any]) -> dict[str, Any]:
    return {name: count for name, count in report.items() if name not in TIMES}


def failing_operators() -> dict[str, dict[str, Any]]:
    return {
        "a bad column": {"calls": Identify(user_id="uid")},
        "a query that fails": {"sql": "SELECT * FROM nowhere"},
        "no source": {"sql_conn_id": "nosuch"},
        "a state that cannot be opened": {"sync_mode": "changes", "key": "id", "state_path": "/proc/no/state.db"},
        "rejects that cannot be written": {"rejects_path": "/proc/no/rejects.jsonl"},
        "no Segment": {"segment_conn_id": "nosuch"},
    }


@pytest.mark.parametrize("changed", failing_operators().values(), ids=failing_operators())
def test_fails_before_its_first_row(
    segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, changed: dict[str, Any]
) -> None:
    """A task that fails before its first row leaves a report as well: nothing was read, nothing was sent."""
    fill(warehouse)
    with new_dag() as dag:
        operator(**changed)
    run = run_dag(dag)
    assert run.task("sync")[0] == "failed"
    assert counts(run.xcom("sync", "report")) == NOTHING
    assert run.xcom("sync") is None
    assert segment.requests == []


def test_the_hook_and_other_operators(segment: SegmentServer, run_dag: RunDag) -> None:
    """So do the hook in a `@task`, rows that are no rows, and a single call to a connection that is not there."""

    @task
    def bad_option() -> None:
        SegmentHook().sync([{"id": "u1"}], Identify(user_id="id"), nulls="maybe")

    @task
    def rows_that_fail() -> None:
        def rows() -> Iterator[dict[str, str]]:
            yield {"id": "u1"}
            raise RuntimeError("the source failed")

        SegmentHook().sync(rows(), Identify(user_id="id"))

    with new_dag() as dag:
        bad_option()
        rows_that_fail()
        SegmentIdentifyOperator(task_id="no_rows", rows=[1, 2], call=Identify(user_id="id"))
        SegmentIdentifyOperator(task_id="no_connection", user_id="u1", segment_conn_id="nosuch")
    run = run_dag(dag)
    for name in ("bad_option", "rows_that_fail", "no_rows", "no_connection"):
        assert run.task(name)[0] == "failed"
        assert counts(run.xcom(name, "report")) == NOTHING


def test_fails_when_all_was_sent(
    segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails after the last call, as the parts of rejects in an object storage may, leaves the true counts."""
    fill(warehouse)
    warehouse.run("UPDATE users SET id = NULL WHERE id = 'u7'")
    with new_dag() as dag:
        operator(rejects_path="file:///proc/no/rejects.jsonl", max_rejected=1)
    run = run_dag(dag)
    assert run.task("sync")[0] == "failed"
    report = run.xcom("sync", "report")
    assert (report["accepted"], report["invalid"]) == (len(segment.messages), 1) == (2_999, 1)


def test_a_retry_that_succeeds(
    segment: SegmentServer,
    warehouse: SqliteWarehouse,
    run_dag: RunDag,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Beside what a later try returns stands no other truth."""
    fill(warehouse)
    out_of_reach = {"conn_type": "sqlite", "host": str(tmp_path / "nowhere" / "warehouse.db")}
    monkeypatch.setenv("AIRFLOW_CONN_OUT_OF_REACH", json.dumps(out_of_reach))
    conn_id = "{% if ti.try_number == 1 %}out_of_reach{% else %}warehouse{% endif %}"
    with new_dag() as dag:
        operator(sql_conn_id=conn_id, retries=1, retry_delay=NO_WAIT)
    run = run_dag(dag)
    assert run.task("sync") == ("success", 2)
    assert run.xcom("sync")["accepted"] == 3_000
    assert run.xcom("sync", "report") in (None, run.xcom("sync"))


def database() -> Any:
    """Airflow's own database."""
    found = sqlite3.connect(Path(os.environ["AIRFLOW_HOME"]) / "airflow.db", timeout=30)
    return closing(found)


def begin_another_try(dag_id: str) -> None:
    """Let Airflow begin a later try, as it does when the heartbeats of one that is frozen stay out."""
    with database() as airflow, airflow:
        change = "id = ?, try_number = try_number + 1" if HAS_STORE else "try_number = try_number + length(?) / 32"
        airflow.execute(
            f"UPDATE task_instance SET {change} WHERE dag_id = ? AND task_id = 'sync'",  # noqa: S608  of this file
            (uuid.uuid4().hex, dag_id),
        )


def test_a_try_that_wakes_up_beside_a_later_one(segment: SegmentServer, run_dag: RunDag) -> None:
    """A try that was frozen, and wakes up when another has begun, leaves no report beside that one's."""

    @task
    def sync(ti: Any = None) -> None:
        def rows() -> Iterator[dict[str, str]]:
            for number in range(10_000):
                yield {"id": f"u{number}"}
            begin_another_try(ti.dag_id)
            ti.xcom_push(key="report", value={"of": "the later try"})
            raise RuntimeError("it wakes up")

        SegmentHook().sync(rows(), Identify(user_id="id"))

    with new_dag() as dag:
        sync()
    with suppress(Exception):  # Airflow misses the try that it began
        run_dag(dag)
    (run_id,) = runs.run_ids(dag.dag_id)
    with database() as airflow:
        query = "SELECT key, value FROM xcom WHERE dag_id = ? AND run_id = ?"
        left = airflow.execute(query, (dag.dag_id, run_id)).fetchall()
    assert {key: json.loads(value) for key, value in left} == {"report": {"of": "the later try"}}


def test_a_single_call_again(segment: SegmentServer, run_dag: RunDag, capfd: pytest.CaptureFixture[str]) -> None:
    """ "Clear task" of a single call says that Segment drops it; its report is the later try's."""
    with new_dag() as dag:
        SegmentIdentifyOperator(task_id="call", user_id="u1")
    run = run_dag(dag)
    assert "if an earlier one was accepted" not in capfd.readouterr().out
    run = again(dag, run.run_id, "call")
    assert "Try 2 of this run: if an earlier one was accepted, the message goes again under the same" in (
        capfd.readouterr().out
    )
    assert len(segment.messages) == len(segment.duplicates) == 1
    assert run.xcom("call", "report") in (None, run.xcom("call"))
