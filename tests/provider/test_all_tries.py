"""The report of a task that ran in several tries tells what all of them did, under ``all_tries``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from filtered import DATABASES, LEFT, USERS, Source, Sync, made_source
from groups import GroupRun
from processes import killed_before
from runs import HAS_STORE, NO_WAIT, RunDag, again, new_dag
from warehouses import SqliteWarehouse

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

STORES = ["store"] if HAS_STORE else []
PLACES = [*STORES, "all in a file", "all in postgres", "changes in a file", "changes in mariadb"]
# The first try fails at a row: SQLite's integer overflow.
BROKEN = "SELECT id, email FROM users WHERE abs(-9223372036854775807 - (id = {row})) > 0"


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The settings of each place where the counts of a run are kept."""
    if request.param == "store":
        return {}
    mode = {"sync_mode": "changes", "key": "id"} if request.param.startswith("changes") else {}
    if request.param.endswith("file"):
        return mode | {"state_path": str(tmp_path / "state.db")}
    name = request.param.rpartition(" ")[2]
    if name == "mariadb":
        return mode | {"state_conn_id": request.getfixturevalue("mariadb_connection")}
    request.getfixturevalue("postgres")
    return mode | {"state_conn_id": name}


def operator(sql: str, **settings: Any) -> SqlToSegmentOperator:
    return SqlToSegmentOperator(
        task_id="sync",
        sql=sql,
        sql_conn_id="warehouse",
        calls=Identify(user_id="id", traits=["email"]),
        fetch_size=500,
        max_in_flight=1,
        retry_delay=NO_WAIT,
        **settings,
    )


@pytest.fixture
def users(warehouse: SqliteWarehouse, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> SqliteWarehouse:
    """A table of 3,000 users, of whom 500 go in a batch."""
    limited = json.loads(segment.connection) | {"extra": {"events_per_second": 5_000}}
    monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", json.dumps(limited))
    warehouse.run("CREATE TABLE users (id INTEGER, email TEXT)")
    warehouse.insert("users", [(n, f"user{n}@example.com") for n in range(3_000)])
    return warehouse


class TestOperator:
    """Each try has a report of its own, and the last one the sum of all."""

    def test_a_retry(
        self, segment: SegmentServer, users: SqliteWarehouse, run_dag: RunDag, place: dict[str, Any]
    ) -> None:
        """What two tries had accepted is what Segment has; and a third one, of a task that was cleared, adds to it."""
        with new_dag() as dag:
            whole = "SELECT id, email FROM users"
            sql = f"{{% if ti.try_number == 1 %}}{BROKEN.format(row=2_500)}{{% else %}}{whole}{{% endif %}}"
            operator(sql, retries=1, **place)
        run = run_dag(dag)
        report = run.xcom("sync")
        tries = report["all_tries"]
        assert tries["tries"] == 2
        assert 0 < report["accepted"] < tries["accepted"] == len(segment.messages) == 3_000
        assert tries["requests"] == len(segment.requests)
        assert tries["bytes"] > report["bytes"]
        assert tries["seconds"] >= report["seconds"]
        third = again(dag, run.run_id, "sync").xcom("sync")["all_tries"]
        assert (third["tries"], third["accepted"]) == (3, len(segment.messages) + len(segment.duplicates))

    def test_one_try(
        self, segment: SegmentServer, users: SqliteWarehouse, run_dag: RunDag, place: dict[str, Any]
    ) -> None:
        """A task that needs no retry has none, nor has the run of the next day."""
        for _ in range(2):
            with new_dag() as dag:
                operator("SELECT id, email FROM users", **place)
            assert "all_tries" not in run_dag(dag).xcom("sync")

    def test_the_report_of_a_try_that_fails(
        self, segment: SegmentServer, users: SqliteWarehouse, run_dag: RunDag, place: dict[str, Any]
    ) -> None:
        """It tells the sum too."""
        segment.refuse(lambda message: message["userId"] == "7")
        with new_dag() as dag:
            operator("SELECT id, email FROM users", **place)
        run = run_dag(dag)
        report = again(dag, run.run_id, "sync").xcom("sync", "report")
        assert (report["accepted"], report["rejected"]) == (0, 1)
        assert (report["all_tries"]["tries"], report["all_tries"]["accepted"]) == (2, 2_999)

    @pytest.mark.skipif(HAS_STORE, reason="where Airflow has a store, the tries are known")
    def test_nothing_remembers(self, segment: SegmentServer, users: SqliteWarehouse, run_dag: RunDag) -> None:
        """Where neither Airflow nor a state remembers the tries, none is made up."""
        with new_dag() as dag:
            operator("SELECT id, email FROM users")
        run = run_dag(dag)
        assert "all_tries" not in again(dag, run.run_id, "sync").xcom("sync")


class TestGroup:
    """The report of a group has the sum of the tries of its tasks."""

    @pytest.fixture(params=DATABASES)
    def source(self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
        """A table of 40 users in a database of each kind."""
        found = made_source(request.param, request, tmp_path, monkeypatch)
        found.fill([(n, f"user{n}") for n in range(40)])
        return found

    def test_tasks_are_tried_again(self, segment: SegmentServer, source: Source, tmp_path: Path) -> None:
        """Also that which makes the calls of keys that are gone."""
        settings = Sync(source, "group", tmp_path / "state.db", "users").settings(calls=[USERS, LEFT], max_rejected=9)
        settings |= {"shards": 3, "rows_per_shard": 5}
        GroupRun(settings).all()
        source.run("UPDATE users SET email = 'b' WHERE id < 30")
        source.run("DELETE FROM users WHERE id >= 30")
        segment.reset()
        group = GroupRun(settings)
        parts = len(group.plan())
        killed_before("ending a part of the run", lambda: group.send(0))
        group.tries["send", 0] += 1  # of the process that was killed
        sent = len(segment.messages)
        for number in range(parts):
            group.send(number)
        killed_before("ending a run", group.finalize)
        group.tries["finalize", -1] += 1
        report = group.finalize()
        tries = report["all_tries"]
        assert report["accepted"] == 30 - sent < 30
        assert (tries["accepted"], tries["updated"], tries["deleted"]) == (40, 30, 10)
        assert (tries["accepted"], tries["requests"]) == (len(segment.messages), len(segment.requests))
        assert tries["tries"] == 2
        (line, *_) = SegmentHook().history("users", state_path=str(tmp_path / "state.db"))
        assert line["all_tries"]["accepted"] == 40


class TestSmall:
    """What is kept of a try is its counts."""

    def test_the_store_has_no_values(self, segment: SegmentServer, users: SqliteWarehouse, run_dag: RunDag) -> None:
        """The report, which goes to Airflow's database, has counts alone."""
        with new_dag() as dag:
            operator("SELECT id, email FROM users")
        run = run_dag(dag)
        said = json.dumps(again(dag, run.run_id, "sync").xcom("sync"))
        assert "example.com" not in said
