"""Shows what a table of events costs with a cursor, and without: rows read and seconds when few of many are new.

`python benchmarks/cursor.py --rows 10000000 --new 1000`; the events that are there already are remembered, not sent
(first_run="baseline"), by a sync with a cursor and by one without.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from child import execute
from promises import told
from results import Promise
from sink import sink

EVENT = {"call": "track", "event": {"constant": "Ordered"}, "user_id": "customer", "properties": ["total"]}
SIDES: dict[str, dict[str, Any]] = {"cursor": {"cursor": "ordered_at", "timezone": "UTC"}, "no cursor": {}}
SQL = "SELECT id, customer, total, ordered_at FROM orders"


def add(path: Path, first: int, rows: int) -> None:
    """Put orders into the table, one a second.

    :param path: of the SQLite file.
    :param first: the number of the first.
    :param rows: how many.
    """
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, customer INT, total INT, ordered_at TEXT)"
        )
        database.execute("CREATE INDEX IF NOT EXISTS by_time ON orders (ordered_at)")
        database.execute(
            "WITH RECURSIVE n (n) AS (SELECT ? UNION ALL SELECT n + 1 FROM n WHERE n + 1 < ?) INSERT INTO orders "
            "SELECT n, n % 100003, n % 997, datetime('2026-01-01', '+' || n || ' seconds') FROM n",
            (first, first + rows),
        )


def check(rows: int, new: int, rounds: int) -> list[Promise]:
    """Run both sides in turns, and print a line a run.

    :param rows: that are there at first.
    :param new: that come before each round.
    """
    wrong, seconds = 0, dict.fromkeys(SIDES, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        home, path = Path(folder), Path(folder) / "warehouse.db"
        warehouse = json.dumps({"conn_type": "sqlite", "host": str(path)})
        first = rows
        add(path, 0, first)
        for turn in range(rounds + 1):
            for side, settings in SIDES.items():
                with sink() as segment:
                    state = {"state_path": str(home / f"{side}.db"), "first_run": "baseline"}
                    how = {"sync_mode": "changes", "key": "id", "calls": [EVENT], "sql": SQL}
                    done = execute(home, segment.url, warehouse, **how, **settings, **state)
                    sent = segment.stats()["events"]
                wrong += sent != (new if turn else 0)
                seconds[side] += done["seconds"] if turn else 0
                report = done["report"]
                print(
                    f"{'new rows' if turn else 'first run':<10} {side:<10} rows read {report['rows']:>12,}"
                    f"  sent {sent:>6,}  {done['seconds']:>8.2f} s  {done['peak'] / 1e6:.0f} MB",
                    flush=True,
                )
            add(path, first, new)
            first += new
    with_cursor, without = seconds.values()
    measured = f"{wrong} runs wrong; {without / with_cursor:.1f} times as fast as without a cursor"
    return [Promise("cursor", f"{new:,} new of {rows:,} events: each is sent once", measured, held=not wrong)]


def main() -> int:
    """Measure as asked and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--new", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    return told(check(args.rows, args.new, args.rounds))


if __name__ == "__main__":
    sys.exit(main())
