"""The recipe of an alert: somebody is told when a sync leaves the usual, and when it is back; once each."""

from __future__ import annotations

import datetime as dt
import json
import runpy
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import runs

from airflow_provider_segment.testing import SegmentServer

PATH = Path(__file__).resolve().parents[2] / "example_dags" / "segment_with_alert.py"


def run_of(state: str = "success", accepted: int = 100, refused: int = 0, seconds: float = 3) -> dict[str, Any]:
    """A line of the history."""
    counts = {"accepted": accepted, "invalid": refused, "rejected": 0, "seconds": seconds}
    return {"state": state, "all_tries": None, **counts}


def lines(*runs: dict[str, Any]) -> list[dict[str, Any]]:
    """Some runs behind eight that were as ever, the newest first."""
    return [*reversed(runs), *(run_of(accepted=95 + n, seconds=3 + n / 10) for n in range(8))]


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([run_of()], []),
        ([run_of(accepted=108)], []),
        ([run_of(accepted=0)], ["accepted: 0, usually 98"]),
        ([run_of(accepted=500)], ["accepted: 500, usually 98"]),
        ([run_of(refused=5)], []),
        ([run_of(refused=30)], ["refused: 30, usually 0"]),
        ([run_of(seconds=60)], ["seconds: 60, usually 3"]),
        ([run_of("failed")], ["it failed"]),
        ([run_of("killed", accepted=0)], ["it killed", "accepted: 0, usually 98"]),
    ],
)
def test_what_is_unusual(runs: list[dict[str, Any]], said: list[str]) -> None:
    """A failure, or counts or seconds far from the mean of the runs before; a little more or less is not."""
    assert runpy.run_path(str(PATH))["unusual"](lines(*runs)) == said


@pytest.mark.parametrize("number", range(5))
def test_the_first_runs(number: int) -> None:
    """Of a new sync nothing is known to be unusual, but a failure."""
    unusual = runpy.run_path(str(PATH))["unusual"]
    assert unusual([run_of(accepted=n) for n in range(number)]) == []
    assert unusual([run_of("failed")]) == ["it failed"]


def test_days(segment: SegmentServer, warehouse: Any) -> None:
    """A DAG over six days: quiet, everything changed, refusals for two days, quiet again: each change is told once."""
    found = runpy.run_path(str(PATH))
    state = Path(found["STATE"])
    state.unlink(missing_ok=True)
    warehouse.run("CREATE TABLE customers (id TEXT, email TEXT, plan TEXT)")
    warehouse.insert("customers", [(f"c{n}", "a", "free") for n in range(300)])
    refused: set[str] = set()
    segment.refuse(lambda message: message.get("userId") in refused)

    def day(number: int, changed: int) -> list[str]:
        """Change some customers, run the day, and return what was told."""
        warehouse.run(f"UPDATE customers SET email = 'of day {number}' WHERE rowid <= {changed}")  # noqa: S608  ours
        told = len(_heard(segment))
        runs.run(found["dag"], dt.datetime(2026, 5, number, tzinfo=dt.UTC))
        return _heard(segment)[told:]

    assert day(1, 300) == []
    _make_a_week_of(state, accepted=20)
    assert day(2, 20) == []
    assert day(3, 300) == ["accepted: 300, usually 20"]
    refused.add("c7")
    assert day(4, 20) == []
    assert day(5, 0) == []
    refused.clear()
    assert day(6, 20) == ["all is as usual again"]
    assert day(7, 20) == []


def _heard(segment: SegmentServer) -> list[str]:
    events = [message for message in segment.messages if message.get("event") == "Sync Watched"]
    return [message["properties"]["text"] for message in events]


def _make_a_week_of(state: Path, accepted: int) -> None:
    """Write seven quiet days in the place of the first run."""
    with closing(sqlite3.connect(state)) as database, database:
        (report,) = database.execute("SELECT report FROM segment_run").fetchone()
        quiet = json.dumps(json.loads(report) | {"accepted": accepted, "seconds": 1})
        database.execute("UPDATE segment_run SET report = ?", (quiet,))
        columns = "dag_id, task_id, map_index, try_number, mode, deletes, started, ended, state, report"
        for run in range(2, 8):
            database.execute(
                f"INSERT INTO segment_run (sync_no, run, run_id, {columns}) "  # noqa: S608  ours
                f"SELECT sync_no, ?, ?, {columns} FROM segment_run WHERE run = 1",
                (run, f"of day {run}"),
            )
        database.execute("UPDATE segment_sync SET run = 7")
