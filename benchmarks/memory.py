"""Shows that memory does not grow with the rows: peak of execute() for 20,000 and 2,000,000 rows, from two databases.

`python benchmarks/memory.py`; promises: with a key at most 1.3 times, without one at most 64 MB more.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from child import IDENTIFY, execute
from sink import sink
from warehouse import QUERY, postgres, sqlite

FEW = 20_000
MB = 1_000_000
MAX_RATIO, MAX_MORE = 1.3, 64 * MB


def peak(home: Path, warehouse: str, rows: int, key: str | None) -> int:
    """Return the peak memory of one execute in a new process, and print what it did."""
    with sink() as segment:
        done = execute(home, segment.url, warehouse, sql=QUERY.format(rows=rows), calls=[IDENTIFY], key=key)
        arrived = segment.stats()["events"]
    report = done["report"]
    assert report["accepted"] == arrived == rows, (report, arrived)
    bytes_peak: int = done["peak"]
    rate = rows / done["seconds"]
    print(f"  {rows:>9,} rows: {bytes_peak / MB:6.1f} MB at most, {rate:>7,.0f} rows a second", flush=True)
    return bytes_peak


def compare(home: Path, name: str, warehouse: str, many: int, key: str | None) -> bool:
    """Compare few rows with many; tell whether the promise holds."""
    print(f"{name}, {f'key={key}' if key else 'no key'}")
    small, large = (peak(home, warehouse, rows, key) for rows in (FEW, many))
    kept = large <= MAX_RATIO * small if key else large - small <= MAX_MORE
    limit = f"{MAX_RATIO} times" if key else f"{MAX_MORE // MB} MB more"
    verdict = "ok" if kept else "BROKEN"
    print(f"  {large / small:.2f} times, {(large - small) / MB:.1f} MB more; at most {limit}: {verdict}")
    return kept


def main() -> int:
    """Measure all and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--sources", nargs="+", choices=("sqlite", "postgres"), default=("sqlite", "postgres"))
    settings = parser.parse_args()
    kept = []
    for name in settings.sources:
        # The files take 200 to 400 MB; TMPDIR says where.
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            with {"sqlite": sqlite, "postgres": postgres}[name](home, settings.rows) as warehouse:
                kept += [compare(home, name, warehouse, settings.rows, key) for key in ("id", None)]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
