"""Thirty runs of three syncs, made by running their DAGs: first loads, changes, kills, retries, refusals, shards.

It is run in an Airflow of its own: `python make_thirty_runs.py WAREHOUSE`, beside the DAGs of page_dags/.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session

from airflow_provider_segment.testing import SegmentServer

# In each row; what the pages show holds it nowhere.
CANARY = "canary8f3a"
DAGS = Path(__file__).with_name("page_dags")
SLUGS = {"workspace_slug": "my-workspace", "source_slug": "warehouse"}
DEADLINE = 2
DAY = "2026-11-01T00:00:00Z"
BEGAN = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)


class World:
    """The warehouse, the Segment and the DAGs.

    :param warehouse: the SQLite file.
    """

    def __init__(self, warehouse: Path) -> None:
        self._warehouse = warehouse
        self._random = random.Random(7)  # noqa: S311  of the rows
        self._runs = 0
        self._made = {"customers": 0, "orders": 0, "accounts": 0}
        self.segment = SegmentServer().start()
        connection = json.loads(self.segment.connection) | {"extra": SLUGS | {"deadline": DEADLINE}}
        os.environ["AIRFLOW_CONN_SEGMENT_DEFAULT"] = json.dumps(connection)
        self.sql("CREATE TABLE customers (id TEXT, email TEXT, plan TEXT, signed_up TEXT)")
        self.sql("CREATE TABLE orders (id INTEGER, customer_id TEXT, total REAL, ordered_at TEXT)")
        self.sql("CREATE TABLE accounts (id TEXT, owner_id TEXT, seats INTEGER)")

    def sql(self, statement: str, values: Sequence[Sequence[Any]] = ((),)) -> None:
        """Change the warehouse, once for each of some values."""
        with closing(sqlite3.connect(self._warehouse)) as database, database:
            for one in values:
                database.execute(statement, one)

    def add(self, table: str, rows: int) -> None:
        """Put new rows into a table."""
        made = self._made[table]
        self._made[table] += rows
        new = range(made + 1, made + rows + 1)
        if table == "customers":
            plans = self._random.choices(["free", "pro"], k=rows)
            found = [(f"C{n}", f"{CANARY}.{n}@example.com", plan, DAY) for n, plan in zip(new, plans, strict=True)]
            self.sql("INSERT INTO customers VALUES (?, ?, ?, ?)", found)
        elif table == "orders":
            self.sql("INSERT INTO orders VALUES (?, ?, ?, ?)", [(n, f"C{n % 900}", n * 7 % 400, DAY) for n in new])
        else:
            self.sql("INSERT INTO accounts VALUES (?, ?, ?)", [(f"A{n}", f"C{n}", n % 40) for n in new])

    def run(self, dag_id: str) -> None:
        """Run a DAG; whether it fails is not looked at."""
        self._runs += 1
        run(dag_id, self._runs)

    def run_retried(self, dag_id: str) -> None:
        """Run a DAG while Segment answers nothing but 503, until the first try of the task has given up."""
        began = time.monotonic()
        self.segment.respond_with(lambda _: 503 if time.monotonic() < began + DEADLINE + 0.3 else None)
        self.run(dag_id)
        self.segment.reset()

    def run_killed(self, dag_id: str, after: int) -> None:
        """Run a DAG in a process that is killed at one of its requests."""
        self._runs += 1
        # Not a fork: this process has threads, whose locks a child would find taken for ever.
        child = subprocess.Popen([sys.executable, __file__, dag_id, str(self._runs)])  # noqa: S603  ours
        seen = 0

        def kill(_: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == after:
                child.kill()

        self.segment.respond_with(kill)
        child.wait()
        self.segment.reset()
        with create_session() as session:  # as the scheduler does, which misses the task's heartbeat
            for table in (DagRun, TaskInstance):
                of_run = sa.update(table).where(table.dag_id == dag_id, table.state == "running")
                session.execute(of_run.values(state="failed"))


def run(dag_id: str, number: int) -> None:
    """Run a DAG in this process.

    :param dag_id: of it.
    :param number: makes the date of the run.
    """
    bag = BundleDagBag(dag_folder=DAGS, bundle_path=DAGS, bundle_name="dags-folder")
    at = BEGAN + dt.timedelta(hours=number)
    bag.dags[dag_id].test(run_after=at, logical_date=at)


def customers(world: World) -> None:
    """Eleven runs of one task: a first load, changes, departures, a kill, a retry, refusals of both kinds."""
    world.add("customers", 900)
    world.run("crm")
    for changed in (60, 25, 110):
        world.sql("UPDATE customers SET plan = plan || '+' WHERE CAST(substr(id, 2) AS INTEGER) <= ?", [[changed]])
        world.add("customers", changed // 2)
        world.run("crm")
    world.sql("DELETE FROM customers WHERE CAST(substr(id, 2) AS INTEGER) BETWEEN 700 AND 740")
    world.run("crm")
    world.sql("UPDATE customers SET plan = 'team' WHERE CAST(substr(id, 2) AS INTEGER) < 300")
    world.run_killed("crm", after=1)
    world.run("crm")
    world.add("customers", 150)
    world.run_retried("crm")
    world.sql("UPDATE customers SET id = '' WHERE CAST(substr(id, 2) AS INTEGER) BETWEEN 500 AND 506")
    world.sql("UPDATE customers SET signed_up = ? WHERE id IN ('C20', 'C21', 'C22')", [[CANARY]])
    world.add("customers", 20)
    world.sql("UPDATE customers SET signed_up = ? WHERE id LIKE 'C11_5'", [[CANARY]])
    world.segment.refuse(lambda message: message.get("traits", {}).get("plan") == "free+")
    world.sql("UPDATE customers SET plan = 'free+' WHERE id IN ('C31', 'C32', 'C33', 'C34')")
    world.run("crm")
    world.run("crm")
    world.segment.reset()


def orders(world: World) -> None:
    """Ten runs that send what is new; one is refused and fails, one finds nothing to do."""
    for rows in (300, 40, 55, 0, 38, 61):
        world.add("orders", rows)
        world.run("shop")
    world.add("orders", 45)
    world.sql("UPDATE orders SET ordered_at = 'yesterday' WHERE id IN (410, 411)")
    world.run("shop")
    world.sql("UPDATE orders SET ordered_at = '2026-11-02T00:00:00Z' WHERE ordered_at = 'yesterday'")
    for rows in (52, 47, 33):
        world.add("orders", rows)
        world.run("shop")


def accounts(world: World) -> None:
    """Nine runs of three tasks that send: one of them is killed, one is refused by Segment for a while."""
    world.add("accounts", 600)
    world.run("billing")
    for change in (250, 40, 320):
        world.sql("UPDATE accounts SET seats = seats + 1 WHERE CAST(substr(id, 2) AS INTEGER) <= ?", [[change]])
        world.run("billing")
    world.sql("UPDATE accounts SET seats = seats + 1")
    world.run_killed("billing", after=4)
    world.run("billing")
    world.add("accounts", 90)
    world.run("billing")
    world.sql("DELETE FROM accounts WHERE CAST(substr(id, 2) AS INTEGER) > 640")
    world.run("billing")
    world.sql("UPDATE accounts SET seats = seats + 2 WHERE CAST(substr(id, 2) AS INTEGER) <= 410")
    world.run("billing")


def main(warehouse: str) -> None:
    """Make the runs."""
    world = World(Path(warehouse))
    of_syncs: list[Callable[[World], None]] = [customers, orders, accounts]
    for make in of_syncs:
        make(world)
    world.segment.stop()


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(sys.argv[1])
    else:
        run(sys.argv[1], int(sys.argv[2]))
