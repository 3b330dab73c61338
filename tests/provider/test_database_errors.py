"""A database's error is shown as far as it can quote no row and no parameter; a wrong query fails without a retry."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from failing import BY_HAND, SECRET, failure_of, operator
from mariadb import connected
from runs import RunDag, new_dag
from warehouses import PostgresWarehouse, SqliteWarehouse

from airflow_provider_segment.testing import SegmentServer

PERCENT = "; with parameters a percent sign is written twice, as in LIKE 'a%%' or id %% 4"
SWITCH = "sql_hook_params={'streaming': False} reads with a plain cursor instead"


# A query, its parameters, and its error on psycopg 3 and on psycopg 2: a wrong query.
POSTGRES: dict[str, tuple[str, Any, str, str]] = {
    "LIKE": (
        "SELECT * FROM users WHERE email LIKE 'a%' AND n = %s",
        [1],
        "psycopg.ProgrammingError: only '%s', '%b', '%t' are allowed as placeholders, got '%''" + PERCENT,
        "IndexError: the parameters do not fit the placeholders: list index out of range" + PERCENT,
    ),
    "modulo": (
        "SELECT n % 4 AS id FROM users WHERE n = %s",
        [1],
        "psycopg.ProgrammingError: incomplete placeholder: '%'",
        "IndexError: the parameters do not fit the placeholders: list index out of range" + PERCENT,
    ),
    "modulo written twice without parameters": (
        "SELECT n %% 4 AS id FROM users",
        None,
        *["operator does not exist: integer %% integer; without parameters a percent sign is written once"] * 2,
    ),
    "a parameter too many": (
        "SELECT id FROM users WHERE n = %s",
        [1, 2],
        "psycopg.ProgrammingError: the query has 1 placeholders but 2 parameters were passed",
        "TypeError: the parameters do not fit the placeholders: not all arguments converted during string formatting",
    ),
    "a parameter too few": (
        "SELECT id FROM users WHERE n = %s AND n = %s",
        [1],
        "psycopg.ProgrammingError: the query has 2 placeholders but 1 parameters were passed",
        "IndexError: the parameters do not fit the placeholders: list index out of range",
    ),
    "a name that is not there": (
        "SELECT id FROM users WHERE n = %(at)s",
        {"to": 1},
        "psycopg.ProgrammingError: query parameter missing: at",
        "KeyError: the query names 'at', which parameters lacks",
    ),
    "names for numbers": (
        "SELECT id FROM users WHERE n = %(at)s",
        [1],
        "TypeError: the parameters do not fit the placeholders: named placeholders require a mapping of parameters",
        "TypeError: the parameters do not fit the placeholders: list indices must be integers or slices, not str",
    ),
    "another database's placeholder": (
        "SELECT id FROM users WHERE n = :at",
        {"at": 1},
        'SQLSTATE 42601: syntax error at or near ":"',
        'SQLSTATE 42601: syntax error at or near ":"',
    ),
    "a type that no driver knows": (
        "SELECT id FROM users WHERE n = %s",
        [object()],
        "cannot adapt type 'object' using placeholder '%s'",
        "can't adapt type 'object'",
    ),
    "a table's name twice": (
        "SELECT 1 AS id FROM users u, users u",
        None,
        *['table name "u" specified more than once'] * 2,
    ),
    "a group that lacks": (
        "SELECT id FROM users GROUP BY n",
        None,
        *['column "users.id" must appear in the GROUP BY'] * 2,
    ),
    "a feature that lacks": (
        "SELECT (xpath(id, '<a/>'))[1] AS id FROM users",
        None,
        *["0A000: unsupported XML feature"] * 2,
    ),
    "a query that changes data": (
        "WITH n AS (INSERT INTO users VALUES ('u2') RETURNING id) SELECT * FROM n",
        None,
        *["0A000: DECLARE CURSOR must not contain data-modifying statements in WITH; " + SWITCH] * 2,
    ),
}
# Queries whose error quotes the row's own text, and the SQLSTATE, which alone is shown.
POSTGRES_ROWS = {
    "a name of a table": ("SELECT email::regclass AS id FROM users", "42P01"),
    "a name of a type": ("SELECT email::regtype::text AS id FROM users", "42704"),
    "a column in a query that a row holds": (
        "SELECT query_to_xml('SELECT ' || email, true, true, '') AS id FROM users",
        "42",
    ),
    "a setting's name": ("SELECT current_setting(email) AS id FROM users", "42704"),
    "a number": ("SELECT email::int AS id FROM users", "22P02"),
    "a date": ("SELECT to_date(email, 'YYYY') AS id FROM users", "22007"),
    "a function's own words": ("SELECT complain(email) AS id FROM users", "P0001"),
    "a function's own words under a code": ("SELECT complain_of_syntax(email) AS id FROM users", "42601"),
}


class TestPostgres:
    """With psycopg2 on Airflow 2 and psycopg on Airflow 3."""

    @pytest.mark.parametrize(("sql", "parameters", "three", "two"), POSTGRES.values(), ids=POSTGRES)
    def test_a_wrong_query_is_named_and_not_retried(
        self, segment: SegmentServer, postgres: PostgresWarehouse, sql: str, parameters: Any, three: str, two: str
    ) -> None:
        """What speaks of the query is shown, with the way out where there is one, and no retry is made."""
        postgres.run("CREATE TABLE users (id text, email text, n int)")
        text, is_retried = failure_of(sql, "postgres", parameters)
        assert three in text or two in text
        assert not is_retried
        assert ("streaming" in text) is ("INSERT" in sql)
        assert segment.requests == []

    @pytest.mark.parametrize("streaming", [True, False])
    @pytest.mark.parametrize(("sql", "state"), POSTGRES_ROWS.values(), ids=POSTGRES_ROWS)
    def test_a_rows_own_words_are_not_shown(
        self, segment: SegmentServer, postgres: PostgresWarehouse, sql: str, state: str, streaming: bool
    ) -> None:
        """What quotes a row stays hidden, though its SQLSTATE may be that of a wrong query; it may pass."""
        postgres.run(f"CREATE TABLE users AS SELECT 'u1' AS id, '{SECRET.partition('@')[0]}' AS email")
        for name, code in (("complain", ""), ("complain_of_syntax", " USING ERRCODE = '42601'")):
            body = f"BEGIN RAISE EXCEPTION '% is bad', t{code}; END"
            postgres.run(f"CREATE FUNCTION {name}(t text) RETURNS text LANGUAGE plpgsql AS $$ {body} $$")
        text, is_retried = failure_of(sql, "postgres", sql_hook_params={"streaming": streaming})
        assert f"SQLSTATE {state}" in text
        assert text.endswith(BY_HAND)
        assert "secret" not in text
        assert is_retried

    def test_a_parameters_words_are_not_shown(self, segment: SegmentServer, postgres: PostgresWarehouse) -> None:
        """A driver that writes parameters into the query has them in its errors; their words are left out."""
        postgres.run("CREATE TABLE users (id text)")
        for sql in ("SELECT id FROM users WHERE id = %s 'x'", "SELECT id, nothing FROM users WHERE id LIKE %s"):
            text, is_retried = failure_of(sql, "postgres", [f"O'Hara {SECRET} é"])
            assert "SQLSTATE 42" in text
            assert "secret" not in text
            assert not is_retried

    def test_no_right_to_a_table(
        self, segment: SegmentServer, postgres: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A table that may not be read is named."""
        postgres.run("CREATE TABLE users (id text)")
        postgres.run("DROP ROLE IF EXISTS stranger")
        postgres.run("CREATE ROLE stranger LOGIN")
        fields = json.loads(postgres.connection())
        monkeypatch.setenv("AIRFLOW_CONN_POSTGRES", json.dumps(fields | {"login": "stranger"}))
        text, is_retried = failure_of("SELECT * FROM users", "postgres")
        assert "SQLSTATE 42501: permission denied for table users" in text
        assert not is_retried

    def test_a_lock_is_named_and_retried(
        self, segment: SegmentServer, postgres: PostgresWarehouse, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What may pass, such as a lock, is shown, and the task is tried again."""
        postgres.run("CREATE TABLE users AS SELECT 'u1' AS id")
        monkeypatch.setenv("AIRFLOW_CONN_POSTGRES", postgres.connection(options="-c lock_timeout=50ms"))
        with new_dag() as dag:
            operator("SELECT * FROM users FOR UPDATE", "postgres", retries=1)
        with postgres._server.connect(postgres._database) as other, other.transaction():
            other.execute("LOCK TABLE users")
            text, is_retried = failure_of("SELECT * FROM users", "postgres")
            run = run_dag(dag)
        assert "SQLSTATE 55P03: canceling statement due to lock timeout" in text
        assert is_retried
        assert run.task("sync") == ("failed", 2)

    def test_a_time_limit_is_named(
        self, segment: SegmentServer, postgres: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A query that the database breaks off says why."""
        postgres.run("SELECT 1")
        monkeypatch.setenv("AIRFLOW_CONN_POSTGRES", postgres.connection(options="-c statement_timeout=50ms"))
        text, is_retried = failure_of("SELECT pg_sleep(30)::text AS id", "postgres")
        assert "SQLSTATE 57014: canceling statement due to statement timeout" in text
        assert is_retried

    def test_a_refused_connection_is_named(
        self, segment: SegmentServer, postgres: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the server says to a connection that it refuses is shown, and nothing of the connection's settings."""
        fields = json.loads(postgres.connection())
        monkeypatch.setenv("AIRFLOW_CONN_POSTGRES", json.dumps(fields | {"schema": "nowhere", "password": "hush"}))
        text, is_retried = failure_of("SELECT 1 AS id", "postgres")
        assert text.endswith('OperationalError: database "nowhere" does not exist')
        assert is_retried


class TestSqlite:
    """SQLite has one number for the parser's errors and for those of functions, which quote rows."""

    @pytest.mark.parametrize(
        ("sql", "parameters", "text"),
        [
            ("SELECT nope FROM users", None, "no such column: nope"),
            ("SELECT no_such(id) FROM users", None, "no such function: no_such"),
            ("SELECT id FROM users WHERE id = ?", ["u1", "u2"], "Incorrect number of bindings supplied"),
            ("SELECT id FROM users WHERE id = :id", {"name": "u1"}, "did not supply a value for binding"),
            ("SELECT id FROM users WHERE email LIKE 'a%' AND id = ? AND nope", [SECRET], "no such column: nope"),
        ],
    )
    def test_a_wrong_query(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, sql: str, parameters: Any, text: str
    ) -> None:
        """What the parser says is shown."""
        warehouse.run("CREATE TABLE users (id TEXT, email TEXT)")
        found, is_retried = failure_of(sql, "warehouse", parameters)
        assert text in found
        assert "percent sign" not in found  # SQLite's own placeholder is no percent sign
        assert not is_retried

    @pytest.mark.parametrize(
        "sql", ["SELECT json_extract('{}', email) AS id FROM users", "SELECT json(email) AS id FROM users"]
    )
    def test_a_rows_own_words(self, segment: SegmentServer, warehouse: SqliteWarehouse, sql: str) -> None:
        """What a function says of a row is not shown, in the first page and in a later one."""
        warehouse.run("CREATE TABLE users (id TEXT, email TEXT)")
        warehouse.insert("users", [("u1", SECRET)])
        text, is_retried = failure_of(sql, "warehouse")
        assert text.endswith("sqlite3.OperationalError" + BY_HAND)
        assert is_retried

    def test_a_locked_file(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The error names a file that another writes to; the task is tried again."""
        warehouse.run("CREATE TABLE users (id TEXT)")
        monkeypatch.setenv(
            "AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": f"{warehouse.path}?timeout=0"})
        )
        other = sqlite3.connect(warehouse.path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        try:
            text, is_retried = failure_of("SELECT * FROM users", "warehouse")
        finally:
            other.close()
        assert "sqlite3.OperationalError: database is locked" in text
        assert is_retried


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT nothing AS id FROM users", "error 1054: Unknown column 'nothing' in 'SELECT'"),
        ("SELECT * FROM nowhere", "error 1146: Table 'w.nowhere' doesn't exist"),
        ("SELEKT 1", "error 1064: You have an error in your SQL syntax"),
        ("SELECT nofunc(1) AS id", "error 1305: FUNCTION w.nofunc does not exist"),
        ("SELECT id FROM users a, users a", "error 1066: Not unique table/alias: 'a'"),
    ],
)
def test_a_wrong_query_of_mariadb(
    segment: SegmentServer, mariadb_socket: Path, mariadb_connection: str, sql: str, text: str
) -> None:
    """MariaDB's errors about names and syntax, which have a number and no SQLSTATE, are shown and not retried."""
    with connected(mariadb_socket) as connection:
        connection.execute(sa.text("CREATE TABLE users (id TEXT, email TEXT)"))
    found, is_retried = failure_of(sql, mariadb_connection)
    assert text in found
    assert not is_retried


def test_mariadb_with_parameters(segment: SegmentServer, mariadb_socket: Path, mariadb_connection: str) -> None:
    """The error of a percent sign has the way out; no excerpt of a syntax error holds a parameter, cut or not."""
    with connected(mariadb_socket) as connection:
        connection.execute(sa.text("CREATE TABLE users (id TEXT, n INT)"))
    for sql in ("SELECT id FROM users WHERE id LIKE 'a%' AND n = %s", "SELECT n % 4 AS id FROM users WHERE n = %s"):
        text, is_retried = failure_of(sql, mariadb_connection, [1])
        assert "ValueError: the parameters do not fit the placeholders: unsupported format character" in text
        assert text.endswith(PERCENT)
        assert not is_retried
    for cut in range(60, 90):
        sql = "SELECT id FROM users WHERE AND " + "x" * cut + " = %s AND"  # noqa: S608  of the test
        text, is_retried = failure_of(sql, mariadb_connection, [SECRET])
        assert "error 1064: You have an error in your SQL syntax" in text
        assert "sec" not in text
        assert not is_retried


def test_a_rows_own_words_of_mariadb(segment: SegmentServer, mariadb_socket: Path, mariadb_connection: str) -> None:
    """What a procedure says of a row, or a value that is out of range, is not shown."""
    with connected(mariadb_socket) as connection:
        connection.execute(sa.text(f"CREATE TABLE users AS SELECT 'u1' AS id, '{SECRET}' AS email"))
        connection.execute(
            sa.text(
                "CREATE FUNCTION complain(t TEXT) RETURNS TEXT DETERMINISTIC BEGIN "
                "SIGNAL SQLSTATE '42000' SET MESSAGE_TEXT = t; RETURN t; END"
            )
        )
        connection.connection.commit()
    text, is_retried = failure_of("SELECT complain(email) AS id FROM users", mariadb_connection)
    assert "secret" not in text
    assert is_retried


@pytest.mark.parametrize(
    ("sql", "parameters", "text"),
    [
        (
            "SELECT nothing AS id FROM users",
            None,
            'BinderException: Binder Error: Referenced column "nothing" not found',
        ),
        ("SELECT * FROM nowhere", None, "CatalogException: Catalog Error: Table with name nowhere does not exist!"),
        ("SELEKT 1", None, 'ParserException: Parser Error: syntax error at or near "SELEKT"'),
        ("SELECT id FROM users WHERE id = ?", [1, 2], "Parameter argument/count mismatch"),
        ("SELECT id FROM users WHERE email LIKE 'a%' AND id = ?", None, "Values were not provided for the following"),
    ],
)
def test_a_wrong_query_of_duckdb(
    segment: SegmentServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sql: str, parameters: Any, text: str
) -> None:
    """DuckDB's parser and binder are shown without the excerpt of the query, and not retried."""
    duckdb_with_users(tmp_path, monkeypatch)
    found, is_retried = failure_of(sql, "duck", parameters)
    assert text in found
    assert "LINE" not in found
    assert not is_retried


def test_a_rows_own_words_of_duckdb(segment: SegmentServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What DuckDB says of a value is not shown."""
    duckdb_with_users(tmp_path, monkeypatch)
    text, is_retried = failure_of("SELECT email::int AS id FROM users", "duck")
    assert text.endswith("ConversionException" + BY_HAND)
    assert is_retried


def test_a_value_that_a_driver_cannot_hand_over_in_another_form(
    segment: SegmentServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where a driver cannot be made to hand such a value over, the error names the rows, and how to find the one."""
    duckdb_with_users(tmp_path, monkeypatch)
    odd = "CASE n WHEN 5 THEN INTERVAL 178000000 YEAR ELSE INTERVAL 1 DAY END"
    sql = f"SELECT n AS id, {odd} AS i FROM range(1, 9) AS r(n)"  # noqa: S608  of the test
    text, is_retried = failure_of(sql, "duck", fetch_size=3)
    assert text.startswith("fetching the rows after 3, for which it had waited")
    assert (
        ": builtins.OverflowError; rows 4 to 6 may hold a value that the driver cannot turn "
        "into Python, such as a date out of range: with validate_only=True and fetch_size=1 the error names its row"
    ) in text
    assert is_retried
    text, _ = failure_of(sql, "duck", fetch_size=1, validate_only=True)
    assert text.startswith("fetching the rows after 4, for which it had waited")
    assert ": builtins.OverflowError; rows 5 to 5 may hold" in text


def duckdb_with_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DuckDB file with one user behind the connection `duck`."""
    duckdb = pytest.importorskip("duckdb")
    path = str(tmp_path / "errors.duckdb")
    with duckdb.connect(path) as connection:
        connection.execute(f"CREATE TABLE users AS SELECT 1 AS id, '{SECRET}' AS email")
    monkeypatch.setenv("AIRFLOW_CONN_DUCK", json.dumps({"conn_type": "duckdb", "host": path}))
