"""SqlToSegmentTaskGroup in real DAG runs, by `dag.test()`: what arrives, what is red, and what comes after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from runs import RunDag, new_dag
from warehouses import PostgresWarehouse

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment_group import SqlToSegmentTaskGroup

USERS = Identify("id", traits=["email"])
LEFT = Track(Constant("Left"), "id", on_change="deleted")
ORDERED = Track(Constant("Ordered"), "id", properties=["email"])


@pytest.fixture(autouse=True)
def _table(postgres: PostgresWarehouse) -> None:
    postgres.run("CREATE TABLE users (id int, email text)")
    postgres.run("INSERT INTO users SELECT n, 'user' || n FROM generate_series(1, 1000) n")


def group(dag: Any, tmp_path: Path, **changed: Any) -> SqlToSegmentTaskGroup:
    """A group in a DAG."""
    settings: dict[str, Any] = {
        "sql": "SELECT * FROM users",
        "sql_conn_id": "postgres",
        "warehouse_schema": "segment",
        "calls": [USERS, LEFT],
        "key": "id",
        "sync_mode": "changes",
        "state_path": str(tmp_path / "state.db"),
        "rows_per_shard": 100,
    }
    with dag:
        return SqlToSegmentTaskGroup("users", **settings | changed)


def test_two_days(segment: SegmentServer, postgres: PostgresWarehouse, run_dag: RunDag, tmp_path: Path) -> None:
    """All rows arrive once from four tasks, then only what has changed; nothing due skips `send`, and is green."""
    dag = new_dag()
    group(dag, tmp_path)
    first = run_dag(dag)
    assert first.state == "success"
    report = first.xcom("users.finalize")
    assert (report["rows"], report["skipped"], report["added"], report["deleted"]) == (1_000, 0, 1_000, 0)
    assert [first.task("users.send", n)[0] for n in range(4)] == ["success"] * 4
    assert sorted(int(m["userId"]) for m in segment.messages) == list(range(1, 1_001))
    requests = len(segment.requests)

    second = run_dag(dag)
    report = second.xcom("users.finalize")
    assert (second.state, report["rows"], report["skipped"], report["calls"]) == ("success", 1_000, 1_000, 0)
    assert second.task("users.send")[0] == "skipped"
    assert len(segment.requests) == requests

    postgres.run("UPDATE users SET email = 'new' WHERE id <= 3")
    postgres.run("DELETE FROM users WHERE id > 990")
    third = run_dag(dag)
    report = third.xcom("users.finalize")
    assert (report["updated"], report["deleted"], report["skipped"]) == (3, 10, 987)
    assert third.task("users.send", 0)[0] == "success"
    assert third.xcom("users.send", map_index=1) is None, "three rows are one task's work"
    assert segment.duplicates == []
