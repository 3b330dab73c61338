"""With `render_template_as_native_obj=True`, what a DAG's author wrote as text stays text."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from runs import RunDag, new_dag
from warehouses import SqliteWarehouse

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.notifications.segment import SegmentNotifier
from airflow_provider_segment.operators.segment import SegmentTrackOperator
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

# Each is a literal of Python, which native rendering would read; the last stays text even so.
TEXTS = ["12134", "1e5", "1_000", "True", "None", "[1]", "'quoted'", " padded ", "02134"]


@pytest.fixture
def users(warehouse: SqliteWarehouse) -> SqliteWarehouse:
    """A table of one user."""
    warehouse.run("CREATE TABLE users AS SELECT 'u1' AS id")
    return warehouse


def test_constants_without_a_template_stay_text(
    segment: SegmentServer, users: SqliteWarehouse, run_dag: RunDag
) -> None:
    """Constants arrive as they were written; one with a template is the native object that the DAG asks for."""
    traits: dict[str, Any] = {f"t{n}": Constant(text) for n, text in enumerate(TEXTS)}
    traits |= {
        "list": Constant(["1", {"zip": "2"}]),
        "native": Constant("{{ 40 + 2 }}"),
        "day": Constant("{{ ds_nodash }}"),
    }
    with new_dag(render_template_as_native_obj=True) as dag:
        SqlToSegmentOperator(
            task_id="sync",
            sql="SELECT id, 1 AS n FROM users",
            sql_conn_id="warehouse",
            calls=[Identify("id", traits=traits), Track(Constant("404"), "id", when={"n": "{{ 1 }}"})],
        )
    run = run_dag(dag)
    assert run.state == "success"
    identify, track = segment.messages
    assert [identify["traits"][f"t{n}"] for n in range(len(TEXTS))] == TEXTS
    assert identify["traits"]["list"] == ["1", {"zip": "2"}]
    assert identify["traits"]["native"] == 42
    assert track["event"] == "404"


@pytest.mark.parametrize(("written", "known_as"), [("20260101", "20260101"), ("{{ '2026' }}0101_1", "20260101_1")])
def test_settings_that_are_text_stay_text(
    segment: SegmentServer, users: SqliteWarehouse, run_dag: RunDag, tmp_path: Path, written: str, known_as: str
) -> None:
    """A sync_id of digits is the text that its template gives, to the last character; so are the other settings."""
    state, rejects = tmp_path / "state.db", tmp_path / "rejects.jsonl"
    with new_dag(render_template_as_native_obj=True) as dag:
        SqlToSegmentOperator(
            task_id="sync",
            sql="SELECT id FROM users",
            sql_conn_id="{{ 'warehouse' }}",
            calls=Identify("id"),
            key="id",
            sync_mode="changes",
            sync_id=written,
            state_path=str(state),
            rejects_path=str(rejects),
            preview_path="{{ none }}",  # a native null, which is no setting
        )
    assert run_dag(dag).state == "success"
    with closing(sqlite3.connect(state)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {str(row) for name in tables for row in database.execute(f"SELECT * FROM {name}")}  # noqa: S608
    assert any(f"'{known_as}'" in row for row in found)
    assert rejects.exists()


def test_single_calls_stay_text(segment: SegmentServer, run_dag: RunDag) -> None:
    """The fields of a single call are texts as they were written, deep in properties too."""
    with new_dag(render_template_as_native_obj=True) as dag:
        SegmentTrackOperator(
            task_id="track", event="404", user_id="1_000", properties={"zip": "12134", "of": ["1e5", "{{ 7 }}"]}
        )
    assert run_dag(dag).state == "success"
    [message] = segment.messages
    assert (message["event"], message["userId"]) == ("404", "1_000")
    assert message["properties"] == {"zip": "12134", "of": ["1e5", 7]}


def test_notifications_stay_text(segment: SegmentServer, run_dag: RunDag) -> None:
    """What a notifier says is text as it was written."""
    from airflow.providers.common.compat.sdk import BaseOperator

    class Nothing(BaseOperator):
        def execute(self, context: Any) -> None:
            """Do nothing."""

    notifier = SegmentNotifier(event="200", user_id="1e5", properties={"zip": "12134"})
    with new_dag(render_template_as_native_obj=True) as dag:
        Nothing(task_id="nothing", on_success_callback=notifier)
    assert run_dag(dag).state == "success"
    [message] = segment.messages
    assert (message["event"], message["userId"], message["properties"]["zip"]) == ("200", "1e5", "12134")


def test_templated_settings_are_plain_values() -> None:
    """Airflow can store a DAG with these operators: it refuses a value of a subclass of `str`."""
    settings = {"sql": "SELECT 1", "sql_conn_id": "warehouse", "calls": Identify("id"), "key": "id"}
    settings |= {"sync_id": "{{ ds_nodash }}", "rejects_path": "r", "preview_path": "p", "state_path": "s"}
    operators = [
        SqlToSegmentOperator(task_id="sync", sync_mode="changes", **settings),
        SegmentTrackOperator(task_id="track", event="404", user_id="1_000"),
    ]
    for operator in operators:
        for name in operator.template_fields:
            value = getattr(operator, name)
            assert not isinstance(value, str) or type(value) is str, name
