"""Mapped tasks that share out one table: which ids their rows have, and what they say of deleted rows."""

from __future__ import annotations

import datetime as dt
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, task
from runs import RunDag, new_dag
from warehouses import SqliteWarehouse

from airflow_provider_segment.calls import Constant, Track
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

AT = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
ORDERED = Track(Constant("Order Completed"), user_id="customer", properties=["id"])
GONE = Track(Constant("Order Gone"), user_id="customer", on_change="deleted")
ALIKE = Track(Constant("Order Completed"), user_id="customer")
SHARE = "SELECT {} FROM orders WHERE id BETWEEN ? AND ?"


@pytest.mark.parametrize("by", ["operator", "hook"])
def test_with_a_key_other_bounds_give_the_same_ids(
    segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, by: str
) -> None:
    """A run that is cleared, and run again when the table has grown, sends each row under the id that it had."""
    orders(warehouse, 1, 60)
    dag = sharded(warehouse, by)
    assert run_dag(dag, AT).state == "success"
    first = ids(segment)
    segment.reset()
    orders(warehouse, 61, 90)  # the bounds are 30 rows apart now, not 20
    assert run_dag(dag, AT).state == "success"
    again = ids(segment)
    assert (len(first), len(again)) == (60, 90)
    assert {order: again[order] for order in first} == first
    assert len(set(again.values())) == 90


def test_with_a_key_another_run_has_other_ids(
    segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag
) -> None:
    """The run stays in the ids, also of mapped tasks."""
    orders(warehouse, 1, 6)
    dag = sharded(warehouse, "operator")
    for day in range(2):
        assert run_dag(dag, AT + dt.timedelta(days=day)).state == "success"
    assert len(segment.messages) == len({message["messageId"] for message in segment.messages}) == 12


def test_with_a_key_a_row_of_two_shards_is_one_call(
    segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag
) -> None:
    """A row that two shards read has one id, as a row that comes twice in one task."""
    orders(warehouse, 1, 1)
    with new_dag() as dag:
        mapped(key="id").expand(parameters=[[1, 1], [0, 2]])
    assert run_dag(dag).state == "success"
    assert (len(segment.messages), len(segment.duplicates)) == (1, 1)


def test_without_a_key_equal_rows_of_two_shards_are_two_calls(
    segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag
) -> None:
    """Without a key each mapped task counts equal rows by itself; cleared and run again, the ids repeat."""
    orders(warehouse, 1, 3)
    with new_dag() as dag:
        mapped("'C1' AS customer", calls=ALIKE).expand(parameters=[[1, 1], [2, 3]])
    for again in (0, 3):
        assert run_dag(dag, AT).state == "success"
        assert (len(segment.messages), len(segment.duplicates)) == (3, again)


def test_with_a_key_other_sources_and_other_calls_have_other_ids(
    segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mapped tasks that send one row to two sources, or as two events, never share an id."""
    orders(warehouse, 1, 1)
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", segment.connection.replace("local-write-key", "other-write-key"))
    one = {"key": "id", "parameters": [1, 1]}
    events = [Track(Constant(name), user_id="customer").as_dict() for name in ("Ordered", "Paid")]
    with new_dag() as dag:
        mapped(task_id="sources", **one).expand(segment_conn_id=["segment_default", "other"])
        shared = {name: value for name, value in settings_of(task_id="events", **one).items() if name != "calls"}
        SqlToSegmentOperator.partial(**shared).expand(calls=events)
    assert run_dag(dag).state == "success"
    assert len({message["messageId"] for message in segment.messages}) == len(segment.messages) == 4
    assert len(segment.write_keys) == 2


@pytest.mark.parametrize("shards", ["known", "of an upstream task"])
def test_a_call_on_deleted_in_shards_is_warned_of(
    segment: SegmentServer,
    warehouse: SqliteWarehouse,
    run_dag: RunDag,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    shards: str,
) -> None:
    """With "changes" each mapped task says what it cannot tell of deleted rows, and where to make such a call."""
    orders(warehouse, 1, 4)
    named = [{"parameters": [2 * n + 1, 2 * n + 2], "sync_id": f"orders-{n}"} for n in range(2)]
    state = {"sync_mode": "changes", "key": "id", "state_path": str(tmp_path / "state.db")}
    said = "A call on 'deleted' in a mapped task: a row that moves to another shard is told as deleted"

    @task
    def upstream() -> list[dict[str, Any]]:
        return named

    for calls, times in (([ORDERED, GONE], 2), ([ORDERED], 0)):
        with new_dag() as dag:
            mapped(calls=calls, **state).expand_kwargs(named if shards == "known" else upstream())
        assert run_dag(dag).state == "success"
        assert capfd.readouterr().out.count(said) == times
    with new_dag() as dag:  # a task that is not mapped may
        SqlToSegmentOperator(**settings_of(parameters=[1, 4], calls=[ORDERED, GONE], **state))
    assert run_dag(dag).state == "success"
    assert said not in capfd.readouterr().out


def settings_of(columns: str = "*", **changed: Any) -> dict[str, Any]:
    """Return the settings that all shards have, with some changed."""
    return {"task_id": "sync", "sql_conn_id": "warehouse", "sql": SHARE.format(columns), "calls": ORDERED} | changed


def mapped(columns: str = "*", **changed: Any) -> Any:
    """Return a task to map over its bounds."""
    return SqlToSegmentOperator.partial(**settings_of(columns, **changed))


def sharded(warehouse: SqliteWarehouse, by: str) -> DAG:
    """Return a DAG of three shards, each with a third of the table as it is at the time."""

    @task
    def bounds() -> list[list[int]]:
        ((most,),) = read(warehouse, "SELECT max(id) FROM orders")
        return [[most * shard // 3 + 1, most * (shard + 1) // 3] for shard in range(3)]

    @task
    def sync(parameters: list[int]) -> dict[str, Any]:
        rows = read(warehouse, SHARE.format("id, customer"), parameters)
        return SegmentHook().sync(rows, ORDERED, columns=["id", "customer"], key="id").as_dict()

    with new_dag() as dag:
        share = mapped(key="id").expand if by == "operator" else sync.expand
        share(parameters=bounds())
    return dag


def read(warehouse: SqliteWarehouse, query: str, parameters: Any = ()) -> list[Any]:
    """Return the rows of a query."""
    with closing(sqlite3.connect(warehouse.path)) as database:
        return database.execute(query, parameters).fetchall()


def orders(warehouse: SqliteWarehouse, first: int, last: int) -> None:
    """Add orders by number."""
    warehouse.run("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, customer TEXT)")
    warehouse.insert("orders", [(number, f"C{number % 7}") for number in range(first, last + 1)])


def ids(segment: SegmentServer) -> dict[int, str]:
    """Return the message id of each order that arrived."""
    return {message["properties"]["id"]: message["messageId"] for message in segment.messages}
