"""Shows what a cap costs that holds: the calls wait on disk until all are counted.

`python benchmarks/caps.py`; promises: at least 0.7 of the speed and at most 1.1 times the memory of the same run
without a cap, of rows that are all new, from SQLite.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from child import IDENTIFY, execute
from promises import told
from results import Promise
from sink import sink
from warehouse import QUERY, sqlite

SPEED, MEMORY = 0.7, 1.1


def check(rows: int, rounds: int) -> list[Promise]:
    """Run both modes with and without a cap, in turns."""
    found = []
    with tempfile.TemporaryDirectory() as folder, sqlite(Path(folder), rows) as warehouse:
        for mode in ("all", "changes"):
            pairs = [pair(Path(folder), warehouse, rows, mode, turn) for turn in range(rounds)]
            speed = median(free["seconds"] / capped["seconds"] for free, capped in pairs)
            memory = median(capped["peak"] / free["peak"] for free, capped in pairs)
            promised = f"{rows:,} held calls: at least {SPEED} of the speed, at most {MEMORY} times the memory"
            measured, held = f"{speed:.2f}, {memory:.2f}", speed >= SPEED and memory <= MEMORY
            found.append(Promise(f'caps: "{mode}"', promised, measured, held))
    return found


def pair(home: Path, warehouse: str, rows: int, mode: str, turn: int) -> list[dict[str, Any]]:
    """Run once without a cap and once with it, every other turn the other way round."""
    done: dict[bool, dict[str, Any]] = {}
    for capped in (False, True) if turn % 2 else (True, False):
        settings: dict[str, Any] = {"sql": QUERY.format(rows=rows), "calls": [IDENTIFY], "key": "id", "sync_mode": mode}
        settings |= {"state_path": str(home / f"state-{turn}-{capped}.db")} if mode == "changes" else {}
        settings |= {"max_calls": rows} if capped else {}
        with sink() as segment:
            done[capped] = execute(home, segment.url, warehouse, **settings)
            assert segment.stats()["events"] == rows
    return [done[False], done[True]]


def main() -> int:
    """Measure as asked and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    return told(check(args.rows, args.rounds))


if __name__ == "__main__":
    sys.exit(main())
