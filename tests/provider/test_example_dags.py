"""The example DAGs do what they say: they import, run to success, and send what the demo's warehouse holds."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import runpy
import shlex
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
from airflow.providers.common.compat.sdk import DAG
from person import CAN_BE_ASKED
from warehouses import PostgresWarehouse

from airflow_provider_segment.testing import SegmentServer

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = [
    path
    for path in sorted((ROOT / "example_dags").glob("*.py"))
    if CAN_BE_ASKED or path.stem != "segment_with_approval"  # that one needs Airflow 3.1
]
ALL_ORDERS = {"orders_since": "2021-01-01"}

fill = runpy.run_path(str(ROOT / "demo" / "warehouse.py"))["fill"]


@pytest.fixture
def shop(warehouse: Any) -> Path:
    """The demo's data, only less of it, behind the connection `warehouse`."""
    path: Path = warehouse.path
    fill(path, customers=60, accounts=8, orders=150)
    forget()
    return path


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_imports(path: Path) -> None:
    """An example DAG imports, is named as its file, and explains itself."""
    dag = load(path.stem)
    assert dag.dag_id == path.stem
    assert dag.tasks
    assert "segment_default" in (dag.doc_md or "")


def test_single_calls(segment: SegmentServer) -> None:
    """The user of the trigger form arrives as one Identify, one Track and one Group."""
    run(load("segment_single_calls"), run_conf={"user_id": "C000777", "plan": "pro"})
    sent = {message["type"]: message for message in segment.messages}
    assert len(segment.messages) == len(sent) == 3
    assert {message["userId"] for message in sent.values()} == {"C000777"}
    assert sent["identify"]["traits"] == {"email": "ada.lovelace@example.com", "plan": "pro"}
    assert sent["track"]["event"] == "Signed Up"
    assert sent["track"]["properties"]["plan"] == "pro"
    assert sent["group"]["groupId"] == "A0042"
    assert sent["group"]["traits"] == {"name": "Analytical Engines", "employees": 42}


def test_warehouse_is_sent_in_full(segment: SegmentServer, shop: Path) -> None:
    """Every customer, every company of a customer and every order arrives, once."""
    run(load("segment_warehouse"), run_conf=ALL_ORDERS)
    expected = {
        "identify": count(shop, "SELECT count(*) FROM customers"),
        "group": count(shop, "SELECT count(account_id) FROM customers"),
        "track": count(shop, "SELECT count(*) FROM orders"),
    }
    assert Counter(message["type"] for message in segment.messages) == expected
    assert segment.dropped == []
    assert segment.duplicates == []


def test_warehouse_rows_become_messages(segment: SegmentServer, shop: Path) -> None:
    """A customer, a company and an order arrive with their own values in Segment's places."""
    run(load("segment_warehouse"), run_conf=ALL_ORDERS)
    sent = segment.messages

    customer = row(shop, "SELECT * FROM customers WHERE city IS NULL OR phone IS NULL LIMIT 1")
    identify = next(m for m in sent if m["type"] == "identify" and m["userId"] == customer["id"])
    assert identify["traits"] == {
        "firstName": customer["first_name"],
        "lastName": customer["last_name"],
        "email": customer["email"],
        "phone": customer["phone"],
        "address": {"city": customer["city"], "country": customer["country"]},
        "plan": customer["plan"],
        "createdAt": customer["created_at"],
        "lifetimeValue": customer["lifetime_value_usd"],
        "source": "warehouse",
    }

    company = row(shop, "SELECT a.*, c.id AS member FROM accounts a JOIN customers c ON c.account_id = a.id LIMIT 1")
    group = next(m for m in sent if m["type"] == "group" and m["userId"] == company["member"])
    assert group["groupId"] == company["id"]
    assert group["traits"] == {name: company[name] for name in ("name", "industry", "employees", "plan", "website")}

    order = row(shop, "SELECT * FROM orders WHERE id = 'O0000007'")
    track = next(m for m in sent if m["type"] == "track" and m["properties"]["order_id"] == order["id"])
    assert track["event"] == "Order Completed"
    assert track["userId"] == order["customer_id"]
    assert track["timestamp"].startswith(order["ordered_at"].removesuffix("Z"))
    assert track["properties"] == {
        "order_id": order["id"],
        "revenue": order["amount_usd"],
        "currency": "USD",
        "product": order["product"],
        "quantity": order["quantity"],
    }


def test_warehouse_orders_are_sent_once(segment: SegmentServer, shop: Path) -> None:
    """The same days asked for again send only the order that was not there before, however late it came."""
    dag = load("segment_warehouse")
    run(dag, run_conf=ALL_ORDERS)
    with closing(sqlite3.connect(shop)) as database, database:
        database.execute("UPDATE orders SET id = 'O9999999' WHERE id = 'O0000007'")  # an old one, under a new number
    run(dag, run_conf=ALL_ORDERS)
    sent = [m["properties"]["order_id"] for m in segment.messages if m["type"] == "track"]
    assert len(sent) == len(set(sent)) == count(shop, "SELECT count(*) FROM orders") + 1
    assert segment.duplicates == []


def test_warehouse_day_without_orders(segment: SegmentServer, shop: Path) -> None:
    """A run without configuration, and on Airflow 3 without a date, sends no order of another day."""
    dag = load("segment_warehouse")
    no_date = {"logical_date": None} if "run_after" in inspect.signature(dag.test).parameters else {}
    run(dag, **no_date)
    types = Counter(message["type"] for message in segment.messages)
    assert types["identify"] == count(shop, "SELECT count(*) FROM customers")
    assert types["track"] == 0


@pytest.mark.parametrize("most", [30, 100])
def test_rows(segment: SegmentServer, shop: Path, most: int) -> None:
    """The best customers arrive with their totals and their tier, and a tenth of them with an event."""
    run(load("segment_rows"), run_conf={"most": most})
    totals = "SELECT customer_id, count(*) AS orders, sum(amount_usd) AS spent, max(ordered_at) AS last FROM orders"
    best = rows(shop, f"{totals} GROUP BY customer_id ORDER BY spent DESC, customer_id LIMIT {most}")
    ids = [customer["customer_id"] for customer in best]
    gold = ids[: -(-len(ids) // 10)]
    assert 0 < len(gold) < len(ids) <= most

    identifies = [message for message in segment.messages if message["type"] == "identify"]
    traits = {m["userId"]: m["traits"] for m in identifies if "spent" in m["traits"]}
    assert set(traits) == set(ids)
    first = best[0]
    assert traits[ids[0]].pop("run").startswith("manual__")
    assert traits[ids[0]] == {"orders": first["orders"], "spent": first["spent"], "lastOrderAt": first["last"]}

    tiers = {m["userId"]: m["traits"]["tier"] for m in identifies if "tier" in m["traits"]}
    assert tiers == {user: "gold" if user in gold else "silver" for user in ids}
    events = [message for message in segment.messages if message["type"] == "track"]
    assert sorted(event["userId"] for event in events) == sorted(gold)
    assert {event["event"] for event in events} == {"Gold Tier Reached"}
    assert events[0]["properties"] == {"spent": traits[events[0]["userId"]]["spent"]}
    assert len(segment.messages) == 2 * len(ids) + len(gold)

    run(load("segment_rows"), run_conf={"most": most})
    assert [m["userId"] for m in segment.messages if m["type"] == "track"] == [e["userId"] for e in events]
    assert segment.dropped == segment.duplicates == []


def test_after_build(segment: SegmentServer, shop: Path) -> None:
    """The table that the first task builds arrives row for row, with its columns as traits."""
    for _ in range(2):  # the second run builds the table anew
        run(load("segment_after_build"))
    built = rows(shop, "SELECT * FROM customer_totals ORDER BY customer_id")
    expected = {
        each["customer_id"]: {
            "orders": each["orders"],
            "spentUsd": each["spent_usd"],
            "lastOrderAt": each["last_order_at"],
        }
        for each in built
    }
    assert len(segment.messages) == 2 * len(expected) > 0
    assert {message["userId"]: message["traits"] for message in segment.messages} == expected
    assert {each["customer_id"] for each in built} == {
        each["customer_id"] for each in rows(shop, "SELECT customer_id FROM orders")
    }
    assert segment.dropped == segment.duplicates == []


def test_shards(segment: SegmentServer, shop: Path) -> None:
    """Every order arrives once, each shard with a share of them, in a pool that was made as the example says."""
    dag = load("segment_shards")
    make_pool = [sys.executable, "-m", *shlex.split(re.findall("(airflow pools set .*)", str(dag.doc_md))[0])]
    subprocess.run(make_pool, check=True, capture_output=True)  # noqa: S603  the example's own command
    run(dag)
    orders = {each["id"] for each in rows(shop, "SELECT id FROM orders")}
    sent = [message["properties"]["order_id"] for message in segment.messages]
    assert sorted(sent) == sorted(orders)
    assert len(segment.requests) == 4  # none of the shards was empty, and each fits one body
    run(dag)
    assert len(segment.messages) == len(orders)
    assert segment.dropped == segment.duplicates == []


def test_on_many_workers(segment: SegmentServer, postgres: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every customer arrives once; on the second day those that have changed, and a call for each that is gone."""
    for name in ("WAREHOUSE", "STATE_DB"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", postgres.connection())
    postgres.run("CREATE TABLE customers (id TEXT, email TEXT, plan TEXT)")
    postgres.insert("customers", [(f"C{n:06}", f"c{n}@example.com", "free") for n in range(60)])
    dag = load("segment_on_many_workers")
    dag.get_task("customers.plan").rows_per_shard = 6  # so that so few rows are sent by more than one task
    run(dag)
    assert sorted(message["userId"] for message in segment.messages) == [f"C{n:06}" for n in range(60)]
    assert len(segment.requests) == 8

    postgres.run("UPDATE customers SET plan = 'pro' WHERE id IN ('C000002', 'C000003')")
    postgres.run("DELETE FROM customers WHERE id = 'C000004'")
    run(dag)
    new = [(message["type"], message["userId"]) for message in segment.messages[60:]]
    assert new == [("identify", "C000002"), ("identify", "C000003"), ("track", "C000004")]
    run(dag)
    assert len(segment.messages) == 63
    assert segment.dropped == segment.duplicates == []


@pytest.fixture(params=["sqlite", "postgres"])
def customers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty database behind the connection `warehouse`."""
    forget()
    if request.param == "sqlite":
        return request.getfixturevalue("warehouse")
    house = request.getfixturevalue("postgres")
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", house.connection())
    return house


def test_mirror(segment: SegmentServer, customers: Any) -> None:
    """A deleted customer is deleted at Segment, once; who comes back is identified again when Segment allows it."""
    customers.run("CREATE TABLE customers (id TEXT, email TEXT, plan TEXT)")
    customers.run("CREATE TABLE deleted_customers (id TEXT, returned TEXT)")
    customers.insert("customers", [(f"C{n}", f"c{n}@example.com", "free") for n in range(5)])
    dag = load("segment_mirror")
    deletion = ("SUPPRESS_WITH_DELETE", ["C4"])

    def day() -> tuple[list[tuple[str, str]], list[tuple[str, list[str]]]]:
        """Run the DAG, and return the calls and the regulations of it."""
        calls, regulations = segment.messages, segment.public_api.regulations.made
        before = len(calls), len(regulations)
        run(dag)
        new = [(call["type"], call["userId"]) for call in calls[before[0] :]]
        return new, [(one["regulationType"], one["subjects"]) for one in regulations[before[1] :]]

    def delete() -> None:
        customers.run("DELETE FROM customers WHERE id = 'C4'")
        customers.run("INSERT INTO deleted_customers VALUES ('C4', NULL)")

    assert day() == ([("identify", f"C{n}") for n in range(5)], [])
    delete()
    assert day() == ([("track", "C4")], [deletion])
    assert day() == ([], [])
    customers.insert("customers", [("C4", "c4@example.com", "free")])
    assert day() == ([], [("UNSUPPRESS", ["C4"])])
    assert day() == ([("identify", "C4")], [])
    delete()
    assert day() == ([("track", "C4")], [deletion])
    assert day() == ([], [])


def test_shards_of_postgres(segment: SegmentServer, postgres: PostgresWarehouse) -> None:
    """The query of the shards means the same to a driver whose placeholders begin with a percent sign."""
    postgres.run("CREATE TABLE orders (id TEXT, customer_id TEXT, ordered_at TEXT, amount_usd NUMERIC, currency TEXT)")
    postgres.insert("orders", [(f"O{n:07}", f"C{n % 5}", "2026-01-01T00:00:00Z", n, "USD") for n in range(1, 151)])
    forget()
    dag = load("segment_shards")
    dag.tasks[0].partial_kwargs["sql_conn_id"] = "postgres"
    run(dag)
    sent = sorted(message["properties"]["order_id"] for message in segment.messages)
    assert sent == [f"O{n:07}" for n in range(1, 151)]


@pytest.mark.parametrize("name", ["postgres", "duckdb"])
def test_shards_by_a_hash(postgres: PostgresWarehouse, name: str) -> None:
    """A hash that the example names gives each row one shard, and the shards about the same number of rows."""
    hashed = {"postgres": "abs(hashtext(id)::bigint)", "duckdb": "hash(id)"}[name]
    assert hashed in (ROOT / "example_dags" / "segment_shards.py").read_text()
    orders = "SELECT concat('O', n) AS id FROM generate_series(1, 8000) AS t(n)"
    queries = [f"SELECT count(*) FROM ({orders}) AS o WHERE {hashed} % 4 = {shard}" for shard in range(4)]  # noqa: S608
    if name == "postgres":
        counts = [postgres.count(query) for query in queries]
    else:
        with duckdb.connect() as database:
            counts = [database.execute(query).fetchall()[0][0] for query in queries]
    assert sum(counts) == 8000
    assert min(counts) > 1800


def forget() -> None:
    """Remove what the examples remember in Airflow's home."""
    for state in Path(os.environ["AIRFLOW_HOME"]).glob("segment_state.db*"):
        state.unlink()


def load(name: str) -> DAG:
    """Import an example as Airflow does, from its file, and return its DAG."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "example_dags" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    assert isinstance(module.dag, DAG)
    return module.dag


def run(dag: DAG, **options: Any) -> None:
    """Run a DAG in this process; it must succeed."""
    assert dag.test(**options).state == "success"


def count(shop: Path, query: str) -> int:
    """Return the one number that a query gives."""
    with closing(sqlite3.connect(shop)) as connection:
        number: int = connection.execute(query).fetchone()[0]
        return number


def row(shop: Path, query: str) -> dict[str, Any]:
    """Return the first row that a query gives, by name."""
    return rows(shop, query)[0]


def rows(shop: Path, query: str) -> list[dict[str, Any]]:
    """Return the rows that a query gives, by name."""
    with closing(sqlite3.connect(shop)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]
