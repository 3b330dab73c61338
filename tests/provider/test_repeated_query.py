"""Events in `sync_mode="all"`: each run sends all of its rows, and one that asks as the run before did says so."""

from __future__ import annotations

import datetime as dt
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG
from runs import NO_WAIT, RunDag, new_dag
from warehouses import SqliteWarehouse

from airflow_provider_segment.calls import Alias, Constant, Group, Identify, Page, Track
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

DAYS = [dt.datetime(2026, 3, day, tzinfo=dt.UTC) for day in (1, 2, 3)]
ORDERED = Track(Constant("Order Completed"), user_id="customer", properties=["id"])
REPEATED = "The query and its parameters are those of the run before (manual__{})"
PATHS = "To send each row once, use sync_mode='changes' with a key and a state, or a query of the rows of the run's own"
Capfd = pytest.CaptureFixture[str]

SAME: dict[str, dict[str, Any]] = {
    "track": {},
    "page": {"calls": Page(name="id", user_id="customer")},
    "beside an identify": {"calls": [Identify(user_id="customer"), ORDERED]},
    "parameters": {"sql": "SELECT * FROM orders WHERE id > ?", "parameters": [0]},
}
OTHER: dict[str, dict[str, Any]] = {
    "a query of the run": {"sql": "SELECT * FROM orders WHERE '{{ ds }}' <> ''"},
    "parameters of the run": {"sql": "SELECT * FROM orders WHERE ? <> ''", "parameters": ["{{ ds }}"]},
    "identify": {"calls": Identify(user_id="customer")},
    "group": {"calls": Group("id", user_id="customer")},
    "alias": {"calls": Alias(user_id="customer", previous_id="id")},
    "a track that is turned off": {"calls": [Identify("customer"), Track(Constant("x"), "customer", enabled=False)]},
    "only a look": {"validate_only": True},
}


@pytest.mark.parametrize("settings", SAME.values(), ids=SAME)
def test_the_query_of_the_run_before_is_warned_of(
    segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, capfd: Capfd, settings: dict[str, Any]
) -> None:
    """From the second run on the log says that all rows are sent again as new events, and what to use instead."""
    orders(warehouse)
    dag = dag_of(**settings)
    for day, before in zip(DAYS, (None, *DAYS), strict=False):
        assert run_dag(dag, day).state == "success"
        log = capfd.readouterr().out
        assert (REPEATED.format(before.isoformat()) in log and PATHS in log) if before else PATHS not in log
    assert segment.duplicates == []


@pytest.mark.parametrize("settings", OTHER.values(), ids=OTHER)
def test_other_rows_and_other_calls_are_no_matter(
    segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, capfd: Capfd, settings: dict[str, Any]
) -> None:
    """A query of the run's own, calls that are no events, and a run that sends nothing are not warned of."""
    orders(warehouse)
    dag = dag_of(**settings)
    for day in DAYS[:2]:
        assert run_dag(dag, day).state == "success"
    assert PATHS not in capfd.readouterr().out


def test_with_changes_the_same_query_is_right(
    segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, capfd: Capfd, tmp_path: Path
) -> None:
    """With `sync_mode="changes"` the same query in each run is as it should be."""
    orders(warehouse)
    dag = dag_of(sync_mode="changes", key="id", state_path=str(tmp_path / "state.db"))
    for day in DAYS[:2]:
        assert run_dag(dag, day).state == "success"
    assert PATHS not in capfd.readouterr().out
    assert len(segment.messages) == 3


def test_a_look_before_is_no_run_before(
    segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, capfd: Capfd
) -> None:
    """A run with `validate_only` sent nothing, so the first run that sends is no repetition."""
    orders(warehouse)
    for day, settings in zip(DAYS, ({"validate_only": True}, {}, {}), strict=True):
        with new_dag() as dag:
            dag.dag_id = "looked_at"
            operator(**settings)
        assert run_dag(dag, day).state == "success"
        assert (PATHS in capfd.readouterr().out) == (day == DAYS[2])


def test_each_mapped_task_is_compared_with_itself(
    segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, capfd: Capfd
) -> None:
    """A mapped task whose parameters changed is not warned of; the one beside it is."""
    orders(warehouse)
    with new_dag() as dag:
        SqlToSegmentOperator.partial(
            task_id="sync", sql_conn_id="warehouse", sql="SELECT * FROM orders WHERE id > ?", calls=ORDERED
        ).expand(parameters=[[0], ["{{ ds_nodash }}"]])
    for day, times in zip(DAYS, (0, 1, 1), strict=True):
        assert run_dag(dag, day).state == "success"
        assert capfd.readouterr().out.count(PATHS) == times


def test_a_retry_of_a_run_is_not_its_repetition(
    segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, capfd: Capfd
) -> None:
    """A later try of the first run, and the run when it is cleared, repeat its ids, and are not warned of."""
    orders(warehouse)
    segment.respond_with([401, None])
    segment.respond_with([503])
    dag = dag_of(retries=1, retry_delay=NO_WAIT)
    for _ in range(2):
        run_dag(dag, DAYS[0])
    assert PATHS not in capfd.readouterr().out


def test_only_a_hash_is_left(segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag) -> None:
    """What a run leaves for the next one shows neither its query nor its parameters."""
    orders(warehouse)
    run = run_dag(dag_of(sql="SELECT * FROM orders WHERE customer <> ?", parameters=["ada@example.com"]), DAYS[0])
    left = run.xcom("sync", "segment_query")
    assert left.keys() == {"run_id", "query"}
    assert left["run_id"] == run.run_id
    assert len(bytes.fromhex(left["query"])) == 16


def test_without_airflows_memory_the_run_goes_on(
    segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag
) -> None:
    """What a run before left may be anything; the run does not depend on it."""
    orders(warehouse)
    dag = dag_of()
    assert run_dag(dag, DAYS[0]).state == "success"
    with closing(sqlite3.connect(Path(os.environ["AIRFLOW_HOME"]) / "airflow.db")) as database, database:
        changed = (json.dumps("something else"), dag.dag_id)
        database.execute("UPDATE xcom SET value = ? WHERE dag_id = ? AND key = 'segment_query'", changed)
    assert run_dag(dag, DAYS[1]).state == "success"
    assert len(segment.messages) == 6


def operator(**changed: Any) -> SqlToSegmentOperator:
    """Return an operator that sends the orders, with some settings changed."""
    settings = {"task_id": "sync", "sql_conn_id": "warehouse", "sql": "SELECT * FROM orders", "calls": ORDERED}
    return SqlToSegmentOperator(**(settings | changed))


def dag_of(**changed: Any) -> DAG:
    """Return a DAG of that operator."""
    with new_dag() as dag:
        operator(**changed)
    return dag


def orders(warehouse: SqliteWarehouse) -> None:
    """Make three orders."""
    warehouse.run("CREATE TABLE orders (id TEXT, customer TEXT)")
    warehouse.insert("orders", [(f"O{number}", f"C{number}") for number in range(3)])
