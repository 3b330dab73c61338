"""Caps in a DAG: a broken one fails the task without a retry and without a request, and may be raised for one run."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import task
from filtered import FILTERS, Source, Sync, made_source
from runs import NO_WAIT, RunDag, new_dag
from warehouses import SqliteWarehouse

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.hooks.task import SegmentFailException
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

USERS = Identify("id", traits=["plan"])
DAY = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


@pytest.fixture
def users(warehouse: SqliteWarehouse) -> SqliteWarehouse:
    """A table of 30 users."""
    warehouse.run("CREATE TABLE users (id INTEGER, plan TEXT)")
    warehouse.insert("users", [(n, "free") for n in range(30)])
    return warehouse


def operator(**changed: Any) -> SqlToSegmentOperator:
    settings: dict[str, Any] = {"sql": "SELECT * FROM users", "sql_conn_id": "warehouse", "calls": USERS, "key": "id"}
    return SqlToSegmentOperator(task_id="sync", **settings | changed)


@pytest.mark.parametrize("how", FILTERS)
@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgres"])
def test_with_each_filter(
    segment: SegmentServer,
    kind: str,
    how: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the filter in the warehouse, on the client or without: kept at exactly the cap, broken one below it."""
    source: Source = made_source(kind, request, tmp_path, monkeypatch)
    sync = Sync(source, how, tmp_path / "state.db")
    source.fill([(n, "a") for n in range(300)])
    broken(segment, sync, "all calls: 300; max_calls allows 299", max_calls=299)
    sync.send(max_calls=300)
    source.run("UPDATE users SET email = 'b' WHERE id < 37")
    source.run("DELETE FROM users WHERE id >= 289")
    source.insert([(n, "c") for n in range(1_000, 1_020)])
    broken(segment, sync, "track:Left: 11 of 300 known keys are gone", max_deleted=10)
    broken(segment, sync, "all calls: 68; max_calls allows 67", max_calls=67)
    broken(segment, sync, "identify: added 20; max_added allows 19", max_added=19)
    broken(segment, sync, "identify: updated 37; max_updated allows 36 (0.12 of 300 keys", max_updated=0.12)
    report = sync.send(max_calls=68, max_added=20, max_updated=37, max_deleted=11)
    assert (report["added"], report["updated"], report["deleted"]) == (20, 37, 11)
    assert how == "none" or report["skipped"] == 252  # four runs that were stopped have left the filter as it was
    assert sync.send(max_calls=0, max_deleted=0)["accepted"] == 0
    assert segment.duplicates == []


def broken(segment: SegmentServer, sync: Sync, text: str, **caps: Any) -> None:
    requests = len(segment.requests)
    with pytest.raises(SegmentFailException, match=re.escape(text)) as raised:
        sync.send(**caps)
    assert raised.value.report is not None
    assert raised.value.report.accepted == 0
    assert len(segment.requests) == requests


def test_a_task(segment: SegmentServer, users: SqliteWarehouse, run_dag: RunDag) -> None:
    """A broken cap is not tried again; the report that it leaves has the plan."""
    with new_dag() as dag:
        operator(max_calls=29, retries=2, retry_delay=NO_WAIT)
    run = run_dag(dag)
    assert run.task("sync") == ("failed", 1)
    report = run.xcom("sync", "report")
    assert report["planned"] == {"identify": {"all": 30}}
    assert (report["not_sent"], report["accepted"]) == (30, 0)
    assert segment.requests == []


VALUES: dict[str, tuple[Any, bool]] = {
    "enough": (30, True),
    "as text": ("30", True),
    "nothing": (None, True),
    "an empty text": ("", True),
    "too few": (29, False),
}


@pytest.mark.parametrize("native", [False, True], ids=["texts", "native objects"])
@pytest.mark.parametrize(("value", "is_sent"), VALUES.values(), ids=VALUES)
def test_params(
    segment: SegmentServer, users: SqliteWarehouse, run_dag: RunDag, value: Any, is_sent: bool, native: bool
) -> None:
    """A cap is raised, or taken away, for one run by a param."""
    with new_dag(params={"most": value}, render_template_as_native_obj=native) as dag:
        operator(max_calls="{{ params.most }}")
    assert run_dag(dag).task("sync")[0] == ("success" if is_sent else "failed")
    assert len(segment.messages) == (30 if is_sent else 0)


def test_a_variable_and_a_cleared_task(
    segment: SegmentServer, users: SqliteWarehouse, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that a cap has stopped sends all once it is cleared, with another value of the Variable."""
    with new_dag() as dag:
        operator(max_calls="{{ var.value.get('most_calls', 20) }}")
    assert run_dag(dag, DAY).task("sync")[0] == "failed"
    assert segment.requests == []
    monkeypatch.setenv("AIRFLOW_VAR_MOST_CALLS", "30")
    assert run_dag(dag, DAY).task("sync")[0] == "success"
    assert len(segment.messages) == 30


@pytest.mark.parametrize("name", ["max_calls", "max_added", "max_updated", "max_deleted", "min_rows"])
def test_a_template_that_is_no_number(
    segment: SegmentServer, users: SqliteWarehouse, run_dag: RunDag, tmp_path: Path, name: str
) -> None:
    """A template that becomes something else fails the task before anything is sent."""
    with new_dag() as dag:
        operator(sync_mode="changes", state_path=str(tmp_path / "s.db"), **{name: "{{ 'many' }}"})
    assert run_dag(dag).task("sync") == ("failed", 1)
    assert segment.requests == []


def test_rows_of_python(segment: SegmentServer, tmp_path: Path) -> None:
    """hook.sync holds to the same caps."""
    rows = [{"id": n, "plan": "free"} for n in range(30)]
    options: dict[str, Any] = {"key": "id", "sync_id": "users", "run_id": "1"}
    with pytest.raises(SegmentFailException, match="all calls: 30; max_calls allows 29"):
        SegmentHook().sync(iter(rows), USERS, max_calls=29, **options)
    assert segment.requests == []
    assert SegmentHook().sync(iter(rows), USERS, max_calls=30, **options).accepted == 30


@pytest.mark.parametrize("more", [0, 1], ids=["nothing comes in between", "a row comes in between"])
def test_the_plan_that_was_looked_at_is_the_cap(
    segment: SegmentServer, users: SqliteWarehouse, run_dag: RunDag, tmp_path: Path, more: int
) -> None:
    """Two tasks, a look and a send: what comes in between is more than was seen, and stops the second one."""
    changes: dict[str, Any] = {"sync_mode": "changes", "state_path": str(tmp_path / "s.db"), "sync_id": "users"}
    left = Track(Constant("Left"), "id", on_change="deleted")
    settings: dict[str, Any] = {
        "sql": "SELECT * FROM users",
        "sql_conn_id": "warehouse",
        "calls": [USERS, left],
        "key": "id",
    }
    with new_dag() as dag:
        plan = SqlToSegmentOperator(task_id="plan", validate_only=True, **settings, **changes)
        send = SqlToSegmentOperator(
            task_id="send", max_calls="{{ ti.xcom_pull('plan')['not_sent'] }}", **settings, **changes
        )

        @task
        def come() -> None:
            users.insert("users", [(100 + n, "free") for n in range(more)] or [(1, "free")])

        plan >> come() >> send
    run = run_dag(dag)
    assert run.xcom("plan")["not_sent"] == 30
    assert run.task("send")[0] == ("failed" if more else "success")
    assert len(segment.messages) == (0 if more else 30)


@pytest.mark.parametrize(("number", "is_sent"), [(30, True), (29, False), (0, False)])
def test_two_runs_by_hand(
    segment: SegmentServer, users: SqliteWarehouse, run_dag: RunDag, tmp_path: Path, number: int, is_sent: bool
) -> None:
    """A look without a cap, and a run with its number (docs/costs.md): without it, nothing is sent."""
    states = []
    for params in ({"dry_run": True, "max_calls": 0}, {"dry_run": False, "max_calls": number}):
        with new_dag(params=params) as dag:
            operator(
                sync_mode="changes",
                sync_id="users",
                state_path=str(tmp_path / "s.db"),
                validate_only="{{ params.dry_run }}",
                max_calls="{{ '' if params.dry_run else params.max_calls }}",
            )
        states.append(run_dag(dag).task("sync")[0])
    assert states == ["success", "success" if is_sent else "failed"]
    assert len(segment.messages) == (30 if is_sent else 0)
