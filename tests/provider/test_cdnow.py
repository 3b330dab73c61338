"""Real purchases: CDNOW's customers and their orders, from SQLite and from PostgreSQL, to the cent."""

from __future__ import annotations

import csv
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from runs import RunDag, new_dag
from warehouses import PostgresWarehouse, SqliteWarehouse

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

SAMPLE = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "cdnow_sample.csv"
pytestmark = pytest.mark.skipif(not SAMPLE.exists(), reason=f"CDNOW's sample is not at {SAMPLE}")

CUSTOMERS, PURCHASES, REPEATED = 2_357, 6_919, 21
REVENUE = Decimal("244091.94")
TABLE = (
    "CREATE TABLE purchases (customer_id TEXT, sample_id TEXT, purchased_on {date}, cds INTEGER, amount_usd {money})"
)


@pytest.fixture(scope="module")
def purchases() -> list[list[Any]]:
    """The sample's rows, as text."""
    with SAMPLE.open(newline="") as lines:
        return list(csv.reader(lines))[1:]


@pytest.fixture(params=["warehouse", "postgres"])
def source(request: pytest.FixtureRequest, purchases: list[list[Any]]) -> str:
    """The connection to a database that holds the sample."""
    house: SqliteWarehouse | PostgresWarehouse = request.getfixturevalue(request.param)
    in_postgres = isinstance(house, PostgresWarehouse)
    house.run(TABLE.format(date="DATE" if in_postgres else "TEXT", money="NUMERIC(10, 2)" if in_postgres else "REAL"))
    house.insert("purchases", purchases)
    return str(request.param)


def test_customers(segment: SegmentServer, run_dag: RunDag, source: str, purchases: list[list[Any]]) -> None:
    """Each customer is identified once, under an id that keeps its leading zeros."""
    sql = "SELECT customer_id, min(purchased_on) AS first, sum(cds) AS cds FROM purchases GROUP BY customer_id"
    with new_dag() as dag:
        SqlToSegmentOperator(
            task_id="customers",
            sql=sql,
            sql_conn_id=source,
            calls=Identify(user_id="customer_id", traits={"firstPurchase": "first", "cds": "cds"}),
        )
    run = run_dag(dag)
    assert run.xcom("customers")["accepted"] == CUSTOMERS
    assert len(segment.messages) == CUSTOMERS
    assert {message["userId"] for message in segment.messages} == {row[0] for row in purchases}
    assert {len(message["userId"]) for message in segment.messages} == {5}
    first = next(message for message in segment.messages if message["userId"] == "00004")
    assert first["traits"] == {"firstPurchase": "1997-01-01", "cds": 7}
    clean(segment)


def test_purchases(segment: SegmentServer, run_dag: RunDag, source: str, purchases: list[list[Any]]) -> None:
    """Each purchase arrives once, rows that repeat exactly among them, and the revenue is right to the cent."""
    with new_dag() as dag:
        SqlToSegmentOperator(
            task_id="purchases",
            sql="SELECT * FROM purchases",
            sql_conn_id=source,
            calls=Track(
                event=Constant("Order Completed"),
                user_id="customer_id",
                timestamp="purchased_on",
                properties={"revenue": "amount_usd", "currency": Constant("USD"), "quantity": "cds"},
            ),
            timezone="UTC",
        )
    run = run_dag(dag)
    assert run.xcom("purchases")["accepted"] == PURCHASES
    assert len(segment.messages) == PURCHASES
    assert {(m["type"], m["event"], m["properties"]["currency"]) for m in segment.messages} == {
        ("track", "Order Completed", "USD")
    }
    cents = [round(Decimal(str(message["properties"]["revenue"])) * 100) for message in segment.messages]
    assert Decimal(sum(cents)) / 100 == REVENUE
    expected = Counter((row[0], f"{row[2]}T00:00:00Z", int(row[3]), round(Decimal(row[4]) * 100)) for row in purchases)
    arrived = Counter(
        (message["userId"], message["timestamp"], message["properties"]["quantity"], cent)
        for message, cent in zip(segment.messages, cents, strict=True)
    )
    assert arrived == expected
    assert sum(arrived.values()) - len(arrived) == REPEATED
    assert len({message["messageId"] for message in segment.messages}) == PURCHASES
    clean(segment)


def clean(segment: SegmentServer) -> None:
    """Nothing was dropped or came twice, and every body was what was counted."""
    assert segment.dropped == []
    assert segment.duplicates == []
    assert all(orjson.loads(request.body)["batch"] for request in segment.requests)
