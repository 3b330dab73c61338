"""A query is read to its end: the source may wait for Segment, and a result that breaks off is no end."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from drivers import MadeUpConnection, MadeUpCursor, hand_out
from mariadb import MariadbWarehouse
from runs import RunDag, new_dag
from warehouses import PostgresWarehouse

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

USERS = Identify("id", traits=["email"])
LEFT = Track(Constant("Left"), "id", on_change="deleted")


def operator(**changed: Any) -> SqlToSegmentOperator:
    """Return an operator that sends the users, 250 at a time."""
    settings = {"task_id": "sync", "sql": "SELECT id, email FROM users", "calls": USERS, "fetch_size": 250}
    return SqlToSegmentOperator(**(settings | changed))


def limit(segment: SegmentServer, monkeypatch: pytest.MonkeyPatch, events_per_second: int) -> None:
    """Send no more than so many events a second."""
    limited = {**json.loads(segment.connection), "extra": {"events_per_second": events_per_second}}
    monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", json.dumps(limited))


def people_in_postgres(house: PostgresWarehouse, count: int, width: int = 10) -> None:
    house.run(
        "CREATE TABLE users AS SELECT n::text AS id, repeat('x', "  # noqa: S608  numbers of the test
        f"{width}) AS email FROM generate_series(1, {count}) AS n"
    )


def people_in_mariadb(house: MariadbWarehouse, count: int, width: int = 10) -> None:
    house.run("CREATE TABLE users (id VARCHAR(20) PRIMARY KEY, email TEXT)")
    house.run(f"INSERT INTO users SELECT seq, repeat('x', {width}) FROM seq_1_to_{count}")  # noqa: S608  the same


class TestTheSourceWaits:
    """While we send, the source waits: its limits for idle sessions do not end the run."""

    @pytest.mark.parametrize("streaming", [True, False])
    @pytest.mark.parametrize("limits", ["idle_in_transaction_session_timeout", "transaction_timeout"])
    def test_postgres(
        self,
        segment: SegmentServer,
        postgres: PostgresWarehouse,
        monkeypatch: pytest.MonkeyPatch,
        limits: str,
        streaming: bool,
    ) -> None:
        """PostgreSQL ends no transaction of ours for being idle, or long, and keeps its limits for all others."""
        people_in_postgres(postgres, 1_000)
        monkeypatch.setenv("AIRFLOW_CONN_POSTGRES", postgres.connection(options=f"-c {limits}=150ms"))
        limit(segment, monkeypatch, 1_000)
        task = operator(sql_conn_id="postgres", sql_hook_params={"streaming": streaming}, max_in_flight=1)
        report = task.execute({})
        assert (report["accepted"], report["seconds"] > 0.6) == (1_000, True)
        assert "warnings" not in report

    def test_postgres_only_in_our_transaction(
        self, segment: SegmentServer, postgres: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is set holds for our transaction alone: a pooler hands the session on as it was."""
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        monkeypatch.setenv(
            "AIRFLOW_CONN_POSTGRES", postgres.connection(options="-c idle_in_transaction_session_timeout=60s")
        )
        kept: list[Any] = []
        plain = PostgresHook.get_conn

        class Pooled:
            """A session that its pool takes back at the end."""

            def __init__(self, session: Any) -> None:
                self.session = session

            def __getattr__(self, name: str) -> Any:
                return getattr(self.session, name)

            def close(self) -> None:
                kept.append(self.session)

        def pooled(hook: PostgresHook) -> Any:
            session = plain(hook)
            kind = type(Pooled.__name__, (Pooled,), {"__module__": type(session).__module__})
            return kind(session)

        monkeypatch.setattr(PostgresHook, "get_conn", pooled)
        sql = "SELECT 'u1' AS id, current_setting('idle_in_transaction_session_timeout') AS email"
        operator(sql_conn_id="postgres", sql=sql).execute({})
        assert segment.messages[0]["traits"] == {"email": "0"}
        (session,) = kept
        with closing(session), closing(session.cursor()) as cursor:
            cursor.execute("SHOW idle_in_transaction_session_timeout")
            assert cursor.fetchall() == [("1min",)]

    @pytest.mark.parametrize("streaming", [True, False])
    def test_mariadb(self, segment: SegmentServer, mariadb: MariadbWarehouse, streaming: bool) -> None:
        """MariaDB's session waits a day for us, whatever the server's limits are."""
        limits = {"net_write_timeout": 1, "wait_timeout": 1, "idle_transaction_timeout": 1, "max_statement_time": 7}
        before = {name: mariadb.count(f"SELECT @@global.{name}") for name in limits}
        sql = "SELECT 'u1' AS id, concat_ws(' ', {}) AS email".format(", ".join(f"@@session.{n}" for n in limits))
        try:
            for name, value in limits.items():
                mariadb.run(f"SET GLOBAL {name} = {value}")
            operator(sql_conn_id="mariadb", sql=sql, sql_hook_params={"streaming": streaming}).execute({})
        finally:
            for name, value in before.items():
                mariadb.run(f"SET GLOBAL {name} = {value}")
        counts_our_wait = "0.000000" if streaming else "7.000000"  # with a plain cursor the query has ended by then
        assert segment.messages[0]["traits"] == {"email": f"86400 86400 0 {counts_our_wait}"}

    @pytest.mark.parametrize("name", ["net_write_timeout", "max_statement_time"])
    def test_mariadb_under_its_limits(
        self, segment: SegmentServer, mariadb: MariadbWarehouse, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """A server that gives a session one second to take its rows gives us as long as Segment's limit asks for."""
        people_in_mariadb(mariadb, 600, 20_000)
        before = mariadb.count(f"SELECT @@global.{name}")
        mariadb.run(f"SET GLOBAL {name} = 1")
        limit(segment, monkeypatch, 150)
        try:
            report = operator(sql_conn_id="mariadb", max_in_flight=1, fetch_size=300).execute({})
        finally:
            mariadb.run(f"SET GLOBAL {name} = {before}")
        assert (report["accepted"], report["seconds"] > 2) == (600, True)

    @pytest.mark.parametrize("module", ["psycopg2.extensions", "psycopg", "MySQLdb.connections"])
    def test_server_that_knows_no_such_limit(
        self, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch, module: str
    ) -> None:
        """What a server refuses to set is done without: other databases speak PostgreSQL's and MySQL's protocols."""
        pytest.importorskip(module.partition(".")[0])

        def refuses(connection: MadeUpConnection) -> None:
            if "set" in connection.done[-1].lower() or "txid" in connection.done[-1]:
                raise RuntimeError("unrecognized configuration parameter")

        connection = MadeUpConnection(module, ["id", "email"], [("u1", "x")], {"execute": refuses})
        task = operator(sql_conn_id=hand_out(connection, monkeypatch))
        assert task.execute({})["accepted"] == 1
        query = connection.done.index("execute SELECT id, email FROM users")
        assert "rollback" not in connection.done[query:]


class TestBreaksOff:
    """A result that breaks off fails the run; the keys that were not read are not taken for gone."""

    @pytest.fixture(params=["postgres", "postgres, plain cursor", "MySQLdb", "pymysql"])
    def source(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> tuple[str, Any, dict[str, Any]]:
        """A connection to 2,000 users of 2 KB each, the database that they are in, and the hook's parameters."""
        engine, _, plain = request.param.partition(", ")
        if engine == "postgres":
            house = request.getfixturevalue("postgres")
            people_in_postgres(house, 2_000, 2_000)
            return "postgres", house, {"streaming": not plain}
        house = request.getfixturevalue("mariadb")
        people_in_mariadb(house, 2_000, 2_000)
        if engine == "pymysql":
            driver = pytest.importorskip("pymysql")
            from airflow.providers.mysql.hooks.mysql import MySqlHook

            place = json.loads(house.connection())["extra"]["unix_socket"]
            monkeypatch.setattr(MySqlHook, "get_conn", lambda _: driver.connect(unix_socket=place, user="root", db="w"))
        return "mariadb", house, {}

    def test_session_that_is_killed(
        self, segment: SegmentServer, source: tuple[str, Any, dict[str, Any]], tmp_path: Path
    ) -> None:
        """Killed in the middle, the run fails, says how long the source waited, and deletes nothing."""
        conn_id, house, hook_params = source
        settings: dict[str, Any] = {"sql_conn_id": conn_id, "sql_hook_params": hook_params, "calls": [USERS, LEFT]}
        settings |= {"sync_mode": "changes", "key": "id", "state_path": str(tmp_path / "state.db"), "max_in_flight": 1}
        settings |= {"sync_id": "users", "max_deleted": 1.0}
        assert operator(**settings).execute({})["added"] == 2_000

        house.run("UPDATE users SET email = concat('y', email)")
        segment.reset()
        killed: list[int] = []
        segment.respond_with(lambda _: killed.append(house.kill_readers()))
        if hook_params == {
            "streaming": False
        }:  # all rows are here already: only the commit fails, which changes nothing
            report = operator(**settings).execute({})
            assert (report["updated"], report["warnings"]["sql: commit_failed"]) == (2_000, 1)
        else:
            said = (
                r"fetching the rows after [\d,]+, for which it had waited [\d.]+ s while the rows before were sent to"
            )
            with pytest.raises(Exception, match=said):
                operator(**settings).execute({})
        assert killed[0] == 1
        assert not [message for message in segment.messages if message["type"] == "track"]

        segment.reset()
        house.run("DELETE FROM users WHERE id = '7'")
        last = operator(**settings).execute({})
        assert (last["added"], last["deleted"]) == (0, 1)
        assert [message["userId"] for message in segment.messages if message["type"] == "track"] == ["7"]

    def test_rows_that_are_fewer_than_the_driver_said(
        self, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Where the driver knows how many rows there are, an end before that is none."""
        settings: dict[str, Any] = {"sync_mode": "changes", "key": "id", "state_path": str(tmp_path / "state.db")}
        settings |= {"calls": [USERS, LEFT], "sync_id": "users", "max_deleted": 1.0}

        def connection(rows: int) -> MadeUpConnection:
            made = MadeUpConnection(
                "snowflake.connector.connection", ["id", "email"], [(f"u{n}", "x") for n in range(rows)]
            )
            made.cursor().rowcount = 10
            return made

        operator(sql_conn_id=hand_out(connection(10), monkeypatch), **settings).execute({})
        with pytest.raises(Exception, match="The source database's rows ended after 4 of 10"):
            operator(sql_conn_id=hand_out(connection(4), monkeypatch), **settings).execute({})
        assert not [message for message in segment.messages if message["type"] == "track"]


def failing(text: str, name: str = "InternalError", *, above: int = 0) -> Callable[[MadeUpConnection], None]:
    """Return what raises a driver's error, for fetches of more than some rows."""

    def fail(connection: MadeUpConnection) -> None:
        if connection.fetched > above:
            raise type(name, (Exception,), {})(text)

    return fail


PEOPLE = [(f"u{n}", "x") for n in range(2_500)]


class TestRedshift:
    """Redshift by a `postgres` connection: a cluster of one node lets 1,000 rows be fetched at once, and no more."""

    TEXT = (
        "Fetch size 2500 exceeds the limit of 1000 for a single node configuration. Reduce the client fetch/cache size "
        "or upgrade to a multi node installation."
    )

    @pytest.mark.parametrize("module", ["psycopg2.extensions", "psycopg"])
    @pytest.mark.parametrize("fetch_size", [2_500, 800])
    def test_is_known_by_its_version(
        self, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch, module: str, fetch_size: int
    ) -> None:
        """Redshift says that it is PostgreSQL 8.0.2: no fetch is larger than it may be, and the query runs once."""
        connection = MadeUpConnection(module, ["id", "email"], PEOPLE, {"fetchmany": failing(self.TEXT, above=1_000)})
        connection.info = SimpleNamespace(server_version=80_002)  # type: ignore[attr-defined]
        task = operator(sql_conn_id=hand_out(connection, monkeypatch), fetch_size=fetch_size)
        assert task.execute({})["accepted"] == 2_500
        assert connection.fetched == min(fetch_size, 1_000)
        assert connection.done.count("execute SELECT id, email FROM users") == 1

    def test_is_known_by_its_error(self, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """Behind a proxy with another version the first fetch fails, and the query runs again for fewer rows."""
        connection = MadeUpConnection(
            "psycopg2.extensions", ["id", "email"], PEOPLE, {"fetchmany": failing(self.TEXT, above=1_000)}
        )
        task = operator(sql_conn_id=hand_out(connection, monkeypatch), fetch_size=2_500)
        assert task.execute({})["accepted"] == 2_500
        again = connection.done[connection.done.index("fetchmany") + 1 :]
        assert again.index("rollback") < again.index("execute SELECT id, email FROM users")

    def test_postgres_is_fetched_as_asked(self, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """Other servers give as many rows at once as `fetch_size` says."""
        connection = MadeUpConnection("psycopg", ["id", "email"], PEOPLE)
        connection.info = SimpleNamespace(server_version=160_004)  # type: ignore[attr-defined]
        operator(sql_conn_id=hand_out(connection, monkeypatch), fetch_size=2_500).execute({})
        assert connection.fetched == 2_500


class TestNoRow:
    """A cursor that knows its columns from the first row knows none where there is no row: that is no error."""

    @pytest.mark.parametrize(
        ("module", "on"),
        [
            ("pydruid.db.api", {}),
            ("sqlalchemy.pool.base", {"fetchmany": failing("has no row data", "ProgrammingError", above=0)}),  # Drill
        ],
    )
    def test_is_a_success(
        self, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch, module: str, on: dict[str, Any]
    ) -> None:
        """Zero rows, and no request."""
        made_up = hand_out(MadeUpConnection(module, None, [], on), monkeypatch)
        report = operator(sql_conn_id=made_up).execute({})
        assert (report["rows"], report["accepted"], segment.requests) == (0, 0, [])

    def test_keys_that_are_gone_are_seen(
        self, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Two days: on the second the last user is gone, and the event says so though no column is known."""
        settings: dict[str, Any] = {"sync_mode": "changes", "key": "id", "state_path": str(tmp_path / "state.db")}
        settings |= {"calls": [USERS, LEFT], "sync_id": "users", "max_deleted": 1.0}
        first = MadeUpConnection("pydruid.db.api", ["id", "email"], PEOPLE[:1])
        operator(sql_conn_id=hand_out(first, monkeypatch), **settings).execute({})
        second = MadeUpConnection("pydruid.db.api", None, [])
        assert operator(sql_conn_id=hand_out(second, monkeypatch), **settings).execute({})["deleted"] == 1
        assert [message["userId"] for message in segment.messages if message["type"] == "track"] == ["u0"]

    def test_that_fails_is_an_error(self, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """A session that dies before the first row is no result without rows."""
        on = {"fetchmany": failing("connection lost", "OperationalError")}
        with pytest.raises(Exception, match="The source database failed at fetching row 1"):
            operator(sql_conn_id=hand_out(MadeUpConnection("pydruid.db.api", None, [], on), monkeypatch)).execute({})

    def test_of_a_statement_without_a_result(self, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is no query stays a setting error."""
        made_up = hand_out(MadeUpConnection("pydruid.db.api", None, []), monkeypatch)
        for sql in ("UPDATE users SET email = 'x'", "SELECT id INTO other FROM users"):
            with pytest.raises(Exception, match="sql: the query returns no result set; expected a SELECT"):
                operator(sql_conn_id=made_up, sql=sql).execute({})


class ElasticCursor(MadeUpCursor):
    """Elasticsearch's cursor as its provider had it until 6.2."""

    def fetchone(self) -> Any:
        """Return the first row, for ever."""
        return self.connection.rows[0]

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Do nothing."""
        raise NotImplementedError

    def fetchall(self) -> list[Any]:
        """Return all rows."""
        self.connection.happens("fetchall")
        return self.connection.rows


class OldCursor:
    """A cursor that gives its rows one by one, and no other way."""

    arraysize, rowcount = 1, -1

    def __init__(self) -> None:
        self.description = [("id", *[None] * 6), ("email", *[None] * 6)]
        self._rows = iter(PEOPLE)

    def execute(self, sql: str) -> None:
        """Run a query."""

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        return next(self._rows, None)


class TestOtherCursors:
    """A cursor need not have all that PEP 249 asks for, and the log tells truly what it holds in memory."""

    def test_without_fetchmany(
        self,
        segment: SegmentServer,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
        run_dag: RunDag,
    ) -> None:
        """Elasticsearch's gives all rows at once, and the log says so."""
        connection = MadeUpConnection("airflow.providers.elasticsearch", ["id", "email"], PEOPLE)
        connection._cursor = ElasticCursor(connection, "airflow.providers.elasticsearch")
        with new_dag() as dag:
            operator(sql_conn_id=hand_out(connection, monkeypatch))
        assert run_dag(dag).state == "success"
        assert {message["userId"] for message in segment.messages} == {user for user, _ in PEOPLE}
        assert "(sqlite, plain cursor, which holds all rows in memory)" in capfd.readouterr().out

    def test_with_fetchone_alone(self, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """Rows that come one by one are read one by one."""
        connection = MadeUpConnection("old.dbapi", None)
        connection._cursor = OldCursor()  # type: ignore[assignment]
        assert operator(sql_conn_id=hand_out(connection, monkeypatch)).execute({})["accepted"] == len(PEOPLE)
        assert len({message["userId"] for message in segment.messages}) == len(PEOPLE)

    def test_without_a_cursor(self, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """A driver that is none of PEP 249, such as Exasol's, is refused with the way."""
        connection = SimpleNamespace(close=lambda: None)
        with pytest.raises(Exception, match=r"sql_conn_id: types has no cursors \(PEP 249\); use ODBC or JDBC"):
            operator(sql_conn_id=hand_out(connection, monkeypatch)).execute({})  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "module", ["redshift_connector.core", "clickhouse_connect.dbapi", "clickhouse_driver.dbapi", "prestodb.dbapi"]
    )
    def test_that_read_all_at_once(
        self,
        segment: SegmentServer,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
        run_dag: RunDag,
        module: str,
    ) -> None:
        """Drivers that hold all rows when the query has run are told from those that do not."""
        with new_dag() as dag:
            operator(sql_conn_id=hand_out(MadeUpConnection(module, ["id", "email"], PEOPLE), monkeypatch))
        assert run_dag(dag).state == "success"
        assert "(sqlite, plain cursor, which holds all rows in memory)" in capfd.readouterr().out

    def test_are_not_asked_to_count(self, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """Druid's driver reads all rows to count them: it is not asked, neither by us nor by Airflow's lineage."""

        class Counted(MadeUpCursor):
            @property
            def rowcount(self) -> int:
                self.connection.happens("rowcount")
                return len(self.connection.rows)

        connection = MadeUpConnection("pydruid.db.api", ["id", "email"], PEOPLE)
        connection._cursor = Counted(connection, "pydruid.db.api")
        operator(sql_conn_id=hand_out(connection, monkeypatch)).execute({})
        assert "rowcount" not in connection.done
