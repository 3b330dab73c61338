"""A value that a driver cannot turn into Python is one bad row; the others go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from mariadb import connected
from runs import RunDag, new_dag
from warehouses import PostgresWarehouse, SqliteWarehouse

from airflow_provider_segment.calls import AllColumns, Constant, Identify, Track
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

# Of PostgreSQL: what Python has no value for, and a value of the same type that it has.
POSTGRES = {
    "infinity": ("'infinity'::timestamptz", "now()"),
    "minus infinity": ("'-infinity'::timestamptz", "now()"),
    "infinity without a zone": ("'infinity'::timestamp", "now()::timestamp"),
    "infinity as a date": ("'infinity'::date", "current_date"),
    "before Christ": ("'0044-03-15 12:00 BC'::timestamptz", "now()"),
    "before Christ without a zone": ("'0044-03-15 12:00 BC'::timestamp", "now()::timestamp"),
    "before Christ as a date": ("'0044-03-15 BC'::date", "current_date"),
    "after 9999": ("'12026-01-01'::timestamptz", "now()"),
    "after 9999 as a date": ("'12026-01-01'::date", "current_date"),
    "midnight at the end of a day": ("'24:00'::time", "'10:00'::time"),
    "midnight with a zone": ("'24:00+02'::timetz", "'10:00+02'::timetz"),
    "a long interval": ("'9000000 years'::interval", "'1 day'::interval"),
    "in an array": ("ARRAY[now(), 'infinity'::timestamptz]", "ARRAY[now()]"),
    "in an array of dates": ("ARRAY['infinity'::date]", "ARRAY[current_date]"),
    "in a range": ("tstzrange(now(), 'infinity')", "tstzrange(now(), NULL)"),
    "in a range of dates": ("daterange('2026-01-01', 'infinity')", "daterange('2026-01-01', NULL)"),
}
# What a driver cannot read must not be read by anything that decides about the row either.
READERS: dict[str, tuple[dict[str, Any], str]] = {
    "an id": ({"user_id": "odd"}, "identify.userId"),
    "a timestamp": ({"user_id": "id", "timestamp": "odd"}, "identify.timestamp"),
    "a trait": ({"user_id": "id", "traits": {"since": "odd"}}, "identify.traits.since"),
    "a trait in a list": ({"user_id": "id", "traits": {"times": ["odd"]}}, "identify.traits.times[0]"),
    "all columns": ({"user_id": "id", "traits": AllColumns()}, "identify.traits.odd"),
    "traits as a whole": ({"user_id": "id", "traits": "odd"}, "identify.traits"),
    "a context": ({"user_id": "id", "context": {"app.version": "odd"}}, "identify.context.app.version"),
    "an unknown part of a context": ({"user_id": "id", "context": {"since": "odd"}}, "identify.context.since"),
    "a condition": ({"user_id": "id", "when": {"odd": "2026-01-01"}}, "identify.when"),
    "one of two conditions": ({"user_id": "id", "when": {"id": ["u1", "u2"], "odd": None}}, "identify.when"),
}


@pytest.fixture
def duckdb_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty DuckDB file behind the connection `duck`."""
    path = str(tmp_path / "values.duckdb")
    monkeypatch.setenv("AIRFLOW_CONN_DUCK", json.dumps({"conn_type": "duckdb", "host": path}))


def sync(sql: str, conn_id: str, rejects: Path, **changed: Any) -> dict[str, Any]:
    """Send the rows of a query, whatever is refused, and return the report."""
    settings: dict[str, Any] = {"calls": Identify("id", traits=AllColumns()), "timezone": "UTC", "max_rejected": 0.99}
    operator = SqlToSegmentOperator(
        task_id="sync", sql=sql, sql_conn_id=conn_id, rejects_path=str(rejects), **(settings | changed)
    )
    return operator.execute({})


def refused(rejects: Path) -> list[tuple[int, str, str]]:
    """Return row, code and reason of each reject."""
    lines = [json.loads(line) for line in rejects.read_text().splitlines()]
    return [(line["row"], line["code"], line["reason"]) for line in lines]


class TestPostgres:
    """With psycopg2 on Airflow 2 and psycopg on Airflow 3."""

    @pytest.mark.parametrize("streaming", [True, False])
    @pytest.mark.parametrize(("bad", "good"), POSTGRES.values(), ids=POSTGRES)
    def test_one_bad_row(
        self, segment: SegmentServer, postgres: PostgresWarehouse, tmp_path: Path, bad: str, good: str, streaming: bool
    ) -> None:
        """The row is refused with its number, its column and what to do; all others go, in each page and once."""
        postgres.run(
            f"CREATE TABLE users AS SELECT n AS id, CASE WHEN n IN (1, 5, 6, 12) THEN {bad} ELSE {good} END AS odd, "  # noqa: S608
            "CASE WHEN n = 3 THEN NULL ELSE 'Zoë' END AS name FROM generate_series(1, 12) AS n"
        )
        rejects = tmp_path / "rejects.jsonl"
        hook_params = {"streaming": streaming}
        report = sync("SELECT * FROM users", "postgres", rejects, fetch_size=4, sql_hook_params=hook_params)
        assert (report["rows"], report["accepted"], report["invalid"]) == (12, 8, 4)
        assert [row for row, _, _ in refused(rejects)] == [1, 5, 6, 12]
        assert {code for _, code, _ in refused(rejects)} == {"value_not_readable"}
        assert all(reason.startswith("column odd: found a") for _, _, reason in refused(rejects))
        assert all("Mend the row, or the query" in reason for _, _, reason in refused(rejects))
        assert [message["userId"] for message in segment.messages] == ["2", "3", "4", "7", "8", "9", "10", "11"]
        assert segment.messages[1]["traits"]["name"] is None
        assert segment.messages[2]["traits"]["name"] == "Zoë"

    def test_an_infinite_interval(self, segment: SegmentServer, postgres: PostgresWarehouse, tmp_path: Path) -> None:
        """An infinite interval, of which both drivers make none at all, is refused, alone and in an array."""
        sql = (
            "SELECT n AS id, CASE n WHEN 1 THEN 'infinity'::interval ELSE '90 s' END AS i,"
            "CASE n WHEN 2 THEN ARRAY['-infinity'::interval] ELSE ARRAY['90 s'::interval] END AS many "
            "FROM generate_series(1, 3) AS n"
        )
        postgres.run("SELECT 1")
        assert sync(sql, "postgres", tmp_path / "r")["invalid"] == 2
        (message,) = segment.messages
        assert message["traits"] == {"i": 90, "many": [90]}

    def test_a_column_that_no_call_reads(
        self, segment: SegmentServer, postgres: PostgresWarehouse, tmp_path: Path
    ) -> None:
        """Such a value in a column that no call reads refuses nothing, with a key and without one."""
        sql = "SELECT n AS id, 'infinity'::timestamptz AS odd FROM generate_series(1, 3) AS n"
        postgres.run("SELECT 1")
        for key in (None, "id"):
            report = sync(sql, "postgres", tmp_path / "r", calls=Identify("id"), key=key)
            assert (report["accepted"], report["invalid"]) == (3, 0)
        assert len({message["messageId"] for message in segment.messages}) == 6

    @pytest.mark.parametrize(("call", "where"), READERS.values(), ids=READERS)
    def test_whoever_reads_it(
        self, segment: SegmentServer, postgres: PostgresWarehouse, tmp_path: Path, call: dict[str, Any], where: str
    ) -> None:
        """Whatever reads such a value refuses the row and names the column, a condition too."""
        sql = "SELECT 'u1' AS id, 'infinity'::date AS odd UNION ALL SELECT 'u2', NULL"
        postgres.run("SELECT 1")
        calls = [Identify(**call), Track(Constant("Seen"), user_id="id")]
        report = sync(sql, "postgres", tmp_path / "r", calls=calls)
        assert report["invalid"] >= 1
        (line,) = [
            line for line in map(json.loads, (tmp_path / "r").read_text().splitlines()) if line["code"][:3] == "val"
        ]
        assert f"{line['call']}.{line['field']}" == where
        assert (line["row"], line["code"]) == (1, "value_not_readable")
        assert line["reason"].startswith("column odd: found a date that Python has no value for")
        assert {m["userId"] for m in segment.messages if m["type"] == "track"} == {"u1", "u2"}
        assert report["calls"] == report["accepted"] + report["invalid"]

    def test_only_our_own_connection(self, segment: SegmentServer, postgres: PostgresWarehouse, tmp_path: Path) -> None:
        """What a driver is told holds for our connection alone: any other in the process reads as before."""
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        sql = "SELECT now() AS id, 'infinity'::interval AS i, '2026-01-31'::date AS d, 'infinity'::date AS odd"
        postgres.run("SELECT 1")

        def seen() -> str:
            with PostgresHook("postgres").get_conn() as connection, connection.cursor() as cursor:
                try:
                    cursor.execute(sql.replace("now()", "1"))
                    return repr(cursor.fetchall())
                except Exception as error:  # noqa: BLE001  of psycopg
                    return repr(error)

        before = seen()
        assert sync(sql, "postgres", tmp_path / "r", calls=Identify("i"), max_rejected=1)["invalid"] == 1
        assert seen() == before


class TestSqlite:
    """SQLite keeps whatever bytes it is given as text."""

    def test_text_that_is_not_utf8(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, tmp_path: Path
    ) -> None:
        """A text that is not UTF-8 is one bad row in a DAG run; the rows before and after it in its page go, once."""
        warehouse.run("CREATE TABLE users (id TEXT, email TEXT, raw BLOB)")
        warehouse.run(
            "INSERT INTO users SELECT value, CASE WHEN value IN (3, 4, 8) THEN CAST(x'61ff62' AS TEXT) ELSE 'Zoë' END,"
            "x'ff' FROM json_each('[1,2,3,4,5,6,7,8]')"
        )
        with new_dag() as dag:
            SqlToSegmentOperator(
                task_id="sync",
                sql="SELECT * FROM users",
                sql_conn_id="warehouse",
                calls=Identify("id", traits=["email", "raw"]),
                fetch_size=4,
                max_rejected=3,
                rejects_path=str(tmp_path / "r"),
            )
        assert run_dag(dag).state == "success"
        reason = "column email: found a text of 3 bytes that is not UTF-8"
        assert [(row, code) for row, code, _ in refused(tmp_path / "r")] == [
            (row, "value_not_readable") for row in (3, 4, 8)
        ]
        assert all(text.startswith(reason) for _, _, text in refused(tmp_path / "r"))
        assert [m["userId"] for m in segment.messages] == ["1", "2", "5", "6", "7"]
        assert segment.messages[4]["traits"] == {"email": "Zoë", "raw": "/w=="}

    def test_two_such_texts_in_a_row(self, segment: SegmentServer, warehouse: SqliteWarehouse, tmp_path: Path) -> None:
        """A row with two of them is one reject."""
        warehouse.run("CREATE TABLE users AS SELECT 'u1' AS id, CAST(x'ff' AS TEXT) AS a, CAST(x'fe' AS TEXT) AS b")
        assert sync("SELECT * FROM users", "warehouse", tmp_path / "r", max_rejected=1)["invalid"] == 1


class TestKeys:
    """A key that cannot be read is no key, and nobody can tell whose it was."""

    def test_nothing_is_deleted_beside_a_key_that_cannot_be_read(
        self,
        segment: SegmentServer,
        warehouse: SqliteWarehouse,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """While a row's key cannot be read, no key is taken for gone, and the log says so; later, what is gone is."""
        warehouse.run("CREATE TABLE users (id TEXT, email TEXT)")
        warehouse.insert("users", [(f"u{n}", "old") for n in range(6)])
        calls = [
            Identify("id", traits=["email"]),
            Track(Constant("Left"), user_id="id", on_change=["deleted"]),
        ]
        settings = {"calls": calls, "sync_mode": "changes", "key": "id", "state_path": str(tmp_path / "s.db")}

        def run() -> dict[str, Any]:
            segment.reset()
            return sync("SELECT * FROM users", "warehouse", tmp_path / "r", **settings)

        assert run()["added"] == 6
        warehouse.run("DELETE FROM users WHERE id = 'u1'; UPDATE users SET email = 'new' WHERE id = 'u2'")
        warehouse.run("UPDATE users SET id = CAST(x'7533ff' AS TEXT) WHERE id = 'u3'")
        second = run()
        assert (second["deleted"], second["updated"], second["invalid"]) == (0, 1, 2)
        assert {(row, code) for row, code, _ in refused(tmp_path / "r")} == {(3, "value_not_readable")}
        assert all(reason.startswith("column id: found a text of 3 bytes") for _, _, reason in refused(tmp_path / "r"))
        assert second["warnings"] == {"track:Left: nothing_deleted": 1}
        shown = capfd.readouterr()
        assert "this run deletes none" in shown.out + shown.err + caplog.text
        warehouse.run("UPDATE users SET id = 'u3' WHERE id NOT IN ('u0', 'u2', 'u4', 'u5')")
        third = run()
        assert (third["deleted"], third["invalid"]) == (1, 0)
        assert [(m["type"], m["userId"]) for m in segment.messages] == [("track", "u1")]

    def test_a_key_of_two_columns(self, segment: SegmentServer, postgres: PostgresWarehouse, tmp_path: Path) -> None:
        """One column of the key that cannot be read is enough; the reject names it."""
        day = "CASE n WHEN 2 THEN 'infinity' ELSE '2026-01-01' END::date"
        sql = f"SELECT n AS id, {day} AS day FROM generate_series(1, 3) AS n"  # noqa: S608  of the test
        postgres.run("SELECT 1")
        report = sync(sql, "postgres", tmp_path / "r", calls=Identify("id"), key=["id", "day"])
        assert (report["accepted"], report["invalid"]) == (2, 1)
        ((row, code, reason),) = refused(tmp_path / "r")
        assert (row, code, reason.partition(":")[0]) == (2, "value_not_readable", "column day")


@pytest.mark.parametrize("client", ["mysqlclient", "pymysql"])
def test_zero_dates_of_mariadb(
    segment: SegmentServer,
    mariadb_socket: Path,
    mariadb_connection: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    client: str,
) -> None:
    """A date of zeros, of which one driver makes a null and one a text, is one bad row; other dates arrive whole."""
    with connected(mariadb_socket) as connection:
        connection.execute(sa.text("SET sql_mode = ''"))
        connection.execute(
            sa.text("CREATE TABLE users (id INT, day DATE, at DATETIME(6), seen TIMESTAMP NULL, took TIME)")
        )
        connection.execute(
            sa.text(
                "INSERT INTO users VALUES (1, '2026-01-31', '2026-01-31 09:30:00.25', '2026-01-31 09:30', '838:59:59'),"
                "(2, '0000-00-00', NULL, NULL, NULL), (3, NULL, '0000-00-00', NULL, NULL),"
                "(4, NULL, NULL, '0000-00-00', NULL),"
                "(5, '2026-02-00', NULL, NULL, NULL), (6, NULL, NULL, NULL, '-00:00:01')"
            )
        )
        connection.connection.commit()
    if client == "pymysql":
        pymysql = pytest.importorskip("pymysql")
        from airflow.providers.mysql.hooks.mysql import MySqlHook

        options = {"unix_socket": str(mariadb_socket), "user": "root", "database": "w", "charset": "utf8mb4"}
        monkeypatch.setattr(MySqlHook, "get_conn", lambda _: pymysql.connect(**options))
    report = sync("SELECT * FROM users ORDER BY id", mariadb_connection, tmp_path / "r")
    assert (report["accepted"], report["invalid"]) == (2, 4)
    assert [(row, reason.partition(" with a zero")[0]) for row, _, reason in refused(tmp_path / "r")] == [
        (2, "column day: found a date"),
        (3, "column at: found a datetime"),
        (4, "column seen: found a datetime"),
        (5, "column day: found a date"),
    ]
    traits = segment.messages[0]["traits"]
    assert (traits["day"], traits["at"]) == ("2026-01-31", "2026-01-31T09:30:00.250000Z")
    assert traits["seen"].startswith("2026-01-31T")


@pytest.mark.usefixtures("duckdb_path")
@pytest.mark.parametrize("kind", ["TIMESTAMPTZ", "TIMESTAMP"])
def test_infinity_of_duckdb(segment: SegmentServer, tmp_path: Path, kind: str) -> None:
    """Infinity, of which DuckDB makes the last moment of 9999 without a zone, is one bad row and stops nothing."""
    sql = (
        f"SELECT n AS id, CASE n WHEN 2 THEN 'infinity' WHEN 3 THEN '-infinity' ELSE '2026-01-31 09:30:00' END::{kind} "  # noqa: S608
        "AS at FROM range(1, 5) AS r(n)"
    )
    report = sync(sql, "duck", tmp_path / "r", calls=Identify("id", timestamp="at"), fetch_size=2)
    assert (report["accepted"], report["invalid"]) == (2, 2)
    assert [(row, code) for row, code, _ in refused(tmp_path / "r")] == [
        (2, "value_not_readable"),
        (3, "value_not_readable"),
    ]
    assert [message["userId"] for message in segment.messages] == ["1", "4"]
