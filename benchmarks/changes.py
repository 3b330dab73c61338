"""Shows sync_mode="changes": what each run sends, how large the state is, and what memory it takes.

`python benchmarks/changes.py`; promises: each run sends exactly what changed; a million pairs of call and key are at
most 64 MB of SQLite file, journal included; a million keys take at most 1.3 times the memory of 20,000.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from child import IDENTIFY, execute
from promises import told
from results import Promise
from sink import sink
from warehouse import QUERY, postgres, sqlite

FEW = 20_000
MB = 1_000_000
MAX_STATE, MAX_RATIO = 64 * MB, 1.3
KEYS = {"id": "integer keys", "email": "text keys"}

# lifetime_value is mapped by none at first.
TRAITS = ["email", "first_name", "last_name", "plan", "country", "orders", "is_active", "created_at"]
CUSTOMER = {"call": "identify", "user_id": "id", "traits": TRAITS, "on_change": ["added", "updated"]}
RICHER = {**CUSTOMER, "traits": [*TRAITS, "lifetime_value"]}
GONE = {"call": "track", "event": {"constant": "Deleted"}, "user_id": "id", "on_change": ["deleted"]}
SIGNED_UP = {"call": "track", "event": {"constant": "Signed Up"}, "user_id": "id", "properties": ["plan"]}
COLUMNS = "email, first_name, last_name, plan, country, orders, lifetime_value, is_active, created_at"
MIXED = (
    "UPDATE users SET plan = 'gold' WHERE id <= 137",
    f"INSERT INTO users SELECT id + 10000000, {COLUMNS} FROM users WHERE id BETWEEN 201 AND 220",  # noqa: S608
    "DELETE FROM users WHERE id BETWEEN 301 AND 311",
)
UNMAPPED = ("UPDATE users SET lifetime_value = lifetime_value + 1",)


def run(home: Path, warehouse: str, sql: str, **settings: Any) -> dict[str, Any]:
    """Run the operator in a new process, check that all that it says was accepted arrived, and return its result."""
    with sink() as segment:
        done = execute(home, segment.url, warehouse, sql=sql, sync_mode="changes", **settings)
        arrived = segment.stats()["events"]
    assert done["report"]["accepted"] == arrived, (done["report"], arrived)
    return done


def customers(home: Path, name: str, warehouse: str, rows: int, state: dict[str, str]) -> Promise:
    """Run after run over changing customers: does each send exactly what it should?"""
    print(f"{name}: {rows:,} customers, state in {name}", flush=True)
    left = rows + 20 - 11
    steps: list[tuple[str, tuple[str, ...], list[Any], dict[str, int]]] = [
        ("first run", (), [CUSTOMER, GONE], {"added": rows}),
        ("second run", (), [CUSTOMER, GONE], {}),
        ("137 updated, 20 added, 11 deleted", MIXED, [CUSTOMER, GONE], {"updated": 137, "added": 20, "deleted": 11}),
        ("a column that is not mapped", UNMAPPED, [CUSTOMER, GONE], {}),
        ("one more trait", (), [RICHER, GONE], {"updated": left}),
        ("one more call", (), [RICHER, GONE, SIGNED_UP], {"added": left}),
        ("calls turned round", (), [SIGNED_UP, GONE, RICHER], {}),
    ]
    wrong = []
    for step, statements, calls, wanted in steps:
        change(warehouse, statements)
        done = run(home, warehouse, "SELECT * FROM users", calls=calls, key="id", **state)
        report = done["report"]
        kinds = {kind: report[kind] for kind in ("added", "updated", "deleted") if report[kind]}
        wrong += [] if kinds == wanted and report["accepted"] == sum(wanted.values()) else [step]
        found = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items()) or "nothing"
        print(
            f"  {step:<34}{report['accepted']:>8,} calls{done['seconds']:>7.2f} s  {found}",
            flush=True,
        )
    measured = f"of {len(steps)} runs of {rows:,} customers these did not: {', '.join(wrong) or 'none'}"
    return Promise(f"changes: customers, {name}", "each run sends exactly what changed", measured, not wrong)


def change(warehouse: str, statements: tuple[str, ...]) -> None:
    """Change the customers."""
    place = json.loads(warehouse)
    if place["conn_type"] == "sqlite":
        connection: Any = sqlite3.connect(place["host"])
    else:
        import psycopg2

        names = {"host": "host", "port": "port", "user": "login", "dbname": "schema"}
        connection = psycopg2.connect(**{ours: place[airflows] for ours, airflows in names.items()})
    with closing(connection):
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        connection.commit()


@contextmanager
def watched(path: Path) -> Iterator[list[int]]:
    """Lend a list that will hold the largest size of a SQLite file with its journal, looked at each 5 ms."""
    largest, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.005):
            largest[0] = max(largest[0], size(path))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield largest
    finally:
        ended.set()
        watcher.join()


def size(path: Path) -> int:
    """Return the bytes of a SQLite file and its journal."""
    total = 0
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        try:
            total += path.with_name(name).stat().st_size
        except FileNotFoundError:
            continue
    return total


def first_run(home: Path, warehouse: str, rows: int, key: str) -> list[Promise]:
    """Make the state of few and of many keys: are size and memory as promised?"""
    print(f"{KEYS[key]}, SQLite", flush=True)
    peaks = []
    for count in (FEW, rows):
        path = home / f"{key}-{count}.db"
        with watched(path) as largest:
            settings = {"calls": [IDENTIFY], "key": key, "state_path": str(path)}
            done = run(home, warehouse, QUERY.format(rows=count), **settings)
        assert done["report"]["added"] == count, done["report"]
        peaks.append(done["peak"])
        print(
            f"  {count:>9,} rows: {count / done['seconds']:>7,.0f} rows a second; state {largest[0] / MB:.1f} MB at "
            f"its largest, {size(path) / MB:.1f} MB in the end; memory {done['peak'] / MB:.1f} MB",
            flush=True,
        )
    ratio, name = peaks[1] / peaks[0], f"changes: state, {KEYS[key]}"
    memory = f"{rows:,} keys: at most {MAX_RATIO} times the memory of {FEW:,}"
    stored = f"{rows:,} keys: at most {MAX_STATE // MB} MB of SQLite file, journal included"
    return [
        Promise(name, memory, f"{ratio:.2f} times", held=ratio <= MAX_RATIO),
        Promise(name, stored, f"{largest[0] / MB:.1f} MB", held=largest[0] <= MAX_STATE),
    ]


def check(rows: int, few: int) -> list[Promise]:
    """Run all.

    :param rows: of which the state is measured.
    :param few: the customers that change.
    """
    with tempfile.TemporaryDirectory() as folder, sqlite(Path(folder), few) as warehouse:
        found = [customers(Path(folder), "SQLite", warehouse, few, {"state_path": f"{folder}/state.db"})]
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder), few) as warehouse:
        found.append(customers(Path(folder), "PostgreSQL", warehouse, few, {"state_conn_id": "warehouse"}))
    with tempfile.TemporaryDirectory() as folder, sqlite(Path(folder), rows) as warehouse:
        for key in KEYS:
            found += first_run(Path(folder), warehouse, rows, key)
    return found


def main() -> int:
    """Measure all and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int, default=100_000)
    settings = parser.parse_args()
    return told(check(settings.rows, settings.customers))


if __name__ == "__main__":
    sys.exit(main())
