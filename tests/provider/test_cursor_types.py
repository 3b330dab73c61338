"""A cursor of each type that has an order, in each database: ties, late rows, and rows that come later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from filtered import made_source

from airflow_provider_segment.calls import Constant, Track
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

CALL = Track(Constant("Seen"), "id")
TIMES = [f"2026-01-{day:02} 10:00:0{day}" for day in range(1, 8)]
EXACT = [f"2026-01-01 10:00:00.00000{n}" for n in range(1, 8)]
ZONED = [f"2026-03-29 {2 * n:02}:30:00+0{n % 2}:00" for n in range(1, 8)]
DATES = [f"2026-01-0{n}" for n in range(1, 8)]
NUMBERS = [10 * n for n in range(1, 8)]
LARGE = [2**53 + n for n in range(1, 8)]
ULIDS = [f"01J{n}ZQ8Y5Vb" for n in range(1, 8)]
MIXED = ["a1", "B1", "b2", "C1", "c2", "D1", "d2"]
ISO = [f"2026-01-0{n}T10:00:00Z" for n in range(1, 8)]

# By type: seven values in their order, and a lookback of one step of the last ones where there is one.
TYPES: dict[str, dict[str, tuple[Sequence[Any], Any]]] = {
    "postgres": {
        "TIMESTAMP": (TIMES, 90_000),
        "TIMESTAMP(6)": (EXACT, 0.000001),
        "TIMESTAMPTZ": (ZONED, 3_700),
        "DATE": (DATES, 3_600),
        "SMALLINT": (NUMBERS, 10),
        "BIGINT": (LARGE, 1),
        "NUMERIC(20, 0)": (LARGE, 1),
        "TEXT": (ULIDS, 0),
        'TEXT COLLATE "C"': (sorted(MIXED), 0),
    },
    "mariadb": {
        "DATETIME": (TIMES, 90_000),
        "DATETIME(6)": (EXACT, 0.000001),
        "TIMESTAMP": (TIMES, 90_000),
        "DATE": (DATES, 3_600),
        "BIGINT": (LARGE, 1),
        "DECIMAL(20, 0)": (LARGE, 1),
        "VARCHAR(20)": (ULIDS, 0),
        "VARCHAR(20) COLLATE utf8mb4_general_ci": (MIXED, 0),
    },
    "duckdb": {
        "TIMESTAMP": (TIMES, 90_000),
        "TIMESTAMP_NS": (EXACT, 0.000001),
        "TIMESTAMPTZ": (ZONED, 3_700),
        "DATE": (DATES, 3_600),
        "BIGINT": (LARGE, 1),
        "HUGEINT": (LARGE, 1),
        "VARCHAR": (ULIDS, 0),
        "VARCHAR COLLATE NOCASE": (MIXED, 0),
    },
    "sqlite": {
        "TEXT": (TIMES, 90_000),
        "TEXT COLLATE BINARY": (ISO, 90_000),
        "DATE": (DATES, 3_600),
        "INTEGER": (LARGE, 1),
        "TEXT COLLATE NOCASE": (MIXED, 0),
        "TEXT COLLATE RTRIM": (ULIDS, 0),
    },
}


@pytest.mark.parametrize(("kind", "type_"), [(kind, type_) for kind, types in TYPES.items() for type_ in types])
def test_each_type(
    segment: SegmentServer,
    kind: str,
    type_: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over four days each row is sent once, those at the mark and within the lookback among them, and few are read."""
    source = made_source(kind, request, tmp_path, monkeypatch)
    values, lookback = TYPES[kind][type_]
    source.run("DROP TABLE IF EXISTS things")
    source.run(f"CREATE TABLE things (id INTEGER, happened {type_})")
    days = [values[:4], [values[3], values[4]], [values[5], None, values[5]], [values[6]], []]
    rows = [3, 1, 1, 1]
    number = 0
    for day, new in enumerate(days):
        for value in new:
            number += 1
            said = "NULL" if value is None else repr(value)
            source.run(f"INSERT INTO things VALUES ({number}, {said})")  # noqa: S608
        report = send(kind, tmp_path)
        assert report["added"] == len(new)
        if day:
            nulls = int(day >= 2)
            assert report["rows"] <= len(new) + max(rows[:day]) + nulls + (3 if values is MIXED else 0)
    if lookback:
        source.run(f"INSERT INTO things VALUES (100, {values[5]!r})")  # noqa: S608  late: within one step of the mark
        assert send(kind, tmp_path)["added"] == 0
        assert send(kind, tmp_path, lookback=lookback)["added"] == 1
    sent = sorted(int(message["userId"]) for message in segment.messages)
    assert sent == sorted(n for (n,) in source.run("SELECT id FROM things"))
    assert segment.duplicates == []


QUERIES: dict[str, tuple[str, Any]] = {
    "a comment at the end": ("SELECT id, happened FROM things -- all of them", None),
    "a semicolon": ("SELECT id, happened FROM things;", None),
    "WITH": ("WITH t AS (SELECT * FROM things) SELECT id, happened FROM t", None),
    "a LIMIT within": ("SELECT id, happened FROM (SELECT * FROM things LIMIT 1000) t", None),
    "percent signs in a text": ("SELECT id, happened, '%Y 100%%' AS t FROM things WHERE id % 10 < 9", None),
    "LIKE": ("SELECT id, happened FROM things WHERE 'a%b' LIKE 'a%' OR 7 % 2 = 0", None),
    "parameters": ("SELECT id, happened FROM things WHERE id > {} AND 'a%%b' LIKE 'a%%'", [0]),
    "named parameters": ("SELECT id, happened FROM things WHERE id > {name}", {"least": 0}),
    "a column in capitals": ("SELECT id, happened AS {quote}Happened At{quote} FROM things", "Happened At"),
    "a reserved word": ("SELECT id, happened AS {quote}order{quote} FROM things", "ORDER"),
}
SIGNS = {
    "postgres": ("%s", "%(least)s"),
    "mariadb": ("%s", "%(least)s"),
    "sqlite": ("?", ":least"),
    "duckdb": ("?", "$least"),
}


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("kind", TYPES)
def test_each_query(
    segment: SegmentServer,
    kind: str,
    name: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A query goes within another one as it is, with its own parameters and percent signs."""
    source = made_source(kind, request, tmp_path, monkeypatch)
    source.run("DROP TABLE IF EXISTS things")
    source.run("CREATE TABLE things (id INTEGER, happened INTEGER)")
    sql, more = QUERIES[name]
    sign, named = SIGNS[kind]
    sql = sql.format(sign, name=named, quote="`" if kind == "mariadb" else '"')
    if kind in ("sqlite", "duckdb"):
        sql = sql.replace("%%", "%")
    settings = {"cursor": more} if isinstance(more, str) else {"parameters": more}
    for number in (1, 2, 3):
        source.run(f"INSERT INTO things VALUES ({number}, {number})")  # noqa: S608
        report = send(kind, tmp_path, sql=sql, **settings)
        assert (report["rows"], report["added"]) == (1 if number == 1 else 2, 1)


def send(kind: str, folder: Path, **changed: Any) -> dict[str, Any]:
    settings = {
        "sql": "SELECT * FROM things",
        "sql_conn_id": kind,
        "calls": CALL,
        "key": "id",
        "sync_mode": "changes",
        "sync_id": "things",
        "state_path": str(folder / "state.db"),
        "cursor": "happened",
        "timezone": "UTC",
    } | changed
    report: dict[str, Any] = SqlToSegmentOperator(task_id="sync", **settings).execute({})
    return report
