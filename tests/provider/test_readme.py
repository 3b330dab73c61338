"""What a user copies first is right: the DAG of the README, the very lines of it, over several days."""

from __future__ import annotations

import datetime as dt
import json
import runpy
from collections import Counter
from pathlib import Path

import pytest
from doc_blocks import BLOCKS
from runs import RunDag
from warehouses import SqliteWarehouse

from airflow_provider_segment.testing import SegmentServer

DAYS = [dt.datetime(2026, 3, day, tzinfo=dt.UTC) for day in (1, 2, 3)]


def test_the_readmes_dag_sends_each_order_once(
    segment: SegmentServer,
    warehouse: SqliteWarehouse,
    run_dag: RunDag,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Run on two days with one new order in between, and on a third without, each order arrives as one event."""
    state = {"conn_type": "sqlite", "host": str(tmp_path / "state.db")}
    monkeypatch.setenv("AIRFLOW_CONN_STATE_DB", json.dumps(state))
    warehouse.run("CREATE TABLE customers (id TEXT, email TEXT, plan TEXT, city TEXT)")
    warehouse.run("CREATE TABLE orders (id TEXT, customer_id TEXT, amount_usd NUMERIC, currency TEXT, ordered_at TEXT)")
    warehouse.insert("customers", [(f"C{n}", f"c{n}@example.com", "free", "Lyon") for n in range(3)])
    warehouse.insert("orders", [order(n) for n in range(1, 6)])
    (block,) = [block for block in BLOCKS if block.page == "README.md" and block.kind == "python"]
    path = tmp_path / "customers_to_segment.py"
    path.write_text(block.text.replace("from airflow.sdk import DAG", "from airflow import DAG"))

    sent = []
    for day in DAYS:
        assert run_dag(runpy.run_path(str(path))["dag"], day).state == "success"
        sent.append(Counter(message["type"] for message in segment.messages))
        if day == DAYS[0]:
            warehouse.insert("orders", [order(6)])
            warehouse.run("UPDATE customers SET plan = 'pro' WHERE id = 'C1'")
    orders = [message["properties"]["order_id"] for message in segment.messages if message["type"] == "track"]
    assert orders == [f"O{n}" for n in range(1, 7)]
    assert sent == [{"identify": 3, "track": 5}, {"identify": 4, "track": 6}, {"identify": 4, "track": 6}]
    assert segment.duplicates == segment.dropped == []
    assert "those of the run before" not in capfd.readouterr().out


def order(number: int) -> tuple[str, str, float, str, str]:
    """Return an order."""
    return f"O{number}", f"C{number % 3}", 9.5, "USD", f"2026-02-0{number}T10:00:00Z"
