"""The words of databases that the tests cannot run: they are parsed, and Snowflake's run on a stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
    columns = [Column("id", "int"), Column("email", "varchar"), Column("Strange name", "text")]
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
