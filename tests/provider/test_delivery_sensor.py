"""SegmentDeliverySensor: what Segment received of a run, waited for by a worker and in the triggerer."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from runs import NO_WAIT, Run, RunDag, new_dag
from warehouses import SqliteWarehouse

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.sensors.segment import SegmentDeliverySensor
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

USERS = Identify(user_id="id", traits=["email"])
BOUGHT = Track(Constant("Bought"), user_id="id", properties=["email"])
WAITS = pytest.mark.parametrize("deferrable", [False, True], ids=["poking", "deferred"])
QUICK = {"poke_interval": 0.05, "settle_seconds": 0.2, "timeout": 20.0}


@pytest.fixture(autouse=True)
def _users(warehouse: SqliteWarehouse) -> None:
    """A warehouse of 100 users."""
    warehouse.run("CREATE TABLE users (id TEXT, email TEXT)")
    warehouse.insert("users", [(f"u{n}", f"user{n}@example.com") for n in range(100)])


def sync(**changed: Any) -> SqlToSegmentOperator:
    """Return a sync of them."""
    settings = {"task_id": "sync", "sql": "SELECT * FROM users", "sql_conn_id": "warehouse"}
    return SqlToSegmentOperator(**(settings | {"calls": [USERS, BOUGHT]} | changed))


def run_with(run_dag: RunDag, *, sync: dict[str, Any] | None = None, **sensor: Any) -> Run:
    """Run a DAG that syncs and then waits."""
    with new_dag() as dag:
        synced = globals()["sync"](**(sync or {}))
        SegmentDeliverySensor(task_id="arrived", report=synced.output, **(QUICK | sensor))
    return run_dag(dag)


@WAITS
def test_what_was_sent_has_arrived(segment: SegmentServer, run_dag: RunDag, deferrable: bool) -> None:
    """A sync, and a sensor that finds all of it at the same Segment, and returns the sums."""
    run = run_with(run_dag, deferrable=deferrable)
    assert (run.state, len(segment.messages)) == ("success", 200)
    sums = {"received": 200, "failed": 0, "failed_by_reason": {}, "filtered": 0, "filtered_by_reason": {}}
    assert run.xcom("arrived") == {"accepted": 200, **sums}
