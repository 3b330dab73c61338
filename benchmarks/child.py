"""Runs one SqlToSegmentOperator.execute() in a process of its own and tells its report, seconds and peak memory.

Benchmarks call `execute(...)`; the rest is what the new process does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

WRITE_KEY = "k" * 32
IDENTIFY = {"call": "identify", "user_id": "id", "traits": {"all_columns": {}}}


def execute(home: Path, url: str, warehouse: str, **operator: Any) -> dict[str, Any]:
    """Run the operator in a new process.

    :param home: where Airflow may write.
    :param url: of the sink.
    :param warehouse: the SQL connection as JSON.
    :param operator: the operator's own settings.
    :returns: ``report``, ``seconds`` of the second execute (the first, of no row, is the warm-up), ``warm_up`` seconds
        and ``peak`` in bytes.
    :raises subprocess.CalledProcessError: if the operator failed; its log was shown.
    """
    # Settings of another Airflow on this machine must not reach this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    environment |= {
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_WAREHOUSE": warehouse,
        # A host of one's own has no limit of events a second.
        "AIRFLOW_CONN_SEGMENT_DEFAULT": json.dumps({"conn_type": "segment", "host": url, "password": WRITE_KEY}),
        "no_proxy": "127.0.0.1",
    }
    command = [sys.executable, __file__, json.dumps(operator)]
    done = subprocess.run(command, env=environment, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # noqa: S603
    if done.returncode:
        print(done.stdout.decode(errors="replace")[-5_000:])
        done.check_returncode()
    result: dict[str, Any] = json.loads((home / "result.json").read_text())
    return result


def main() -> None:
    """Run the operator twice, for no row and for all, and write down what it took.

    The first has a sync of its own: to that of the second, no row would mean that all are deleted.
    """
    import resource
    import time

    from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

    settings: dict[str, Any] = {"sql_conn_id": "warehouse", "sync_id": "benchmark", **json.loads(sys.argv[1])}
    seconds = []
    nothing = f"SELECT * FROM ({settings['sql']}) AS q WHERE 1 = 0"  # noqa: S608 - our own
    for changed in ({"sql": nothing, "sync_id": "warm-up"}, {}):
        operator = SqlToSegmentOperator(task_id="sync", **(settings | changed))
        began = time.perf_counter()
        report = operator.execute({})
        seconds.append(time.perf_counter() - began)
    # Linux counts in KiB and keeps the peak over exec(); benchmarks stay far smaller than Airflow.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result = {"report": report, "warm_up": seconds[0], "seconds": seconds[1], "peak": peak}
    Path("result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
