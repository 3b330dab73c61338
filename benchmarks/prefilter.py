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
import shutil
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
from promises import told
from results import Promise
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
FEW, MAX_MEMORY = 20_000, 1.3


def change(connection: str, share: float, turn: int) -> None:
    """Change a share of the users, others in each turn."""
    from airflow_provider_segment.compat import BaseHook

    os.environ["AIRFLOW_CONN_CHANGED"] = connection
    every = round(1 / share)
    hook = BaseHook.get_connection("changed").get_hook()
    hook.run(f"UPDATE users SET plan = 'plan {time.time_ns()}' WHERE id % {every} = {turn % every}", autocommit=True)  # noqa: S608


def check(source: str, key: str, rows: int, shares: list[float], sides: tuple[str, ...] = SIDES) -> list[Promise]:
    """Return the promises of speed, and those of memory where the filter on the client is among the sides."""
    args = argparse.Namespace(source=source, key=key, changed=shares, sides=sides, rounds=2, baseline=True, base="")
    found, peaks = measure(argparse.Namespace(rows=rows, **vars(args)))
    if "client" not in sides:
        return found
    args.changed, args.rounds = [0.0], 1
    _, few = measure(argparse.Namespace(rows=FEW, **vars(args)))
    for side in sides[1:]:
        ratio, name = peaks[side] / few[side], f"prefilter: {source}, memory of a run, {side}"
        promised = f"{rows:,} keys: at most {MAX_MEMORY} times the memory of {FEW:,}"
        found.append(Promise(name, promised, f"{ratio:.2f} times ({peaks[side] / 1e6:.0f} MB)", ratio <= MAX_MEMORY))
    return found


def measure(args: argparse.Namespace) -> tuple[list[Promise], dict[str, int]]:
    """Fill a database, let each side know it and let the sides take turns.

    :returns: what is promised, and each side's largest memory where nothing had changed.
    """
    found: list[Promise] = []
    peaks = dict.fromkeys(args.sides, 0)
    with tempfile.TemporaryDirectory(prefix="segment-bench-") as folder:
        home = Path(folder)
        with SOURCES[args.source](home, args.rows) as connection, sink() as segment:
            fill(args, home, segment.url, connection)
            for share in args.changed:
                rounds: list[dict[str, dict[str, Any]]] = []
                for turn in range(1, args.rounds + 1):
                    if share:
                        change(connection, share, turn)
                    rounds.append({})
                    for side in args.sides if turn % 2 else reversed(args.sides):
                        rounds[-1][side] = done = run(args, home, segment.url, connection, side)
                        peaks[side] = max(peaks[side], 0 if share else done["peak"])
                        show(side, args.rows, done)
                found += [compared(args, share, side, rounds) for side in args.sides[1:]]
    return [one for one in found if one.promised], peaks


def fill(args: argparse.Namespace, home: Path, url: str, connection: str) -> None:
    """Let each side know all rows: one looks at them, the others begin with its state and make their own filter."""
    first_run = "baseline" if args.baseline else "send"
    for side in args.sides:
        if side != args.sides[0] and not args.base:
            shutil.copy(home / f"state-{args.sides[0]}.db", home / f"state-{side}.db")
        show(f"fill, {side}", args.rows, run(args, home, url, connection, side, first_run=first_run))


def compared(args: argparse.Namespace, share: float, side: str, rounds: list[dict[str, dict[str, Any]]]) -> Promise:
    """Print how a side compares with the first one; return its promise, whose words are empty where there is none."""
    first = args.sides[0]
    ratio, cpu = (median(one[first][what] / one[side][what] for one in rounds) for what in ("seconds", "cpu"))
    wanted = PROMISED.get((args.source, args.key, share)) if side == "warehouse" else None
    what = f"{args.source}, {args.rows:,} rows, key {args.key}, {share:.1%} changed, {side}"
    took, peak = median(one[side]["seconds"] for one in rounds), max(one[side]["peak"] for one in rounds)
    measured = f"{ratio:.2f} times ({took:.2f} s; in CPU {cpu:.2f} times)"
    print(f"{what}: {measured}, peak {peak / 1e6:,.0f} MB", flush=True)
    promised = "" if wanted is None else f"at least {wanted:g} times the speed of a run without a filter"
    return Promise(f"prefilter: {what}", promised, measured, wanted is None or ratio >= wanted)


def show(what: str, rows: int, done: dict[str, Any]) -> None:
    """Say what a run took."""
    report, seconds = done["report"], done["seconds"]
    counts = f"{report['accepted']:>9,} sent{report.get('skipped', 0):>12,} skipped{done['peak'] / 1e6:>8,.0f} MB"
    print(f"  {what:<16}{seconds:>8.2f} s{done['cpu']:>8.2f} CPU{rows / seconds:>12,.0f} rows/s{counts}", flush=True)


def run(args: argparse.Namespace, home: Path, url: str, connection: str, side: str, **more: Any) -> dict[str, Any]:
    """Run one side once in a new process."""
    state = home / f"state-{side}.db"
    settings: dict[str, Any] = {"sql": f"SELECT * FROM users WHERE id <= {args.rows}", "calls": [CALL]}  # noqa: S608
    settings |= {
        "key": args.key,
        "timezone": "UTC",
        "sync_mode": "changes",
        "sync_id": "users",
        "state_path": str(state),
    }
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
    parser.add_argument("--changed", type=float, nargs="+", default=[0.0], help="shares of the rows, such as 0.001")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--baseline", action="store_true", help="the fill sends nothing")
    parser.add_argument("--base", default="", help="a checkout whose package runs without a filter")
    raise SystemExit(told(measure(parser.parse_args())[0]))


if __name__ == "__main__":
    main()
