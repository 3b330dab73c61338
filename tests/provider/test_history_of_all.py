"""With ``sync_mode="all"`` a state may be given for the history of the runs alone."""

from __future__ import annotations

import datetime as dt
import os
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from runs import RunDag, again, new_dag
from warehouses import SqliteWarehouse

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.core.changes import run_record
from airflow_provider_segment.core.changes.history import ALL, RunDetails
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.hooks.task import SegmentFailException
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

ROWS = [{"id": f"u{n}"} for n in range(10)]
# More than the page that is read before the run begins, to learn its columns.
MANY = [{"id": f"u{n}"} for n in range(3_000)]
CALL = Identify(user_id="id")


@pytest.fixture(params=["file", "postgres", "mariadb"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Where the history is."""
    if request.param == "file":
        return {"state_path": str(tmp_path / "state.db")}
    if request.param == "mariadb":
        return {"state_conn_id": request.getfixturevalue("mariadb_connection")}
    request.getfixturevalue("postgres")
    return {"state_conn_id": "postgres"}


def history(where: dict[str, str], sync_id: str = "orders") -> list[dict[str, Any]]:
    return SegmentHook().history(sync_id, **where)


def send(where: dict[str, str], rows: Any = ROWS, sync_id: str = "orders", **settings: Any) -> Any:
    return SegmentHook().sync(rows, CALL, sync_id=sync_id, **where, **settings)


class TestRuns:
    """Each run is a line, as with "changes"."""

    def test_how_they_end(self, segment: SegmentServer, where: dict[str, str]) -> None:
        """Well, with a failure in our words, or with an error of others, whose words are not kept."""
        send(where)
        segment.refuse(lambda message: message["userId"] == "u3")
        with pytest.raises(SegmentFailException):
            send(where)

        def rows() -> Any:
            yield from MANY
            raise RuntimeError("canary")

        with pytest.raises(RuntimeError):
            send(where, rows(), max_rejected=3)
        third, second, first = history(where)
        assert [run["state"] for run in (first, second, third)] == ["success", "failed", "failed"]
        assert (first["mode"], first["accepted"], first["error"]) == ("all", 10, None)
        assert (second["accepted"], second["rejected"]) == (9, 1)
        assert second["error"].startswith("1 of 10 calls were refused")
        assert third["error"] == "RuntimeError"
        assert all(run["ended"] >= run["started"] for run in (first, second, third))

    def test_validate_only(self, segment: SegmentServer, where: dict[str, str]) -> None:
        """A run that sends nothing is none of the history."""
        send(where)
        send(where, validate_only=True)
        assert len(history(where)) == 1

    def test_tasks(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, where: dict[str, str]
    ) -> None:
        """Each try, and each map index, of two days."""
        warehouse.run("CREATE TABLE users (id TEXT)")
        warehouse.insert("users", [("a",), ("b",)])
        with new_dag() as dag:
            SqlToSegmentOperator.partial(
                task_id="sync", sql="SELECT id FROM users WHERE id = ?", sql_conn_id="warehouse", calls=CALL, **where
            ).expand(parameters=[["a"], ["b"]])
        runs = [run_dag(dag, dt.datetime(2026, 5, day, tzinfo=dt.UTC)) for day in (1, 2)]
        lines = history(where, f"{dag.dag_id}.sync")
        assert sorted((line["run_id"], line["map_index"]) for line in lines) == [
            (run.run_id, index) for run in runs for index in (0, 1)
        ]
        assert sorted(line["run"] for line in lines) == [1, 2, 3, 4]

    def test_tries(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, where: dict[str, str]
    ) -> None:
        """A try that was killed without a word is closed by the next one of its task."""
        warehouse.run("CREATE TABLE users (id TEXT)")
        with new_dag() as dag:
            SqlToSegmentOperator(
                task_id="sync", sql="SELECT id FROM users", sql_conn_id="warehouse", calls=CALL, **where
            )
        run = run_dag(dag)
        edit(where, "UPDATE segment_run SET state = 'running', ended = NULL")
        again(dag, run.run_id, "sync")
        assert [(line["try_number"], line["state"]) for line in history(where, f"{dag.dag_id}.sync")] == [
            (2, "success"),
            (1, "killed"),
        ]

    def test_another_day_closes_runs_whose_dag_run_has_ended(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, where: dict[str, str]
    ) -> None:
        """As far as Airflow knows them; one that Airflow does not know stands as it was found."""
        warehouse.run("CREATE TABLE users (id TEXT)")
        with new_dag() as dag:
            SqlToSegmentOperator(
                task_id="sync", sql="SELECT id FROM users", sql_conn_id="warehouse", calls=CALL, **where
            )
        for day in (1, 2):
            run_dag(dag, dt.datetime(2026, 5, day, tzinfo=dt.UTC))
        edit(where, "UPDATE segment_run SET state = 'running', ended = NULL")
        edit(where, "UPDATE segment_run SET run_id = 'unknown' WHERE run = 2")
        run_dag(dag, dt.datetime(2026, 5, 3, tzinfo=dt.UTC))
        states = [line["state"] for line in history(where, f"{dag.dag_id}.sync")]
        assert states == ["success", "running", "killed"]


def edit(where: dict[str, str], statement: str) -> None:
    """Change the history as a kill would have left it."""
    from airflow_provider_segment.hooks.state import database, file_to_write

    engine = file_to_write(where["state_path"]) if "state_path" in where else database(where["state_conn_id"])
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def test_runs_that_begin_at_once(segment: SegmentServer, where: dict[str, str]) -> None:
    """Mapped tasks that share a database all run, also where it ends deadlocks by failing one of them."""
    with ThreadPoolExecutor(12) as pool:
        reports = list(pool.map(lambda n: send(where, sync_id="at-once", run_id=f"run{n}"), range(12)))
    assert [report.accepted for report in reports] == [10] * 12
    assert {run["state"] for run in history(where, "at-once")} == {"success"}


def test_a_beginning_that_nobody_heard_of(tmp_path: Path) -> None:
    """The connection is lost at the commit that writes the run down, and the transaction is run again: one run."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'state.db'}")
    begun: list[bool] = []

    def lose(connection: sa.engine.Connection) -> None:
        has_run = sa.inspect(connection).has_table("segment_run")
        if not begun and has_run and connection.execute(sa.text("SELECT run FROM segment_run")).first():
            begun.append(True)
            connection.exec_driver_sql("COMMIT")
            raise sa.exc.OperationalError("COMMIT", {}, Exception("lost"), connection_invalidated=True)

    sa.event.listen(engine, "commit", lose)
    record = run_record.RunRecord(engine, "orders", RunDetails(Holder(run_id="random"), ALL))
    record.end({"accepted": 10}, "success", None)
    assert begun
    assert [run["state"] for run in history({"state_path": str(tmp_path / "state.db")})] == ["success"]


class TestBesideChanges:
    """Both modes may share a sync_id, and neither is harmed."""

    def test_a_sync_becomes_one_of_changes(self, segment: SegmentServer, where: dict[str, str]) -> None:
        """Its first run with "changes" finds no state, whatever the source of the runs before was, and goes on."""
        send(where)
        changes = {"sync_mode": "changes", "key": "id"}
        assert send(where, **changes).added == 10
        assert send(where, **changes).accepted == 0
        send(where)
        assert send(where, **changes).accepted == 0
        assert [(run["run"], run["mode"]) for run in history(where)] == [
            (5, "changes"), (4, "all"), (3, "changes"), (2, "changes"), (1, "all"),
        ]  # fmt: skip

    def test_a_baseline_that_must_be_there(self, segment: SegmentServer, where: dict[str, str]) -> None:
        """A history is no state: `first_run="fail"` says so."""
        send(where)
        with pytest.raises(SegmentFailException, match="first_run"):
            send(where, sync_mode="changes", key="id", first_run="fail")

    def test_a_dry_run_finds_no_state(self, segment: SegmentServer, where: dict[str, str]) -> None:
        """What would be sent is all."""
        send(where)
        assert send(where, sync_mode="changes", key="id", validate_only=True).planned["identify"]["added"] == 10


class TestWhatFails:
    """The history is never the reason why a run fails, once it has begun."""

    def test_the_database_goes_away(
        self, segment: SegmentServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """The run goes on, and the log says what is missing."""
        path = tmp_path / "state.db"

        def rows() -> Any:
            yield from MANY
            with closing(sqlite3.connect(path)) as database:
                database.execute("DROP TABLE segment_run")

        assert send({"state_path": str(path)}, rows()).accepted == 3_000
        assert "The history of the sync lacks something" in "".join(capfd.readouterr())

    def test_a_kill(self, segment: SegmentServer, tmp_path: Path) -> None:
        """The counts of some seconds before stand there."""
        where = {"state_path": str(tmp_path / "state.db")}

        def rows() -> Any:
            for number in range(6_000):
                yield {"id": f"u{number}"}
            os.kill(os.getpid(), signal.SIGKILL)

        if (child := os.fork()) == 0:
            run_record.EVERY = 0.0
            with suppress(BaseException):
                send(where, rows())
            os._exit(1)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        (run,) = history(where)
        assert (run["state"], run["rows"]) == ("running", 5_000)


class TestDays:
    """Runs are kept for `history_days`."""

    @pytest.mark.parametrize("mode", [{}, {"sync_mode": "changes", "key": "id"}])
    def test_older_ones_go(self, segment: SegmentServer, where: dict[str, str], mode: dict[str, Any]) -> None:
        """With the next run, and no others."""
        for _ in range(3):
            send(where, **mode)
        edit(where, "UPDATE segment_run SET started = started - 86400 * run * 10 WHERE run < 3")
        send(where, history_days=15, **mode)
        assert [run["run"] for run in history(where)] == [4, 3, 1]
        send(where, history_days=5, **mode)
        assert [run["run"] for run in history(where)] == [5, 4, 3]

    @pytest.mark.parametrize("days", [0, -1, 1.5, True, "90"])
    def test_what_it_takes(self, days: Any) -> None:
        """A whole number above 0; else the DAG does not parse."""
        with pytest.raises(ValueError, match="history_days: expected a whole number above 0"):
            SqlToSegmentOperator(task_id="t", sql="SELECT 1", sql_conn_id="x", calls=CALL, history_days=days)
