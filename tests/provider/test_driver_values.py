"""What real drivers give for SQL's types becomes what docs/mapping.md says, digit for digit."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from warehouses import PostgresWarehouse, SqliteWarehouse

from airflow_provider_segment.calls import AllColumns, Identify
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

# A column's expression, and the JSON that it becomes.
SQLITE = {
    "'text'": '"text"',
    "9007199254740993": "9007199254740993",
    "1.5": "1.5",
    "x'00ff'": '"AP8="',
    "NULL": "null",
    "date('2026-01-31')": '"2026-01-31"',
    "json_object('a', 1)": '"{\\"a\\":1}"',
}
POSTGRES = {
    "'te''xt'::text": '"te\'xt"',
    "true": "true",
    "9223372036854775807::bigint": "9223372036854775807",
    "1.5::float8": "1.5",
    "12345678901234567890.123456789::numeric": "12345678901234567890.123456789",
    "29.90::numeric(10,2)": "29.90",
    "date '2026-01-31'": '"2026-01-31"',
    "timestamptz '2026-01-31 09:30:00.25+02'": '"2026-01-31T07:30:00.250000Z"',
    "timestamp '2026-01-31 09:30:00'": '"2026-01-31T09:30:00Z"',
    "time '09:30'": '"09:30:00"',
    "interval '1 minute 500 milliseconds'": "60.5",
    "'00000000-0000-0000-0000-000000000007'::uuid": '"00000000-0000-0000-0000-000000000007"',
    r"'\x00ff'::bytea": '"AP8="',
    """'{"a": [1, null]}'::jsonb""": '{"a": [1, null]}',
    "ARRAY[1, NULL, 3]": "[1, null, 3]",
    "ARRAY[['a'], ['b']]": '[["a"], ["b"]]',
    "int4range(1, 5)": '{"lower": 1, "upper": 5, "bounds": "[)"}',
    "'empty'::int4range": '{"empty": true}',
    "NULL::text": "null",
}
DUCKDB = {
    "'text'": '"text"',
    "true": "true",
    "170141183460469231731687303715884105727::HUGEINT": "170141183460469231731687303715884105727",
    "1.5::DOUBLE": "1.5",
    "29.90::DECIMAL(10,2)": "29.90",
    "DATE '2026-01-31'": '"2026-01-31"',
    "TIMESTAMPTZ '2026-01-31 09:30:00+02'": '"2026-01-31T07:30:00Z"',
    "TIMESTAMP '2026-01-31 09:30:00'": '"2026-01-31T09:30:00Z"',
    "TIME '09:30:00'": '"09:30:00"',
    "INTERVAL 90 SECOND": "90",
    "'00000000-0000-0000-0000-000000000007'::UUID": '"00000000-0000-0000-0000-000000000007"',
    r"'\x00\xFF'::BLOB": '"AP8="',
    "{'a': 1, 'b': [1, 2]}": '{"a": 1, "b": [1, 2]}',
    "MAP {'k': 1}": '{"k": 1}',
    "NULL": "null",
}


@pytest.fixture
def duckdb_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty DuckDB file behind the connection `duck`."""
    path = str(tmp_path / "values.duckdb")
    monkeypatch.setenv("AIRFLOW_CONN_DUCK", json.dumps({"conn_type": "duckdb", "host": path}))


def check(segment: SegmentServer, conn_id: str, expected: dict[str, str]) -> None:
    """Select all expressions in one row, and compare what arrives."""
    columns = {f"v{number}": text for number, text in enumerate(expected)}
    select = ", ".join(f"{expression} AS {name}" for name, expression in columns.items())
    SqlToSegmentOperator(
        task_id="values",
        sql=f"SELECT 'u1' AS id, {select}",
        sql_conn_id=conn_id,
        calls=Identify("id", traits=AllColumns()),
        timezone="UTC",
    ).execute({})
    body = json.loads(segment.requests[-1].body, parse_float=Decimal, parse_int=Decimal)
    found = {columns[name]: value for name, value in body["batch"][0]["traits"].items()}
    wanted: dict[str, Any] = {
        expression: json.loads(text, parse_float=Decimal, parse_int=Decimal) for expression, text in expected.items()
    }
    assert found == wanted
    assert {name: str(value) for name, value in found.items()} == {name: str(value) for name, value in wanted.items()}


def test_sqlite(segment: SegmentServer, warehouse: SqliteWarehouse) -> None:
    """SQLite's values arrive as the table says; what it keeps as text stays text."""
    warehouse.run("")
    check(segment, "warehouse", SQLITE)


def test_postgres(segment: SegmentServer, postgres: PostgresWarehouse) -> None:
    """PostgreSQL's values arrive as the table says, with psycopg2 on Airflow 2 and psycopg on Airflow 3."""
    postgres.run("SELECT 1")
    check(segment, "postgres", POSTGRES)


@pytest.mark.parametrize("encoding", ["UTF8", "SQL_ASCII"])
def test_uuids_of_postgres(
    segment: SegmentServer, postgres: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """A UUID is its text as an id, as a trait and to `when`, also where the driver gives no other text."""
    monkeypatch.setenv("AIRFLOW_CONN_ENCODED", postgres.connection(client_encoding=encoding))
    seven = UUID(int=7)
    SqlToSegmentOperator(
        task_id="uuids",
        sql=f"SELECT '{seven}'::uuid AS id, '{seven}'::uuid AS tenant, NULL::uuid AS parent",
        sql_conn_id="encoded",
        calls=Identify("id", traits=["tenant", "parent"], when={"tenant": seven}),
    ).execute({})
    (message,) = segment.messages
    assert (message["userId"], message["traits"]) == (str(seven), {"tenant": str(seven), "parent": None})


@pytest.mark.usefixtures("duckdb_file")
def test_duckdb(segment: SegmentServer) -> None:
    """DuckDB's values arrive as the table says, structs and maps as objects."""
    check(segment, "duck", DUCKDB)
