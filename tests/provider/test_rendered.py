"""What Airflow's UI shows of a task: SQL as SQL, and what is nested as JSON."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from runs import RunDag, new_dag
from warehouses import SqliteWarehouse

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.operators import segment as operators
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

NESTED = {"traits", "properties", "context", "integrations", "call", "calls", "parameters", "headers", "query", "json"}
OPERATORS: list[Any] = [
    SqlToSegmentOperator,
    *(kind for name, kind in vars(operators).items() if name.startswith("Segment") and hasattr(kind, "execute")),
]


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_renderers(operator: Any) -> None:
    """Each templated field that may be nested is shown as JSON, and SQL as SQL."""
    expected = {
        name: "sql" if name == "sql" else "json" for name in operator.template_fields if name in {*NESTED, "sql"}
    }
    renderers = {
        name: kind for name, kind in operator.template_fields_renderers.items() if name in operator.template_fields
    }
    assert renderers == expected


def test_rendered_calls(segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag) -> None:
    """Airflow stores calls as objects that can be read, with their templates rendered, not as one long text."""
    warehouse.run("CREATE TABLE users AS SELECT 'u1' AS id")
    calls = [Identify(user_id="id", traits={"run": Constant("{{ task.task_id }}")}), Track(event="id", user_id="id")]
    with new_dag() as dag:
        SqlToSegmentOperator(
            task_id="sync", sql="SELECT id FROM users -- {{ task.task_id }}", sql_conn_id="warehouse", calls=calls
        )
    run = run_dag(dag)
    shown = rendered(run.run_id)
    assert shown["sql"] == "SELECT id FROM users -- sync"
    assert [call["call"] for call in shown["calls"]] == ["identify", "track"]
    assert shown["calls"][0]["traits"] == {"run": {"constant": "sync"}}


def rendered(run_id: str) -> Any:
    """Return the rendered fields of a run's only task, from Airflow's database."""
    with closing(sqlite3.connect(Path(os.environ["AIRFLOW_HOME"]) / "airflow.db")) as database:
        query = "SELECT rendered_fields FROM rendered_task_instance_fields WHERE run_id = ?"
        ((found,),) = database.execute(query, (run_id,)).fetchall()
    return json.loads(found)
