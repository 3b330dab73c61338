"""States as the package wrote them before keys and numbers were compared by value (commit ff1eacd), kept as SQL.

`python tests/core/old_states.py > tests/core/old_states.sql` with that commit on the path made the file; there the
holder of a state was a text.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sending import delivery_to

from airflow_provider_segment.calls import Call, Constant, Identify, Track
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.job import SyncJob
from airflow_provider_segment.core.mapping.message_ids import Namespace
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.pipeline import sync
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.testing import SegmentServer

DUMP = Path(__file__).with_name("old_states.sql")
KEYS: dict[str, list[Any]] = {
    "integers": [1, 2, -3, 0, 2**53 + 1, 2**63 - 1, 2**63, 2**70],
    "texts": ["C1", "ä", "7", "007", "1.50", ""],
    "uuids": [UUID(int=1), UUID(int=2**100)],
    "dates": [dt.date(2026, 1, 1), dt.date(2026, 1, 2)],
    "times": [dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC), dt.datetime(2026, 1, 1, 13, tzinfo=dt.UTC)],
    "decimals": [Decimal(1), Decimal("2.00"), Decimal("1.50"), Decimal("1E+3")],
    "floats": [1.0, 2.5, 1e22],
    "two columns": [(1, "a"), (1, "b"), (2, "a")],
    "decimal and text": [(Decimal("1.0"), "a"), (Decimal("2.0"), "7")],
}
# What the traits hold: digits, nulls, nested things, all of which are compared another way today.
COLUMNS = ["amount", "rate", "note", "tags"]
VALUES: list[Any] = [Decimal("29.90"), 1.0, None, {"a": None, "b": [1.0, None]}]
CALLS: list[Call] = [
    Identify(Constant("u"), traits=[*COLUMNS]),
    Track(Constant("Gone"), Constant("u"), on_change="deleted"),
]


RUN = Holder(run_id="a run")


@dataclass(frozen=True)
class Sync:
    """One sync: its key's columns, and its rows."""

    key: list[str]
    rows: list[tuple[Any, ...]]

    @property
    def columns(self) -> list[str]:
        """The columns of the rows."""
        return [*self.key, *COLUMNS]


def sync_of(keys: Sequence[Any]) -> Sync:
    """A sync with a row for each key."""
    values = [key if isinstance(key, tuple) else (key,) for key in keys]
    return Sync([f"k{n}" for n in range(len(values[0]))], [(*value, *VALUES) for value in values])


def send(
    path: Path, name: str, it: Sync, segment: SegmentServer, calls: Sequence[Call] = CALLS, max_deleted: float = 1
) -> Report:
    """Run a sync."""
    engine = sa.create_engine(sa.engine.URL.create("sqlite", database=str(path)), poolclass=sa.pool.NullPool)
    report = Report()
    options = Options(it.key, sync_mode="changes", state_path=str(path), timezone="UTC", max_deleted=max_deleted)
    with closing(State(engine, name, "a source", RUN)) as state, delivery_to(segment) as delivery:
        job = SyncJob(calls, Namespace("unused"), options, state=state)
        sync(Pages(it.columns, [it.rows], "tests"), job, delivery, report)
    return report


def load(path: Path) -> None:
    """Lay the old states down in a new SQLite file."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(DUMP.read_text(encoding="utf-8"))


def main() -> None:
    """Write the states as SQL."""
    with tempfile.TemporaryDirectory() as folder, SegmentServer() as segment:
        path = Path(folder) / "state.db"
        for name, keys in KEYS.items():
            send(path, name, sync_of(keys), segment)
        with closing(sqlite3.connect(path)) as database:
            sys.stdout.write("\n".join(database.iterdump()) + "\n")


if __name__ == "__main__":
    main()
