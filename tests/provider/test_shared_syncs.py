"""A sync belongs to one task of a DAG run, waits for the run before it, and says when its state is new."""

from __future__ import annotations

import datetime as dt
import json
import re
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from airflow.providers.common.compat.sdk import task
from runs import NO_WAIT, RunDag, Shards, new_dag
from warehouses import SqliteWarehouse

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.mapping.message_ids import fingerprint
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

USERS = Identify("id", traits=["email"])
LEFT = Track(Constant("Left"), "id", on_change="deleted")
AT = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
SHARE = "SELECT * FROM users WHERE id % 2 = ?"


@pytest.fixture
def users(warehouse: SqliteWarehouse) -> SqliteWarehouse:
    """A table of twenty users."""
    warehouse.run("CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT)")
    warehouse.insert("users", [(n, f"user{n}@example.com") for n in range(20)])
    return warehouse


def settings_of(path: Path, **changed: Any) -> dict[str, Any]:
    """An operator's settings, with some changed."""
    settings = {"task_id": "sync", "sql": "SELECT * FROM users", "sql_conn_id": "warehouse", "calls": [USERS, LEFT]}
    settings |= {"sync_id": "users", "sync_mode": "changes", "key": "id", "state_path": str(path)}
    return settings | {"retries": 2, "retry_delay": NO_WAIT} | changed


def left(segment: SegmentServer) -> int:
    return sum(message.get("event") == "Left" for message in segment.messages)


class TestOneTask:
    """Each of two tasks that share a sync would take the other's keys for gone."""

    def test_shards_of_an_upstream_task_that_share_a_sync_id(
        self, segment: SegmentServer, users: SqliteWarehouse, tmp_path: Path, run_dag: RunDag
    ) -> None:
        """The second is refused without a retry before it sends anything; nobody is said to have left, on no day."""
        shards = [{"parameters": [n], "sync_id": "users"} for n in range(2)]
        settings = settings_of(tmp_path / "state.db", sql=SHARE, max_deleted=1)
        del settings["sync_id"]
        for day in range(2):
            with new_dag() as dag:
                up = Shards(task_id="up", shards=shards)
                SqlToSegmentOperator.partial(**settings).expand_kwargs(up.output)
            run = run_dag(dag, AT + dt.timedelta(days=day))
            # Whichever comes first; on the second day that may be the other one, which max_deleted stops.
            assert ("failed", 1) in [run.task("sync", index) for index in range(2)]
            assert left(segment) == 0
            assert day or len(segment.messages) == 10
            settings |= {"max_deleted": 0.5}

    def test_the_same_run_again(
        self, segment: SegmentServer, users: SqliteWarehouse, tmp_path: Path, run_dag: RunDag
    ) -> None:
        """A run that is cleared, and one whose try failed, go on where they were."""
        shards = [{"parameters": [n], "sync_id": f"users-{n}"} for n in range(2)]
        settings = settings_of(tmp_path / "state.db", sql=SHARE)
        del settings["sync_id"]
        with new_dag() as dag:
            SqlToSegmentOperator.partial(**settings).expand_kwargs(shards)
        for _ in range(2):
            assert run_dag(dag, AT).state == "success"
        assert (len(segment.messages), left(segment)) == (20, 0)

    def test_hook_sync_in_mapped_tasks(
        self, segment: SegmentServer, users: SqliteWarehouse, tmp_path: Path, run_dag: RunDag
    ) -> None:
        """The same holds for `hook.sync` in `@task` functions."""
        path = str(tmp_path / "state.db")

        @task
        def send(number: int) -> int:
            rows = [{"id": n, "email": "x"} for n in range(20) if n % 2 == number]
            options: dict[str, Any] = {"sync_mode": "changes", "key": "id", "state_path": path, "max_deleted": 1}
            return SegmentHook().sync(rows, [USERS, LEFT], sync_id="users", **options).accepted

        with new_dag() as dag:
            send.expand(number=[0, 1])
        run = run_dag(dag)
        assert sorted(run.task("send", index)[0] for index in range(2)) == ["failed", "success"]
        assert (len(segment.messages), left(segment)) == (10, 0)

    @pytest.mark.parametrize(
        ("calls", "first", "state"),
        [
            ([USERS, LEFT], {}, "failed"),
            (USERS, {"calls": [USERS, LEFT]}, "failed"),
            (USERS, {}, "success"),
            ([USERS, LEFT], {"validate_only": True}, "success"),
        ],
        ids=["both delete", "the first deletes", "neither deletes", "the first is a plan"],
    )
    def test_two_tasks_one_after_the_other(
        self,
        segment: SegmentServer,
        users: SqliteWarehouse,
        tmp_path: Path,
        run_dag: RunDag,
        calls: Any,
        first: dict[str, Any],
        state: str,
    ) -> None:
        """Two queries under one sync_id are refused where something may be deleted; a plan is in nobody's way."""
        with new_dag() as dag:
            settings = settings_of(tmp_path / "state.db", calls=calls, sql=SHARE)
            one = SqlToSegmentOperator(**settings | {"task_id": "one", "parameters": [0]} | first)
            two = SqlToSegmentOperator(**settings | {"task_id": "two", "parameters": [1]})
            _ = one >> two
        run = run_dag(dag)
        assert (run.task("one")[0], run.task("two")) == ("success", (state, 1))
        assert left(segment) == 0


def test_a_task_is_written_down_as_airflow_knows_it(
    segment: SegmentServer, users: SqliteWarehouse, tmp_path: Path, run_dag: RunDag
) -> None:
    """DAG, task, run, try and how it ended stand in the state, for each try."""
    with new_dag() as dag:
        SqlToSegmentOperator(**settings_of(tmp_path / "state.db"))
    run = run_dag(dag)
    with closing(sqlite3.connect(tmp_path / "state.db")) as database:
        rows = database.execute("SELECT dag_id, task_id, run_id, map_index, try_number, state FROM segment_run")
        assert rows.fetchall() == [(dag.dag_id, "sync", run.run_id, -1, 1, "success")]


def test_who_holds_the_state_stands_in_the_tasks_log(
    segment: SegmentServer,
    users: SqliteWarehouse,
    tmp_path: Path,
    run_dag: RunDag,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A run that waits names the other in its log, and goes on as soon as that has ended."""
    path = tmp_path / "state.db"
    key = fingerprint(json.loads(segment.connection)["password"])
    engine = sa.create_engine(f"sqlite:///{path}")
    other = State(engine, "users", key, Holder("shop", "customers", "monday", 3, 2))

    asked = threading.Event()

    def watch(*statement: Any) -> None:
        if "FROM segment_run" in statement[2]:  # the other run has looked up who holds the lease
            asked.set()

    def free() -> None:
        asked.wait(120)
        other.close()

    threading.Thread(target=free).start()
    sa.event.listen(sa.engine.Engine, "before_cursor_execute", watch)
    try:
        with new_dag() as dag:
            SqlToSegmentOperator(**settings_of(path))
        assert run_dag(dag).state == "success"
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", watch)
        asked.set()
    engine.dispose()
    shown = "".join(capfd.readouterr())
    said = (
        r"its state is held by DAG shop, task customers, map index 3, run monday, try 2, since 20\S+ \S+ UTC\. Waiting"
    )
    assert re.search(said, shown)
    assert "its state is free, after" in shown


class TestANewState:
    """A state that is not there may be one that was lost: nothing is sent again without a word."""

    def test_a_lost_file_is_named_before_anything_is_sent(
        self, segment: SegmentServer, users: SqliteWarehouse, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """The log names the file, what will be sent, and where the file must lie; later runs say nothing of it."""
        path = tmp_path / "state.db"
        said: list[str] = []
        segment.respond_with(lambda _: said.append("".join(capfd.readouterr())))
        for lost in (True, False, True):
            if lost:
                for file in tmp_path.glob("state.db*"):
                    file.unlink()
            capfd.readouterr()
            assert SqlToSegmentOperator(**settings_of(path)).execute({})["added"] == (20 if lost else 0)
            if not lost:
                assert "its state in" not in "".join(capfd.readouterr())
        assert len(said) == 2
        for text in said:
            assert f"sync_id 'users': its state in the file {path} is new: all rows are sent, as in a first run" in text
            assert "it must lie on a disk that outlives the task and that every worker sees" in text
            assert "first_run='fail' refuses such a run" in text

    def test_a_new_table_names_the_connection(
        self, segment: SegmentServer, users: SqliteWarehouse, postgres: Any, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A database is named by its connection and schema."""
        postgres.run("CREATE SCHEMA s")
        where = {"state_path": None, "state_conn_id": "postgres", "state_schema": "s"}
        SqlToSegmentOperator(**settings_of(Path(), **where)).execute({})
        said = "sync_id 'users': its state in the connection 'postgres', schema 's' is new: all rows are sent"
        assert said in "".join(capfd.readouterr())

    def test_a_baseline_says_that_it_sends_nothing(
        self, segment: SegmentServer, users: SqliteWarehouse, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """With "baseline" nothing is sent, and that is what the log says."""
        SqlToSegmentOperator(**settings_of(tmp_path / "s", first_run="baseline")).execute({})
        said = "is new: all rows are remembered, and none is sent, as in a first run"
        assert said in "".join(capfd.readouterr())

    def test_fail_refuses_a_first_run(
        self, segment: SegmentServer, users: SqliteWarehouse, tmp_path: Path, run_dag: RunDag
    ) -> None:
        """`first_run="fail"` sends nothing, and is not tried again; the error says how to allow it once."""
        path = tmp_path / "state.db"
        with new_dag() as dag:
            SqlToSegmentOperator(**settings_of(path, first_run="fail"))
        assert run_dag(dag).task("sync") == ("failed", 1)
        way = re.escape("To allow it once, run with first_run='send' (sends all) or 'baseline' (sends nothing)")
        for _ in range(2):  # a refused run leaves nothing that allows the next one
            with pytest.raises(Exception, match=f"^first_run='fail': .*{re.escape(str(path))}.*{way}"):
                SqlToSegmentOperator(**settings_of(path, first_run="fail")).execute({})
        assert segment.requests == []
        SqlToSegmentOperator(**settings_of(path, first_run="baseline")).execute({})
        users.run("UPDATE users SET email = 'new@b.c' WHERE id = 1")
        assert SqlToSegmentOperator(**settings_of(path, first_run="fail")).execute({})["updated"] == 1

    def test_fail_holds_for_a_call_that_is_added_later(
        self, segment: SegmentServer, users: SqliteWarehouse, tmp_path: Path
    ) -> None:
        """A call that the state has not seen would be sent for all rows: it is named, and refused."""
        path = tmp_path / "state.db"
        SqlToSegmentOperator(**settings_of(path)).execute({})
        sent = len(segment.messages)
        more = [USERS, LEFT, Track(Constant("Came"), "id")]
        with pytest.raises(Exception, match="has seen no whole run of track:Came"):
            SqlToSegmentOperator(**settings_of(path, calls=more, first_run="fail")).execute({})
        assert len(segment.messages) == sent

    def test_fail_with_a_file_that_was_lost(
        self, segment: SegmentServer, users: SqliteWarehouse, tmp_path: Path
    ) -> None:
        """The file of a sync that has run for days is gone, as with a new pod: nothing is sent again."""
        path = tmp_path / "state.db"
        SqlToSegmentOperator(**settings_of(path)).execute({})
        assert SqlToSegmentOperator(**settings_of(path, first_run="fail")).execute({})["skipped"] == 20
        for file in tmp_path.glob("state.db*"):
            file.unlink()
        sent = len(segment.messages)
        with pytest.raises(Exception, match=r"is new, so that all rows would be sent.*that every worker sees"):
            SqlToSegmentOperator(**settings_of(path, first_run="fail")).execute({})
        assert len(segment.messages) == sent

    def test_a_plan_is_refused_alike(self, segment: SegmentServer, users: SqliteWarehouse, tmp_path: Path) -> None:
        """`validate_only` says what the run would say, and makes no state."""
        path = tmp_path / "state.db"
        with pytest.raises(Exception, match="first_run='fail'"):
            SqlToSegmentOperator(**settings_of(path, first_run="fail", validate_only=True)).execute({})
        assert not path.exists()
