"""Runs the demo: a made-up warehouse goes through the example DAG to a local Segment, and both sides are counted.

With SEGMENT_WRITE_KEY (and SEGMENT_REGION, us or eu) in the environment, a small warehouse goes to your source instead.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from warehouse import fill

from airflow_provider_segment.testing import SegmentServer

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".airflow-demo"
LOG = HOME / "demo.log"
WAREHOUSE = HOME / "warehouse.db"
DAG_ID = "segment_warehouse"
RUN_CONF = {"orders_since": "2021-01-01"}  # the first day of the made-up shop: all of its orders
TASK_CALLS = {"customers": "identify", "companies": "group", "orders": "track"}
SMALL = {"customers": 100, "accounts": 10, "orders": 300}  # in a real workspace, every identified user may be billed


def main() -> int:
    """Run the demo and return its exit code."""
    shutil.rmtree(HOME, ignore_errors=True)  # every run starts the same, whichever Airflow ran before
    HOME.mkdir()
    write_key = os.environ.pop("SEGMENT_WRITE_KEY", "")
    try:
        return to_segment(write_key) if write_key else to_local_segment()
    except subprocess.CalledProcessError as error:
        print(f"\n{tail(LOG)}\nFAILED: {shlex.join(error.cmd[2:])}; all of its output is in {LOG}")
        return 1


def to_local_segment() -> int:
    """Send the warehouse to a Segment on this machine and compare what was sent with what arrived."""
    os.environ["no_proxy"] = "127.0.0.1"  # a proxy of the environment does not reach this machine's own ports
    with SegmentServer() as server:
        reports = run_dag(fill(WAREHOUSE), server.connection, server.url)
    arrived = Counter(message["type"] for message in server.messages)
    print_reports(reports, arrived)
    print(f"dropped by the local Segment: {len(server.dropped)}, duplicates: {len(server.duplicates)}")
    for kind in TASK_CALLS.values():
        sample = next((message for message in server.messages if message["type"] == kind), None)
        print(f"\none {kind} message:\n{json.dumps(sample, indent=2, ensure_ascii=False)}")
    sent = Counter({TASK_CALLS[task]: report["accepted"] for task, report in reports.items()})
    same = sent == arrived and not server.dropped
    print(f"\nsent {sent.total():,} {'==' if same else '!='} arrived {arrived.total():,}")
    return 0 if same else 1


def to_segment(write_key: str) -> int:
    """Send a small warehouse to Segment, which confirms nothing: its Debugger has the last word."""
    region = os.environ.get("SEGMENT_REGION", "us")
    connection = json.dumps({"conn_type": "segment", "password": write_key, "extra": {"region": region}})
    reports = run_dag(fill(WAREHOUSE, **SMALL), connection, f"Segment, region {region}")
    print_reports(reports)
    sent = sum(report["accepted"] for report in reports.values())
    print(
        f"\nSegment answered 200 to {sent:,} calls. That confirms nothing: a wrong key or region gets the same.\n"
        "Look for them in the Segment app: Connections > Sources > your source > Debugger."
    )
    return 0


def run_dag(counts: dict[str, int], connection: str, target: str) -> dict[str, dict[str, Any]]:
    """Run the example DAG on the warehouse and return the report of each of its tasks."""
    print("warehouse:", ", ".join(f"{count:,} {table}" for table, count in counts.items()))
    airflow(connection, "db", "migrate")
    print(f"the DAG {DAG_ID} sends to {target}", flush=True)
    airflow(connection, "dags", "test", DAG_ID, "--conf", json.dumps(RUN_CONF))
    return read_reports()


def airflow(connection: str, *arguments: str) -> None:
    """Run one command of Airflow in the demo's own home, with its output in the log."""
    # Settings of another Airflow on this machine must not reach this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    environment |= {
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "example_dags"),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW_CONN_SEGMENT_DEFAULT": connection,
        "AIRFLOW_CONN_WAREHOUSE": json.dumps({"conn_type": "sqlite", "host": str(WAREHOUSE)}),
    }
    print(f"airflow {shlex.join(arguments)}  (log: {LOG.relative_to(ROOT)})", flush=True)
    with LOG.open("ab") as log:
        command = [sys.executable, "-m", "airflow", *arguments]
        subprocess.run(command, env=environment, cwd=ROOT, stdout=log, stderr=log, check=True)  # noqa: S603 - our own


def read_reports() -> dict[str, dict[str, Any]]:
    """Read what the tasks returned; the table of XComs is the same in Airflow 2.11 and 3, its Python API is not."""
    query = "SELECT task_id, value FROM xcom WHERE key = 'return_value'"  # the home is new: there is one run
    with closing(sqlite3.connect(HOME / "airflow.db")) as database:
        found = {task: json.loads(value) for task, value in database.execute(query)}
    return {task: found[task] for task in TASK_CALLS}


def print_reports(reports: dict[str, dict[str, Any]], arrived: Counter[str] | None = None) -> None:
    """Print one line for each task: what it read, what was accepted, and, where it is known, what arrived."""
    print(f"\n{'task':<12}{'call':<10}{'rows':>9}{'accepted':>10}{'requests':>10}{'seconds':>9}{'arrived':>9}")
    for task, report in reports.items():
        call = TASK_CALLS[task]
        came = "unknown" if arrived is None else f"{arrived[call]:,}"
        counts = f"{report['rows']:>9,}{report['accepted']:>10,}{report['requests']:>10,}{report['seconds']:>9.1f}"
        print(f"{task:<12}{call:<10}{counts}{came:>9}")


def tail(path: Path, lines: int = 40) -> str:
    """Return a file's last lines."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


if __name__ == "__main__":
    sys.exit(main())
