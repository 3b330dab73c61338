"""Compares SqlToSegmentOperator with the official SDK where each answer takes 100 ms: rows a second, and rows lost.

`python benchmarks/latency.py`; the SDK gets an environment of its own, made at the first run (benchmarks/.venv-sdk).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

from child import IDENTIFY, execute
from sink import sink
from warehouse import QUERY, sqlite

SDK = "segment-analytics-python==2.4.0"
HERE = Path(__file__).resolve().parent


def official_python() -> Path:
    """Return the Python that has the official SDK, which asks for an older python-dateutil than Airflow has."""
    home = HERE / ".venv-sdk"
    python = home / "bin" / "python"
    if not (home / "installed").exists():
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", SDK], check=True)  # noqa: S603
        (home / "installed").touch()
    return python


def ours(home: Path, delay: float, warehouse: str, rows: int, **settings: Any) -> tuple[float, dict[str, int]]:
    """Return the seconds of our operator, and what arrived."""
    with sink(delay=delay) as segment:
        sql = QUERY.format(rows=rows)
        done = execute(home, segment.url, warehouse, sql=sql, calls=[IDENTIFY], key="id", **settings)
        return done["seconds"], segment.stats()


def official(delay: float, warehouse: str, queue: int, end: str) -> tuple[float, dict[str, int]]:
    """Return the seconds of the official SDK, and what arrived."""
    with sink(delay=delay) as segment:
        arguments = [json.loads(warehouse)["host"], segment.url, str(queue), end]
        command = [official_python(), HERE / "official_sdk.py", *arguments]
        output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout  # noqa: S603
        return json.loads(output)["seconds"], segment.stats()


def show(name: str, rows: int, result: tuple[float, dict[str, int]]) -> float:
    """Print one line and return the rows a second that arrived."""
    seconds, stats = result
    rate = stats["events"] / seconds
    lost = rows - stats["events"]
    print(
        f"{name:<46}{seconds:>8.2f} s{stats['requests']:>7,} requests{stats['bytes'] / 1e6:>8.1f} MB"
        f"{stats['events']:>8,} arrived{lost:>8,} lost{rate:>10,.0f} rows/s",
        flush=True,
    )
    return rate


def main() -> int:
    """Measure all and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--delay", type=float, default=0.1, help="seconds before each answer")
    settings = parser.parse_args()
    rows, delay = settings.rows, settings.delay
    official_python()
    with tempfile.TemporaryDirectory() as folder, sqlite(Path(folder), rows) as warehouse:
        home = Path(folder)
        mine = [show("SqlToSegmentOperator", rows, ours(home, delay, warehouse, rows)) for _ in range(3)]
        show("SqlToSegmentOperator(max_in_flight=8)", rows, ours(home, delay, warehouse, rows, max_in_flight=8))
        theirs = show(f"{SDK}, queue of {rows:,}", rows, official(delay, warehouse, rows, "flush"))
        show(f"{SDK} as it comes, flush", rows, official(delay, warehouse, 0, "flush"))
        show(f"{SDK} as it comes", rows, official(delay, warehouse, 0, "exit"))
        mine += [show("SqlToSegmentOperator", rows, ours(home, delay, warehouse, rows)) for _ in range(2)]
    median = sorted(mine)[len(mine) // 2]
    print(f"ours, median of {len(mine)}: {median:,.0f} rows/s, {median / theirs:.0f} times the SDK that loses nothing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
