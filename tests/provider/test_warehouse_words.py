"""The words of databases that the tests cannot run: they are parsed, Snowflake's run on a stand-in.

Databricks' run on a local Spark where there is one: test_warehouse_spark.py.
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from filtered import Source, Sync, kinds

from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.warehouse_dialects import DIALECTS, Column, WarehouseDialect, dialect_of
from airflow_provider_segment.transfers.warehouse_statements import Statements

DIALECTS_OF_SQLGLOT = {
    "postgres": "postgres",
    "duckdb": "duckdb",
    "sqlite": "sqlite",
    "mysql": "mysql",
    "snowflake": "snowflake",
    "bigquery": "bigquery",
    "redshift": "redshift",
    "databricks": "databricks",
}


def words_of(kind: str) -> WarehouseDialect:
    return dialect_of(kind, "c", lambda _: [("8.4.0",)])


def statements_of(dialect: WarehouseDialect) -> list[str]:
    """All statements of a run over a query with a key of two columns."""
    kinds = {"id": "int", "email": "varchar", "Strange name": "text", "score": "float8", "tags": "array<string>"}
    columns = [Column(name, kind) for name, kind in kinds.items()]
    made = Statements(dialect, "SELECT * FROM users -- all", columns, columns[:2], columns, "s.seen", "s.due")
    rest = made.rest(7, has_changed=True)
    assert rest is not None
    return [
        *(made.all_due(), made.changed(), rest[0], made.counts(), made.changed_keys(), made.seen_keys(), made.read()),
        *(made.gone(), made.unsettle([1, -2]), *made.promote(is_full=True), *made.promote(is_full=False)),
        *dialect.session,
        f"CREATE TABLE IF NOT EXISTS s.segment_filter (sync {dialect.text}, mark {dialect.text})",
        *(["CREATE SCHEMA IF NOT EXISTS s"] if dialect.name != "SQLite" else []),
    ]


@pytest.mark.parametrize("kind", DIALECTS_OF_SQLGLOT)
def test_each_statement_is_one_of_its_database(kind: str) -> None:
    """sqlglot's parser of the database takes each statement, as one."""
    sqlglot = pytest.importorskip("sqlglot")
    for statement in statements_of(words_of(kind)):
        (parsed,) = sqlglot.parse(statement, dialect=DIALECTS_OF_SQLGLOT[kind])
        assert parsed is not None, statement


@pytest.mark.parametrize("kind", DIALECTS_OF_SQLGLOT)
def test_the_users_query_is_read_once_for_what_is_sent(kind: str) -> None:
    """The table of due rows is made by one statement that holds the query once; two statements read it at most."""
    statements = statements_of(words_of(kind))
    assert [s.count("FROM users") for s in statements[:2]] == [1, 1]
    assert sum("FROM users" in s for s in statements[1:]) == 2


def test_a_database_without_words_is_refused_by_name() -> None:
    """The error names the type, the databases that have words, and the way without."""
    with pytest.raises(SettingError) as error:
        dialect_of("trino", "dwh", lambda _: [])
    assert "'dwh' is of type 'trino'" in str(error.value)
    assert "BigQuery, Databricks, DuckDB, MariaDB, MySQL, PostgreSQL, Redshift, SQLite, Snowflake" in str(error.value)
    assert "Leave warehouse_schema out" in str(error.value)


def test_redshift_is_told_from_postgresql() -> None:
    """A connection of the type postgres that answers as Redshift gets Redshift's words."""
    assert dialect_of("postgres", "c", lambda _: [("PostgreSQL 8.0.2 ... Redshift 1.0",)]) is DIALECTS["redshift"]
    assert dialect_of("postgres", "c", lambda _: [("PostgreSQL 18.0",)]) is DIALECTS["postgres"]


@pytest.mark.parametrize("kind", ["postgres", "redshift", "databricks"])
def test_the_session_keeps_its_zone(kind: str) -> None:
    """The query's own words, such as casts to dates, mean the same with the filter and without."""
    assert not [words for words in words_of(kind).session if "zone" in words.lower()]


def fnv_hash(value: Any, seed: int) -> int:
    """Redshift's hash as it is documented: FNV-1a of the bytes of a value, which goes on from a seed."""
    number = seed & (2**64 - 1)
    said = value.encode() if isinstance(value, str) else struct.pack("<i" if isinstance(value, int) else "<d", value)
    for byte in said:
        number = ((number ^ byte) * 0x100000001B3) & (2**64 - 1)
    return number - 2**64 if number >= 2**63 else number


REDSHIFTS_ROWS: list[tuple[Any, Any, Any]] = [
    *(("a", "va", 1.0), ("av", "a", 1.0), ("ava", "", 1.0), ("", "ava", 1.0), ("ava", None, 1.0), (None, "ava", 1.0)),
    *(("", None, 1.0), (None, "", 1.0), ("-", None, 1.0), ("", "-", 1.0), ("a", "a ", 1.0), ("a ", "a", 1.0)),
    *(("", "", 0.1), ("", "", 0.10000000000000002), ("", "", 0.0), ("", "", None)),
]


def test_redshifts_hash_tells_rows_apart() -> None:
    """Where a text ends and the next one begins, null and the empty text, and the 17th digit of a float count."""
    (content,) = words_of("redshift").contents([("a", "varchar"), ("b", "varchar"), ("c", "float8")])
    with closing(sqlite3.connect(":memory:")) as database:
        database.create_function("FNV_HASH", 2, fnv_hash)
        database.create_function("OCTET_LENGTH", 1, lambda text: None if text is None else len(text.encode()))
        database.execute("CREATE TABLE rows (a TEXT, b TEXT, c REAL)")
        database.executemany("INSERT INTO rows VALUES (?, ?, ?)", REDSHIFTS_ROWS)
        found = [number for (number,) in database.execute(f"SELECT {content} FROM rows")]  # noqa: S608
    assert [REDSHIFTS_ROWS[n] for n, one in enumerate(found) if found.index(one) != n] == []


@pytest.fixture
def snowflake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    """A stand-in of Snowflake behind Airflow's own hook."""
    fakesnow = pytest.importorskip("fakesnow")
    pytest.importorskip("airflow.providers.snowflake")
    place = {"account": "fake", "database": "D", "warehouse": "w"}
    told = {"conn_type": "snowflake", "login": "u", "password": "p", "schema": "PUBLIC", "extra": place}
    monkeypatch.setenv("AIRFLOW_CONN_SNOWFLAKE", json.dumps(told))
    with fakesnow.patch(db_path=str(tmp_path)):
        from airflow.providers.snowflake.hooks.snowflake import SnowflakeHook

        def run(statement: str) -> list[Any]:
            cursor = SnowflakeHook("snowflake").get_conn().cursor()
            cursor.execute(statement)
            return list(cursor.fetchall())

        yield Source("snowflake", "SEGMENT", run)


def test_the_life_of_a_table_on_snowflake(segment: SegmentServer, snowflake: Source, tmp_path: Path) -> None:
    """All, nothing, changes, nothing: as on the other databases."""
    sync = Sync(snowflake, "warehouse", tmp_path / "state.db")
    settings = {"sql": 'SELECT id AS "id", email AS "email" FROM users'}
    snowflake.fill([(n, "a") for n in range(30)])
    assert kinds(sync.send(**settings)) == (30, 0, 0)
    report = sync.send(**settings)
    assert (report["skipped"], report["calls"]) == (30, 0)
    snowflake.run("UPDATE users SET email = 'b' WHERE id < 5")
    snowflake.run("UPDATE users SET email = NULL WHERE id = 6")
    snowflake.run("DELETE FROM users WHERE id > 27")
    snowflake.insert([(n, "c") for n in range(100, 104)])
    assert kinds(sync.send(**settings)) == (4, 6, 2)
    report = sync.send(**settings)
    assert (report["skipped"], report["calls"]) == (32, 0)
