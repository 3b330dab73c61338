"""What a query changes at its source is kept when Segment has acknowledged all that came of it, and never before."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from drivers import MadeUpConnection, hand_out
from mariadb import MariadbWarehouse
from runs import NO_WAIT, RunDag, new_dag
from warehouses import PostgresWarehouse, SqliteWarehouse

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

ROWS = 500
PLAIN = {"streaming": False}


@dataclass
class Outbox:
    """A table of rows to send, and a query that gives them and marks them as taken.

    :param source: the settings of the operator that read it.
    :param count: tells how many rows are marked, as another session sees them.
    """

    source: dict[str, Any]
    count: Callable[[], int]


def on_postgres(house: PostgresWarehouse, sql: str, **params: Any) -> Outbox:
    house.run(f"CREATE TABLE outbox AS SELECT 'u' || n AS id, false AS taken FROM generate_series(1, {ROWS}) n")  # noqa: S608
    house.run(
        "CREATE FUNCTION take_outbox() RETURNS TABLE (id text) LANGUAGE sql AS "
        "'UPDATE outbox SET taken = true WHERE NOT taken RETURNING outbox.id'"
    )
    source = {"sql_conn_id": "postgres", "sql": sql, "sql_hook_params": params}
    return Outbox(source, lambda: house.count("SELECT count(*) FROM outbox WHERE taken"))


def on_mariadb(house: MariadbWarehouse, sql: str, **params: Any) -> Outbox:
    house.run("CREATE TABLE outbox (id VARCHAR(9) PRIMARY KEY, taken BOOL NOT NULL DEFAULT false)")
    house.run(f"INSERT INTO outbox (id) SELECT concat('u', seq) FROM seq_1_to_{ROWS}")  # noqa: S608
    house.run("CREATE TABLE taken (id VARCHAR(9))")
    house.run(
        "CREATE FUNCTION take(one VARCHAR(9)) RETURNS VARCHAR(9) MODIFIES SQL DATA "
        "BEGIN INSERT INTO taken VALUES (one); RETURN one; END"
    )
    house.run(
        "CREATE PROCEDURE take_outbox() MODIFIES SQL DATA "
        "BEGIN SELECT id FROM outbox WHERE NOT taken FOR UPDATE; UPDATE outbox SET taken = true; END"
    )
    source = {"sql_conn_id": "mariadb", "sql": sql, "sql_hook_params": params}
    return Outbox(source, lambda: house.count("SELECT (SELECT count(*) FROM taken) + sum(taken) FROM outbox"))


def on_sqlite(house: SqliteWarehouse, sql: str) -> Outbox:
    house.run("CREATE TABLE outbox (id TEXT PRIMARY KEY, taken INTEGER)")
    house.insert("outbox", [(f"u{n}", 0) for n in range(ROWS)])

    def count() -> int:
        with closing(sqlite3.connect(house.path)) as database:
            return int(database.execute("SELECT count(*) FROM outbox WHERE taken").fetchone()[0])

    return Outbox({"sql_conn_id": "warehouse", "sql": sql}, count)


def on_duckdb(folder: Path, sql: str) -> Outbox:
    from airflow.providers.common.compat.sdk import BaseHook

    def run(statement: str) -> Any:
        with closing(BaseHook.get_connection("duck").get_hook().get_conn()) as database:
            return database.execute(statement).fetchall()

    run(f"CREATE TABLE outbox AS SELECT 'u' || n AS id, false AS taken FROM range({ROWS}) r(n)")  # noqa: S608
    return Outbox(
        {"sql_conn_id": "duck", "sql": sql}, lambda: int(run("SELECT count(*) FROM outbox WHERE taken")[0][0])
    )


TAKE = "UPDATE outbox SET taken = true RETURNING id"
OUTBOXES: dict[str, tuple[str, Callable[[Any], Outbox]]] = {
    "a function of PostgreSQL": ("postgres", lambda house: on_postgres(house, "SELECT * FROM take_outbox()")),
    "the same, plain cursor": ("postgres", lambda house: on_postgres(house, "SELECT * FROM take_outbox()", **PLAIN)),
    "UPDATE in PostgreSQL": ("postgres", lambda house: on_postgres(house, TAKE, **PLAIN)),
    "a function of MariaDB": ("mariadb", lambda house: on_mariadb(house, "SELECT take(id) AS id FROM outbox")),
    "the same, plain cursor ": (
        "mariadb",
        lambda house: on_mariadb(house, "SELECT take(id) AS id FROM outbox", **PLAIN),
    ),
    "a procedure of MariaDB": ("mariadb", lambda house: on_mariadb(house, "CALL take_outbox()")),
    "a procedure, plain cursor": ("mariadb", lambda house: on_mariadb(house, "CALL take_outbox()", **PLAIN)),
    "UPDATE in SQLite": ("warehouse", lambda house: on_sqlite(house, TAKE)),
    "UPDATE behind a WITH in SQLite": (
        "warehouse",
        lambda house: on_sqlite(house, f"WITH n AS (SELECT 1) {TAKE}"),
    ),
    "UPDATE in DuckDB": ("duck", lambda folder: on_duckdb(folder, TAKE)),
}


@pytest.fixture
def duck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty DuckDB file behind the connection `duck`."""
    monkeypatch.setenv("AIRFLOW_CONN_DUCK", json.dumps({"conn_type": "duckdb", "host": str(tmp_path / "w.duckdb")}))
    return tmp_path


@pytest.fixture(params=OUTBOXES.values(), ids=OUTBOXES)
def outbox(request: pytest.FixtureRequest) -> Outbox:
    """An outbox of 500 rows, none of them taken."""
    fixture, make = request.param
    return make(request.getfixturevalue(fixture))


def operator(source: dict[str, Any], **changed: Any) -> SqlToSegmentOperator:
    """Return an operator that sends the outbox, 100 rows at a time."""
    settings = {"task_id": "sync", "calls": Identify("id"), "fetch_size": 100, "max_in_flight": 1, **source}
    return SqlToSegmentOperator(**(settings | changed))


@pytest.fixture
def in_five_batches(segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit under which a batch holds 100 events."""
    limited = {**json.loads(segment.connection), "extra": {"events_per_second": 1000}}
    monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", json.dumps(limited))


@pytest.mark.usefixtures("in_five_batches")
class TestEachCursor:
    """The same with each kind of cursor."""

    def test_kept_after_the_last_acknowledgement(self, segment: SegmentServer, outbox: Outbox) -> None:
        """While requests are on their way nothing is marked; when all is acknowledged, all is."""
        seen: list[int] = []
        segment.respond_with(lambda _: seen.append(outbox.count()))
        report = operator(outbox.source).execute({})
        assert (report["accepted"], seen) == (ROWS, [0] * 5)
        assert outbox.count() == ROWS
        assert "warnings" not in report

    def test_not_kept_by_a_run_that_fails(self, segment: SegmentServer, outbox: Outbox) -> None:
        """When a batch cannot be sent, or too much is refused, nothing is marked: the rows come again."""
        segment.respond_with([401])
        with pytest.raises(Exception, match="refuses the write key"):
            operator(outbox.source).execute({})
        segment.reset()
        segment.refuse(lambda message: message["userId"] == "u7")
        with pytest.raises(Exception, match="max_rejected allows 0"):
            operator(outbox.source).execute({})
        assert outbox.count() == 0

    def test_not_kept_by_a_run_that_is_stopped(self, segment: SegmentServer, outbox: Outbox) -> None:
        """A task that is killed marks nothing."""
        task = operator(outbox.source)
        segment.respond_with(lambda _: task.on_kill())
        with pytest.raises(Exception, match="the run was stopped"):
            task.execute({})
        assert outbox.count() == 0

    def test_not_kept_by_a_run_that_only_validates(self, segment: SegmentServer, outbox: Outbox) -> None:
        """With validate_only nothing is sent, and nothing is marked."""
        assert operator(outbox.source, validate_only=True).execute({})["not_sent"] == ROWS
        assert (outbox.count(), segment.requests) == (0, [])


def test_two_days(segment: SegmentServer, postgres: PostgresWarehouse, run_dag: RunDag) -> None:
    """The first day's rows are taken; the second day sends what came since, and the third nothing."""
    outbox = on_postgres(postgres, "SELECT * FROM take_outbox()")
    with new_dag() as dag:
        operator(outbox.source)
    for new, expected in (("", ROWS), ("INSERT INTO outbox VALUES ('new', false)", 1), ("", 0)):
        postgres.run(new or "SELECT 1")
        assert run_dag(dag).xcom("sync")["accepted"] == expected
    assert len(segment.messages) == len({message["userId"] for message in segment.messages}) == ROWS + 1


def test_locked_rows_are_skipped(segment: SegmentServer, postgres: PostgresWarehouse) -> None:
    """FOR UPDATE SKIP LOCKED: rows that another worker has locked are left to it, and ours are locked until the end."""
    outbox = on_postgres(postgres, "SELECT id FROM outbox FOR UPDATE SKIP LOCKED")
    free: list[int] = []
    left = "SELECT count(*) FROM (SELECT 1 FROM outbox FOR UPDATE SKIP LOCKED) AS s"
    segment.respond_with(lambda _: free.append(postgres.count(left)))
    report = operator(outbox.source).execute({})
    assert report["accepted"] == ROWS
    assert "warnings" not in report
    assert free[-1] == 0
    assert postgres.count(left) == ROWS


def test_autocommit_of_the_connection(
    segment: SegmentServer, postgres: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that commits each statement does not do so for us, and a server-side cursor works in it."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    plain = PostgresHook.get_conn

    def commits_itself(hook: PostgresHook) -> Any:
        connection = plain(hook)
        connection.autocommit = True
        return connection

    monkeypatch.setattr(PostgresHook, "get_conn", commits_itself)
    outbox = on_postgres(postgres, "SELECT * FROM take_outbox()")
    for params in ({}, PLAIN):
        segment.reset()
        segment.respond_with([401])
        with pytest.raises(Exception, match="refuses the write key"):
            operator(outbox.source, sql_hook_params=params).execute({})
        assert outbox.count() == 0
    segment.reset()
    assert operator(outbox.source).execute({})["accepted"] == outbox.count() == ROWS


def test_autocommit_that_cannot_be_turned_off(segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what a query changes would be kept at once, the query is refused before it runs; a SELECT is not."""

    class Stubborn(MadeUpConnection):
        @property
        def autocommit(self) -> bool:
            return True

    connection = Stubborn("somewhere.dbapi", ["id"], [("u1",)])
    source = {"sql_conn_id": hand_out(connection, monkeypatch)}
    with pytest.raises(Exception, match="sql: the query changes data, and this connection keeps that before Segment"):
        operator(source, sql="DELETE FROM outbox RETURNING id").execute({})
    assert connection.done == ["close"]
    assert operator(source, sql="SELECT id FROM outbox").execute({})["accepted"] == 1


class SessionError(Exception):
    """A made-up driver's word for a session that is gone; it quotes a row, as drivers do."""


def dies(_: MadeUpConnection) -> None:
    raise SessionError("session of ada@example.com is gone")


SNOWFLAKE = "snowflake.connector.connection"


class TestFailingCommit:
    """A session that dies before the commit."""

    @pytest.mark.parametrize(
        "sql", ["SELECT id FROM users", "WITH u AS (SELECT 1 AS id) SELECT id FROM u", "SHOW USERS"]
    )
    def test_after_a_select(
        self, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch, run_dag: RunDag, sql: str
    ) -> None:
        """After a query that only reads, the task is a success, with a warning: nothing is lost nor sent twice."""
        made_up = hand_out(MadeUpConnection(SNOWFLAKE, ["id"], [("u1",)], {"commit": dies}), monkeypatch)
        with new_dag() as dag:
            operator({"sql_conn_id": made_up, "sql": sql}, retries=1, retry_delay=NO_WAIT)
        run = run_dag(dag)
        assert run.task("sync") == ("success", 1)
        assert run.xcom("sync")["warnings"] == {"sql: commit_failed": 1}
        assert len(segment.messages) == 1

    def test_the_log_says_so(
        self,
        segment: SegmentServer,
        monkeypatch: pytest.MonkeyPatch,
        run_dag: RunDag,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """The warning names the driver's error, never its text, and says that nothing is lost."""
        made_up = hand_out(MadeUpConnection(SNOWFLAKE, ["id"], [("u1",)], {"commit": dies}), monkeypatch)
        with new_dag() as dag:
            operator({"sql_conn_id": made_up, "sql": "SELECT id FROM users"})
        assert run_dag(dag).state == "success"
        shown = capfd.readouterr()
        assert "SessionError" in shown.out + shown.err
        assert "The query changed nothing, so nothing is lost" in shown.out + shown.err
        assert "ada@example.com" not in shown.out + shown.err

    @pytest.mark.parametrize("sql", ["CALL take_outbox()", "DELETE FROM outbox RETURNING id", "EXEC take_outbox"])
    def test_after_a_query_that_changes_data(
        self, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch, run_dag: RunDag, sql: str
    ) -> None:
        """The task fails, with its report: what was sent is counted, and what the query changed is rolled back."""
        made_up = hand_out(MadeUpConnection(SNOWFLAKE, ["id"], [("u1",)], {"commit": dies}), monkeypatch)
        source = {"sql_conn_id": made_up, "sql": sql}
        with new_dag() as dag:
            operator(source)
        run = run_dag(dag)
        assert run.state == "failed"
        assert run.xcom("sync", "report")["accepted"] == 1
        hand_out(MadeUpConnection(SNOWFLAKE, ["id"], [("u1",)], {"commit": dies}), monkeypatch)
        with pytest.raises(
            Exception, match=r"what the query changed is rolled back: they come again.* 1 accepted"
        ) as caught:
            operator(source).execute({})
        assert "ada@example.com" not in str(caught.value)

    def test_then_a_failing_close(self, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection that cannot even be closed any more fails no run, and hides no error."""
        on = {"commit": dies, "close": dies}
        made_up = hand_out(MadeUpConnection(SNOWFLAKE, ["id"], [("u1",)], on), monkeypatch)
        source = {"sql_conn_id": made_up, "sql": "SELECT id FROM users"}
        assert operator(source).execute({})["accepted"] == 1
        hand_out(MadeUpConnection(SNOWFLAKE, ["id"], [("u1",)], on), monkeypatch)
        segment.respond_with([401])
        with pytest.raises(Exception, match="refuses the write key"):
            operator(source).execute({})

    @pytest.mark.parametrize("streaming", [True, False])
    def test_in_postgres(self, segment: SegmentServer, postgres: PostgresWarehouse, streaming: bool) -> None:
        """PostgreSQL is asked whether the query changed anything: a SELECT may have called a function that does."""
        outbox = on_postgres(postgres, "SELECT * FROM take_outbox()", streaming=streaming)
        check_a_lost_commit(outbox, segment, postgres.kill_readers)

    def test_then_the_next_try(self, segment: SegmentServer, postgres: PostgresWarehouse, run_dag: RunDag) -> None:
        """The rows come again, and are marked; none of them is at Segment twice."""
        outbox = on_postgres(postgres, "SELECT * FROM take_outbox()")
        killed: list[int] = []
        segment.respond_with(lambda _: None if killed else killed.append(postgres.kill_readers()))
        with new_dag() as dag:
            operator(outbox.source, retries=1, retry_delay=NO_WAIT)
        run = run_dag(dag)
        assert (run.task("sync"), killed) == (("success", 2), [1])
        assert outbox.count() == ROWS
        assert len(segment.messages) == len({message["userId"] for message in segment.messages}) == ROWS

    @pytest.mark.parametrize("streaming", [True, False])
    def test_in_mariadb(self, segment: SegmentServer, mariadb: MariadbWarehouse, streaming: bool) -> None:
        """MariaDB does not tell; what is no SELECT may have changed something."""
        outbox = on_mariadb(mariadb, "CALL take_outbox()", streaming=streaming)
        check_a_lost_commit(outbox, segment, mariadb.kill_readers)


def check_a_lost_commit(outbox: Outbox, segment: SegmentServer, kill: Callable[[], int]) -> None:
    """Check that a session that is lost before the commit fails a query that takes rows, and only warns of a SELECT."""
    with pytest.raises(Exception, match="what the query changed is rolled back"):
        after_the_last_row(outbox, segment, kill)
    assert outbox.count() == 0
    outbox.source["sql"] = "SELECT id FROM outbox"
    report = after_the_last_row(outbox, segment, kill)
    assert report["warnings"] == {"sql: commit_failed": 1}


def after_the_last_row(outbox: Outbox, segment: SegmentServer, kill: Callable[[], int]) -> dict[str, Any]:
    """Send an outbox in one batch, which goes when its last row is read; its session is killed then."""
    segment.reset()
    killed: list[int] = []
    segment.respond_with(lambda _: killed.append(kill()))
    try:
        return operator(outbox.source).execute({})
    finally:
        assert killed == [1]
