"""Shows what a run costs that finds nothing changed, or little: without a filter, and with it in either place.

`python benchmarks/prefilter.py postgres --key email`; the sides take turns in one run, each round in the other order,
each with a sync of its own over the same table, and the ratio is the median of the rounds'. On the side without a
filter the one that is there is marked as of another mapping: every row is looked at, and the filter is made anew.
`--base DIR` takes the package of another checkout for that side instead. With `--baseline` the fill remembers all rows
and sends none, for tables of many rows. CPU is that of the operator's process: the work of DuckDB and SQLite is in it,
that of a server is not. Promises: see PROMISED; the exit code is 1 where one is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from changes import TRAITS
from child import execute
from sink import sink
from warehouse import POSTGRES, postgres, sqlite

CALL = {"call": "identify", "user_id": "id", "traits": TRAITS}
SIDES = ("without", "client", "warehouse")


@contextmanager
def duckdb(home: Path, rows: int) -> Iterator[str]:
    """Make a DuckDB file of users and lend its Airflow connection."""
    import duckdb

    path = home / "warehouse.duckdb"
    columns = POSTGRES.replace("to_timestamp(1600000000 + n)", "TIMESTAMP '2020-09-13' + to_seconds(n)")
    with duckdb.connect(str(path)) as database:
        database.execute(f"CREATE TABLE users AS SELECT {columns} FROM range(1, {rows} + 1) AS t(n)")  # noqa: S608
    yield json.dumps({"conn_type": "duckdb", "host": str(path)})


@contextmanager
def mariadb(home: Path, rows: int) -> Iterator[str]:
    """Start a MariaDB of its own, fill it with users and lend its Airflow connection."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "provider"))
    from mariadb import MariadbWarehouse, running

    columns = POSTGRES.replace("::numeric(10, 2)", "").replace("to_timestamp(", "FROM_UNIXTIME(")
    columns = columns.replace("'user' || n || '@example.com'", "CONCAT('user', n, '@example.com')")
    columns = columns.replace("'Ada ' || (n % 7919)", "CONCAT('Ada ', n % 7919)")
    columns = columns.replace("'Lovelace-' || (n % 104729)", "CONCAT('Lovelace-', n % 104729)")
    with running() as socket:
        house = MariadbWarehouse(socket)
        house.run("CREATE TABLE users AS " + f"SELECT {columns} FROM (SELECT seq AS n FROM seq_1_to_{rows}) t")  # noqa: S608
        house.run("ALTER TABLE users ADD PRIMARY KEY (id)")
        yield house.connection()


SOURCES: dict[str, Any] = {"sqlite": sqlite, "postgres": postgres, "duckdb": duckdb, "mariadb": mariadb}
# By source, key and share that changed: at least so many times the path without a filter.
PROMISED = {
    ("postgres", "id", 0.0): 5,
    ("postgres", "email", 0.0): 8,
    ("postgres", "id", 0.001): 4,
    ("duckdb", "id", 0.0): 20,
    ("duckdb", "email", 0.0): 20,
    ("duckdb", "id", 0.001): 12,
    ("sqlite", "id", 0.0): 8,
    ("sqlite", "id", 0.001): 6,
}
SCHEMAS = {"sqlite": "main"}


def change(connection: str, share: float, turn: int) -> None:
    """Change a share of the users, others in each turn."""
    from airflow_provider_segment.compat import BaseHook

    os.environ["AIRFLOW_CONN_CHANGED"] = connection
    every = round(1 / share)
    hook = BaseHook.get_connection("changed").get_hook()
    hook.run(f"UPDATE users SET plan = 'plan {time.time_ns()}' WHERE id % {every} = {turn % every}", autocommit=True)  # noqa: S608


def measure(args: argparse.Namespace) -> bool:
    """Fill a database, let each side know it, let the sides take turns, and tell whether what is promised holds."""
    rounds: list[dict[str, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory(prefix="segment-bench-") as folder:
        home = Path(folder)
        with SOURCES[args.source](home, args.rows) as connection, sink() as segment:
            for side in args.sides:
                first_run = "baseline" if args.baseline else "send"
                show(f"fill, {side}", args.rows, run(args, home, segment.url, connection, side, first_run=first_run))
            for turn in range(1, args.rounds + 1):
                if args.changed:
                    change(connection, args.changed, turn)
                rounds.append({})
                for side in args.sides if turn % 2 else reversed(args.sides):
                    rounds[-1][side] = run(args, home, segment.url, connection, side)
                    show(side, args.rows, rounds[-1][side])
    first, kept = args.sides[0], True
    for side in args.sides:
        ratio, cpu = (median(one[first][what] / one[side][what] for one in rounds) for what in ("seconds", "cpu"))
        wanted = PROMISED.get((args.source, args.key, args.changed)) if side == "warehouse" else None
        kept &= wanted is None or ratio >= wanted
        asked = "" if wanted is None else f" (promised {wanted:g}: {'ok' if ratio >= wanted else 'MISSED'})"
        what = f"{args.source}, {args.rows:,} rows, key {args.key}, {args.changed:.1%} changed, {side}"
        took, peak = median(one[side]["seconds"] for one in rounds), max(one[side]["peak"] for one in rounds)
        print(f"{what}: {took:.2f} s, {ratio:.2f} times {first}{asked}; CPU {cpu:.2f} times; peak {peak / 1e6:,.0f} MB")
    return kept


def show(what: str, rows: int, done: dict[str, Any]) -> None:
    """Say what a run took."""
    report, seconds = done["report"], done["seconds"]
    counts = f"{report['accepted']:>9,} sent{report.get('skipped', 0):>12,} skipped{done['peak'] / 1e6:>8,.0f} MB"
    print(f"  {what:<16}{seconds:>8.2f} s{done['cpu']:>8.2f} CPU{rows / seconds:>12,.0f} rows/s{counts}", flush=True)


def run(args: argparse.Namespace, home: Path, url: str, connection: str, side: str, **more: Any) -> dict[str, Any]:
    """Run one side once in a new process."""
    state = home / f"state-{side}.db"
    settings: dict[str, Any] = {"sql": f"SELECT * FROM users WHERE id <= {args.rows}", "calls": [CALL]}  # noqa: S608
    settings |= {"key": args.key, "timezone": "UTC", "sync_mode": "changes", "sync_id": side, "state_path": str(state)}
    settings |= more
    if side == "warehouse":
        settings["warehouse_schema"] = SCHEMAS.get(args.source, "segment")
    if side != "without":
        return execute(home, url, connection, **settings)
    ours = os.environ.get("PYTHONPATH", "")
    if args.base:
        os.environ["PYTHONPATH"] = args.base
    elif state.exists():
        with closing(sqlite3.connect(state)) as database, database:
            database.execute("UPDATE segment_filter SET fingerprint = 'of another mapping'")
    try:
        return execute(home, url, connection, **settings)
    finally:
        os.environ["PYTHONPATH"] = ours


def main() -> None:
    """Measure as asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", choices=SOURCES)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--key", choices=["id", "email"], default="id")
    parser.add_argument("--changed", type=float, default=0.0, help="a share of the rows, such as 0.001")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--baseline", action="store_true", help="the fill sends nothing")
    parser.add_argument("--base", default="", help="a checkout whose package runs without a filter")
    raise SystemExit(0 if measure(parser.parse_args()) else 1)


if __name__ == "__main__":
    main()
