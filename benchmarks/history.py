"""Shows what the history costs: a run that writes it down beside one that does not, and how long its questions take.

`python benchmarks/history.py`; promises: at most 2 % of the CPU of a run of a million rows that finds nothing changed,
at most 5 % of the first fill, and under a second for `history` and `explain` of 1,000 runs and 100,000 refusals. The
exit code is 1 where one is missed. Each run is a process of its own; the two sides take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sink import sink

from airflow_provider_segment.calls import Identify

CALL = Identify("id", traits=["email", "plan", "city"])
LIMITS = {"fill": 1.05, "unchanged": 1.02}
SECONDS = 1.0


def rows(number: int) -> Iterator[dict[str, Any]]:
    """Yield users."""
    for n in range(number):
        yield {"id": n, "email": f"user{n}@example.com", "plan": "free", "city": "Lisbon"}


def without_history() -> None:
    """Take out what writes the history down."""
    from airflow_provider_segment.core.changes.refusals import Refusals
    from airflow_provider_segment.core.changes.state import State

    def nothing(*_: Any, **__: Any) -> Any:
        return []

    for kind, names in ((State, ("write_down", "earlier_tries")), (Refusals, ("add", "write", "forget_earlier"))):
        for name in names:
            setattr(kind, name, nothing)


def child(number: int, state: str, *, is_written: bool) -> None:
    """Run the sync, and print the CPU that it took."""
    from airflow_provider_segment.hooks.segment import SegmentHook

    if not is_written:
        without_history()
    before = _cpu()
    options: dict[str, Any] = {"sync_mode": "changes", "key": "id", "state_path": state, "sync_id": "users"}
    SegmentHook().sync(rows(number), CALL, **options)
    sys.stdout.write(f"\n{_cpu() - before}\n")


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def run(url: str, number: int, state: Path, side: str) -> float:
    """Run a side in a process, and return its CPU."""
    connection = json.dumps({"conn_type": "segment", "host": url, "password": "k" * 32})
    command = [sys.executable, __file__, "--child", side, "--rows", str(number), "--state", str(state)]
    done = subprocess.run(  # noqa: S603  ours
        command,
        env=os.environ | {"AIRFLOW_CONN_SEGMENT_DEFAULT": connection},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def cost(number: int, rounds: int) -> bool:
    """Print what the history costs, and tell whether that is as promised."""
    ratios: dict[str, list[float]] = {"fill": [], "unchanged": []}
    for turn in range(rounds):
        with tempfile.TemporaryDirectory(prefix="segment-bench-") as folder, sink() as segment:
            sides = ["with", "without"] if turn % 2 else ["without", "with"]
            for what, found in ratios.items():
                took = {side: run(segment.url, number, Path(folder) / f"{side}.db", side) for side in sides}
                found.append(took["with"] / took["without"])
                sys.stdout.write(f"{what}: {took['with']:.2f} and {took['without']:.2f} s of CPU: {found[-1]:.3f}\n")
    kept = True
    for what, found in ratios.items():
        median = statistics.median(found)
        kept = kept and median <= LIMITS[what]
        sys.stdout.write(f"{what}, {number:,} rows: median {median:.3f}, promised {LIMITS[what]}\n")
    return kept


def questions(runs: int, refusals: int) -> bool:
    """Print how long the questions take, and tell whether that is as promised."""
    from airflow_provider_segment.hooks.segment import SegmentHook

    with tempfile.TemporaryDirectory(prefix="segment-bench-") as folder, sink() as segment:
        state = Path(folder) / "state.db"
        run(segment.url, refusals, state, "with")
        with closing(sqlite3.connect(state)) as database, database:
            columns = (
                "sync_no, dag_id, task_id, run_id, map_index, try_number, mode, deletes, started, ended, state, report"
            )
            copies = f"INSERT INTO segment_run ({columns}, run) SELECT {columns}, ? FROM segment_run WHERE run = 1"  # noqa: S608
            database.executemany(copies, [(n,) for n in range(2, runs + 1)])
            reason = "column email: found a text of 300 characters; expected at most 254 of them in an address of mail"
            named = "call_no, row_key, 1, 'mapping', 'traits.email', 'too_long', ?"
            database.execute(f"INSERT INTO segment_refusal SELECT {named} FROM segment_state", (reason,))  # noqa: S608
        kept, hook, where = True, SegmentHook(), {"state_path": str(state)}
        asked = {
            "history, the last 20": lambda: hook.history("users", **where),
            "history, all": lambda: hook.history("users", last=runs, **where),
            "explain, 20 keys": lambda: hook.explain("users", list(range(0, refusals, refusals // 20)), **where),
            "reset --refused, counted": lambda: hook.reset("users", refused=True, validate_only=True, **where),
        }
        for name, ask in asked.items():
            began = time.perf_counter()
            ask()
            took = time.perf_counter() - began
            kept = kept and took < SECONDS
            sys.stdout.write(f"{name} of {runs:,} runs and {refusals:,} refusals: {took:.3f} s\n")
    return kept


def main() -> int:
    """Measure all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", choices=("with", "without"), help=argparse.SUPPRESS)
    parser.add_argument("--state", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.rows, args.state, is_written=args.child == "with")
        return 0
    return 0 if questions(1_000, 100_000) and cost(args.rows, args.rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
