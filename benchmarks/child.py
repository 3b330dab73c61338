"""Runs SqlToSegmentOperator.execute() in a process of its own, once (`execute`) or again and again (`operator`).

Benchmarks call these two; the rest is what the new process does. With settings on its command line it runs them once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from worker import Worker, begin

WRITE_KEY = "k" * 32
IDENTIFY = {"call": "identify", "user_id": "id", "traits": {"all_columns": {}}}


def airflow_environment(home: Path) -> dict[str, str]:
    """Return an environment whose Airflow is empty: settings of another one on this machine must not reach it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    return environment | {
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "no_proxy": "127.0.0.1",
    }


def operator(home: Path, url: str, warehouse: str, extra: dict[str, Any] | None = None) -> Worker:
    """Start a process that runs the operator on command, with the settings of each command.

    :param home: where Airflow may write.
    :param url: of the sink.
    :param warehouse: the SQL connection as JSON.
    :param extra: of the Segment connection; a host of one's own has no limit of events a second unless it says so.
    """
    segment = {"conn_type": "segment", "host": url, "password": WRITE_KEY, "extra": extra or {}}
    environment = airflow_environment(home) | {
        "AIRFLOW_CONN_WAREHOUSE": warehouse,
        "AIRFLOW_CONN_SEGMENT_DEFAULT": json.dumps(segment),
    }
    return Worker([sys.executable, __file__], home / "operator.log", environment)


def execute(
    home: Path, url: str, warehouse: str, extra: dict[str, Any] | None = None, **settings: Any
) -> dict[str, Any]:
    """Run the operator once in a new process, after a warm-up of no row.

    The warm-up has a sync of its own: to that of the run, no row would mean that all are deleted.

    :param settings: the operator's own.
    :returns: ``report``, ``seconds``, ``cpu`` in seconds and ``peak`` in bytes.
    """
    nothing = f"SELECT * FROM ({settings['sql']}) AS q WHERE 1 = 0"  # noqa: S608 - our own
    with operator(home, url, warehouse, extra) as worker:
        worker.run(**settings | {"sql": nothing, "sync_id": "warm-up"})
        run = worker.run(**settings)
    return {"report": run.result["report"], "seconds": run.seconds, "cpu": run.cpu, "peak": run.peak}


def run(try_number: int = 0, **settings: Any) -> dict[str, Any]:
    """Execute the operator with these settings.

    :param try_number: of one task, as Airflow counts them; 0: outside a task.
    """
    from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

    task = SqlToSegmentOperator(task_id="sync", **{"sql_conn_id": "warehouse", "sync_id": "benchmark", **settings})
    task_instance = SimpleNamespace(
        dag_id="benchmark", task_id="sync", run_id="run", map_index=-1, try_number=try_number, xcom_push=print
    )
    report = task.execute({"ti": task_instance} if try_number else {})
    return {"rows": report["rows"], "sent": report["accepted"], "report": report}


if __name__ == "__main__":
    begin(run)
