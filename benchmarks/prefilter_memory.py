"""Shows what memory a run takes that finds nothing changed, of many keys and of few, and how much is stored for it.

`python benchmarks/prefilter_memory.py postgres client warehouse`; promise: a million keys take at most 1.3 times the
memory of 20,000; the exit code is 1 where it is missed. The state is a SQLite file; of the warehouse the tables of the
filter are measured, which in DuckDB are what its file grew by.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import prefilter
from prefilter import FEW, MAX_MEMORY
from sink import sink

TABLES = {
    "postgres": "SELECT SUM(pg_total_relation_size(relid)) FROM pg_stat_user_tables WHERE relname LIKE 'segment_%'",
    "sqlite": "SELECT SUM(pgsize) FROM dbstat WHERE name LIKE 'segment_%'",
}


def stored(source: str, connection: str, state: Path) -> str:
    """Return the sizes of the state, of its pages of arrival, and of the tables in the warehouse."""
    from airflow_provider_segment.compat import BaseHook

    with closing(sqlite3.connect(state)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (arrival,) = database.execute("SELECT SUM(pgsize) FROM dbstat WHERE name = 'segment_arrival'").fetchone()
    found = f"state {state.stat().st_size / 1e6:.1f} MB, of which arrival {(arrival or 0) / 1e6:.1f}"
    if source in TABLES:
        os.environ["AIRFLOW_CONN_MEASURED"] = connection
        size = BaseHook.get_connection("measured").get_hook().get_first(TABLES[source])[0] or 0
    else:
        size = Path(json.loads(connection)["host"]).stat().st_size
    return f"{found}; in the warehouse {float(size) / 1e6:.1f} MB"


def measure(args: argparse.Namespace) -> bool:
    """Make each side known to few and to many keys, run it again, and tell whether memory is as promised."""
    kept = True
    for side in args.sides:
        peaks = []
        for rows in (FEW, args.many):
            args.rows = rows
            with tempfile.TemporaryDirectory(prefix="segment-bench-") as folder, sink() as segment:
                home = Path(folder)
                with prefilter.SOURCES[args.source](home, rows) as connection:
                    before = stored(args.source, connection, home / "none.db") if args.source == "duckdb" else ""
                    fill = prefilter.run(args, home, segment.url, connection, side, first_run="baseline")
                    runs = [prefilter.run(args, home, segment.url, connection, side) for _ in range(args.rounds)]
                    sizes = stored(args.source, connection, home / f"state-{side}.db")
            assert all(one["report"]["skipped"] == rows for one in runs)
            peaks.append(max(one["peak"] for one in runs))
            was = f" (before {before.rpartition(' in ')[2]})" if before else ""
            print(
                f"{args.source}, key {args.key}, {side}, {rows:,} keys: peak {peaks[-1] / 1e6:.1f} MB, "
                f"of the fill {fill['peak'] / 1e6:.1f} MB; {sizes}{was}",
                flush=True,
            )
        ratio = peaks[1] / peaks[0]
        kept &= (good := ratio <= MAX_MEMORY)
        print(f"  memory {ratio:.2f} times, at most {MAX_MEMORY}: {'ok' if good else 'MISSED'}", flush=True)
    return kept


def main() -> None:
    """Measure as asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", choices=prefilter.SOURCES)
    parser.add_argument("sides", nargs="+", choices=prefilter.SIDES)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--key", choices=["id", "email"], default="id")
    parser.add_argument("--rounds", type=int, default=3)
    parser.set_defaults(base="")
    raise SystemExit(0 if measure(parser.parse_args()) else 1)


if __name__ == "__main__":
    main()
