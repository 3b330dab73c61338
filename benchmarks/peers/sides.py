"""The table of sides: each way to Segment, what was set and why, and how many rows it gets."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from child import IDENTIFY, WRITE_KEY, airflow_environment

from peers.environments import ROOT, python_of

BENCHMARKS = ROOT / "benchmarks"


@dataclass(frozen=True)
class Side:
    """One way from a table to Segment.

    :param peer: its environment; empty: ours.
    :param script: that sends with it, in `benchmarks/`.
    :param settings: of the script, for speed.
    :param said: what was set, for the table.
    :param rows: of a run whose speed is measured.
    :param fault_rows: of a run under faults; 0: it takes no part.
    :param at_faults: settings that it has under faults instead.
    :param said_at_faults: what these are.
    """

    name: str
    peer: str
    script: str
    settings: Mapping[str, Any]
    said: str
    rows: int = 200_000
    fault_rows: int = 20_000
    at_faults: Mapping[str, Any] = field(default_factory=dict)
    said_at_faults: str = ""

    @property
    def command(self) -> list[str | Path]:
        """The Python of its environment and its script."""
        return [python_of(self.peer) if self.peer else sys.executable, BENCHMARKS / self.script]

    def environment(self, home: Path, url: str, warehouse: str) -> dict[str, str]:
        """Return what its process finds in the environment; to a peer it is told that nothing may leave the machine."""
        environment = airflow_environment(home) | {"PYTHONPATH": os.pathsep.join((str(BENCHMARKS), str(ROOT)))}
        if self.peer:
            return environment
        segment = {"conn_type": "segment", "host": url, "password": WRITE_KEY}
        connections = {"AIRFLOW_CONN_WAREHOUSE": warehouse, "AIRFLOW_CONN_SEGMENT_DEFAULT": json.dumps(segment)}
        return environment | connections

    def asked(self, home: Path, url: str, warehouse: str, table: str, rows: int, *, faults: bool) -> dict[str, Any]:
        """Return the settings of one run: the script's own, and where it reads and sends."""
        settings = {**self.settings, **(self.at_faults if faults else {})}
        settings["sql"] = f"SELECT * FROM {table} WHERE id <= {rows}"  # noqa: S608 - our own
        if not self.peer:
            return settings | ({"state_path": str(home / "state.db")} if "sync_mode" in settings else {})
        if self.peer == "dlt":
            settings["table"] = table
        return {"warehouse": json.loads(warehouse), "url": url, "home": str(home), **settings}


UNLIMITED = {"requests_per_second": 0}
# "Aggressive retry for flaky upstream", docs/guides/retry.md of drt.
FLAKY = {"max_attempts": 10, "initial_backoff": 0.5, "backoff_multiplier": 2.0, "max_backoff": 30.0}
LEDGER = {"backend": "warehouse", "connection_profile": "warehouse", "idempotency": True}


def drt(batch_size: int, **more: Any) -> dict[str, Any]:
    """Return a sync of drt without a limit, which goes on after an error."""
    return {"batch_size": batch_size, "rate_limit": UNLIMITED, "on_error": "skip", **more}


def sdk(module: str, *, careful: bool = True, **options: Any) -> dict[str, Any]:
    """Return the settings of an SDK's script."""
    return {"module": module, "options": options, "careful": careful}


SEGMENT, RUDDER = "segment.analytics.client", "rudderstack.analytics.client"
# A body of Segment has at most 500 KB: 1,500 of the users, 100 of the rows of 4 KB that the runs under faults send.
OURS = {"calls": [IDENTIFY], "key": "id"}
SIDES = [
    Side(
        "ours",
        "",
        "child.py",
        OURS,
        "as it comes: a key, 8 requests at once; no limit of events a second",
        at_faults={"sync_mode": "changes"},
        said_at_faults='sync_mode="changes"',
    ),
    Side("ours, all", "", "child.py", OURS, "", rows=0, said_at_faults='sync_mode="all": it remembers nothing'),
    Side(
        "drt in batches",
        "drt",
        "peers/send_with_drt.py",
        {"a_request": "batch", "sync": drt(1_500), "state": {}},
        "`body_mode: batch` of 1,500, no limit of requests; ids and traits made by the query",
        at_faults={"sync": drt(100, retry=FLAKY, idempotency_key="{{ row.message_id }}"), "state": LEDGER},
        said_at_faults="100 a request, `retry` of 10 attempts, `on_error: skip`, `state.idempotency`",
    ),
    Side(
        "drt, a row a request",
        "drt",
        "peers/send_with_drt.py",
        {"a_request": "row", "sync": drt(1_500), "state": {}},
        "`body_template`, no limit of requests; ids and traits made by the query",
        rows=5_000,
        fault_rows=500,
        at_faults={"sync": drt(100, retry=FLAKY, idempotency_key="{{ row.message_id }}"), "state": LEDGER},
        said_at_faults="`retry` of 10 attempts, `on_error: skip`, `state.idempotency`",
    ),
    Side(
        "drt as it comes",
        "drt",
        "peers/send_with_drt.py",
        {"a_request": "row", "sync": {}, "state": {}},
        "a row a request, 10 requests a second",
        rows=50,
        fault_rows=200,
        said_at_faults="3 attempts, `on_error: fail`",
    ),
    Side(
        "dlt in batches",
        "dlt",
        "peers/send_with_dlt.py",
        {
            "source": {"backend": "pyarrow", "chunk_size": 20_000},
            "destination": {"batch_size": 1_500, "loader_file_format": "parquet"},
            "file_rows": 20_000,
        },
        "Arrow from the table, Parquet files of 20,000 rows loaded side by side, `batch_size=1500`, its own `requests`",
        at_faults={
            "source": {"backend": "pyarrow", "chunk_size": 2_000},
            "destination": {"batch_size": 100, "loader_file_format": "parquet"},
            "file_rows": 2_000,
        },
        said_at_faults="files of 2,000 rows, 100 a request, each error raised: 5 tries",
    ),
    Side(
        "dlt as it comes",
        "dlt",
        "peers/send_with_dlt.py",
        {"source": {}, "destination": {}, "file_rows": None},
        "one JSONL file, 10 rows a request",
        rows=20_000,
        fault_rows=0,
    ),
    Side(
        "segment-analytics-python",
        "segment",
        "peers/send_with_sdk.py",
        sdk(SEGMENT, max_queue_size=200_000, upload_size=1_500),
        "its queue holds all, 1,500 a request, a `message_id` of the row, `flush`",
        at_faults=sdk(SEGMENT, max_queue_size=200_000),
        said_at_faults="100 a request, a `message_id` of the row; `on_error` sets the exit code",
    ),
    Side(
        "segment-analytics-python as it comes",
        "segment",
        "peers/send_with_sdk.py",
        sdk(SEGMENT, careful=False),
        "its queue holds 10,000 and drops the rest, 100 a request, `flush`",
        said_at_faults="its queue holds 10,000 and drops the rest",
    ),
    Side(
        "rudder-sdk-python",
        "rudder",
        "peers/send_with_sdk.py",
        sdk(RUDDER, max_queue_size=200_000, upload_size=1_500, gzip=False),
        "its queue holds all, 1,500 a request, no gzip, a `message_id` of the row, `flush`",
        at_faults=sdk(RUDDER, max_queue_size=200_000, gzip=False),
        said_at_faults="100 a request, a `message_id` of the row; `on_error` sets the exit code",
    ),
]
