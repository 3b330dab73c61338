"""One stream of rows with a type becomes six kinds of calls, on every database the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from runs import RunDag, new_dag
from warehouses import PostgresWarehouse, SqliteWarehouse

from airflow_provider_segment.calls import Alias, Group, Identify, Json, Page, Screen, Track
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

GOLDEN = Path(__file__).parent / "golden" / "stream.jsonl"
TABLE = """CREATE TABLE stream (
    n INTEGER, type VARCHAR(20), user_id VARCHAR(20), other_id VARCHAR(20), name VARCHAR(40),
    happened VARCHAR(40), amount NUMERIC(10, 1), data VARCHAR(200))"""
ROWS: list[tuple[Any, ...]] = [
    (1, "identify", "u1", None, "Zoë", "2026-01-31T09:30:00Z", None, '{"tags": ["a", "b"], "age": 36}'),
    (2, "track", "u1", None, "Order Completed", "2026-01-31T09:31:00.250Z", "29.5", '{"sku": "B-7"}'),
    (3, "group", "u1", "g1", "Ink & Co", "2026-01-31T09:32:00+01:00", "1000000.5", None),
    (4, "page", "u1", None, "Pricing", None, None, '{"path": "/pricing"}'),
    (5, "screen", "u1", None, "", None, None, None),
    (6, "alias", "u1", "anonymous-1", None, None, None, None),
    (7, "unknown", "u1", None, None, None, None, None),
]


def calls() -> list[Any]:
    """Return the six calls of the stream."""
    common: dict[str, Any] = {"user_id": "user_id", "timestamp": "happened"}
    return [
        Identify(traits={"name": "name", "profile": Json("data")}, when={"type": "identify"}, **common),
        Track("name", properties={"revenue": "amount", "item": Json("data")}, when={"type": "track"}, **common),
        Group("other_id", traits={"name": "name", "budget": "amount"}, when={"type": ["group"]}, **common),
        Page(name="name", properties=Json("data"), when={"type": "page"}, **common),
        Screen(name="name", properties=["amount"], when={"type": "screen"}, **common),
        Alias(user_id="user_id", previous_id="other_id", when={"type": "alias"}),
    ]


@pytest.fixture(params=["sqlite", "postgres", "duckdb"])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the connection id of a database that holds the stream."""
    if request.param == "duckdb":
        import duckdb

        with duckdb.connect(str(tmp_path / "stream.duckdb")) as database:
            database.execute(TABLE)
            database.executemany("INSERT INTO stream VALUES (?, ?, ?, ?, ?, ?, ?, ?)", ROWS)
        connection = {"conn_type": "duckdb", "host": str(tmp_path / "stream.duckdb")}
        monkeypatch.setenv("AIRFLOW_CONN_DUCK", json.dumps(connection))
        return "duck"
    fixture = {"sqlite": "warehouse", "postgres": "postgres"}[request.param]
    house: SqliteWarehouse | PostgresWarehouse = request.getfixturevalue(fixture)
    house.run(TABLE)
    house.insert("stream", ROWS)
    return fixture


def test_six_calls(segment: SegmentServer, run_dag: RunDag, source: str) -> None:
    """Each row makes the call of its type, with the same bytes from SQLite, PostgreSQL and DuckDB."""
    with new_dag() as dag:
        SqlToSegmentOperator(
            task_id="stream",
            sql="SELECT type, user_id, other_id, name, happened, amount, data FROM stream ORDER BY n",
            sql_conn_id=source,
            sync_id="stream",
            calls=calls(),
        )
    run = run_dag(dag)
    assert run.state == "success"
    report = run.xcom("stream")
    assert (report["rows"], report["calls"], report["accepted"]) == (7, 6, 6)
    body = segment.requests[-1].body
    assert [without_id(event) for event in events_of(body)] == GOLDEN.read_bytes().splitlines()


def events_of(body: bytes) -> list[bytes]:
    """Return the events of a body as the bytes that were sent."""
    decoder, text = json.JSONDecoder(), body.decode()
    position = text.index('"batch":[') + len('"batch":[')
    events = []
    while text[position] != "]":
        _, end = decoder.raw_decode(text, position)
        events.append(text[position:end].encode())
        position = end + (text[end] == ",")
    return events


def without_id(event: bytes) -> bytes:
    """Return an event's bytes without its id, which the run's own id goes into."""
    head, _, rest = event.partition(b',"messageId":"')
    return head + rest[33:]
