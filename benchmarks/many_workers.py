"""Shows what SqlToSegmentTaskGroup takes on two Celery workers, task by task, beside one SqlToSegmentOperator.

`python benchmarks/many_workers.py all changes latency` measures these scenarios; it needs redis, and what
`make cluster-test` installs. Both sides are in one DAG run, one after the other, so that neither takes the other's CPU.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from child import WRITE_KEY
from sink import Sink, sink
from warehouse import POSTGRES

TESTS = Path(__file__).parents[1] / "tests"
sys.path.extend(map(str, (TESTS, TESTS / "cluster", TESTS / "provider")))
from cluster import Cluster  # noqa: E402  these are in the directories above
from databases import running  # noqa: E402
from warehouses import PostgresWarehouse  # noqa: E402

DAG = """
    import json
    import resource

    from airflow.sdk import DAG

    from airflow_provider_segment.calls import AllColumns, Identify
    from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator
    from airflow_provider_segment.transfers.sql_to_segment_group import SqlToSegmentTaskGroup


    def note(context):
        used = resource.getrusage(resource.RUSAGE_SELF)
        task = context["ti"]
        seconds = (used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
        with open("{usage}/" + task.task_id + str(task.map_index), "w") as file:
            json.dump(seconds, file)


    shared = {{
        "sql": "SELECT *{more} FROM users WHERE id <= {rows}",
        "sql_conn_id": "warehouse",
        "warehouse_schema": "segment",
        "calls": Identify("id", traits=AllColumns()),
        "key": "id",
        "sync_mode": "{mode}",
        "state_conn_id": "warehouse",
        "max_in_flight": {in_flight},
        "on_success_callback": note,
    }}
    of_one = {{name: value for name, value in shared.items() if "{mode}" == "changes" or name != "warehouse_schema"}}
    of_group = {{name: value for name, value in shared.items() if name != "on_success_callback"}}
    tasks = {{name: {{"on_success_callback": note}} for name in ("plan_args", "send_args", "finalize_args")}}
    with DAG("{name}", schedule=None):
        one = SqlToSegmentOperator(task_id="one", **of_one)
        one >> SqlToSegmentTaskGroup("group", shards={shards}, rows_per_shard=1, **of_group, **tasks)
"""


@dataclass(frozen=True)
class Scenario:
    """What is measured: so many rows in a mode.

    :param mode: of the sync.
    :param rows: of ten columns.
    :param in_flight: batches on their way at once, for each task.
    :param more: columns.
    """

    mode: str
    rows: int
    in_flight: int = 8
    more: str = ""


SCENARIOS = {
    "all": Scenario("all", 2_000_000),
    "changes": Scenario("changes", 2_000_000),
    # Rows of 3 KB, so that the server's answers are waited for, and not the two cores of this machine.
    "latency": Scenario("all", 300_000, in_flight=1, more=", repeat(md5(id::text), 90) AS about"),
}


@contextmanager
def deployment(home: Path, url: str, rows: int) -> Iterator[Cluster]:
    """Lend an Airflow whose connection `warehouse` has the table `users`.

    :param home: an empty directory.
    :param url: of the sink.
    :param rows: of the table.
    """
    with running() as source, running() as own:
        warehouse = PostgresWarehouse(source)
        warehouse.run(f"CREATE TABLE users AS SELECT {POSTGRES} FROM generate_series(1, {rows}) AS t(n)")  # noqa: S608
        warehouse.run("ALTER TABLE users ADD PRIMARY KEY (id)")
        warehouse.run("VACUUM ANALYZE users")
        segment = json.dumps({"conn_type": "segment", "host": url, "password": WRITE_KEY})
        connections = {"warehouse": warehouse.connection(), "segment_default": segment}
        cluster = Cluster(home, own.url(own.make_database()), connections)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


def measure(cluster: Cluster, home: Path, name: str, scenario: Scenario, shards: int, segment: Sink) -> bool:
    """Measure a scenario and print a line a task; return whether all rows arrived once on both sides."""
    usage, dag_id, before = home / f"usage_{name}", name.replace("-", "_"), segment.stats()
    usage.mkdir()
    cluster.add_dag(dag_id, DAG.format(name=dag_id, usage=usage, shards=shards, **vars(scenario)))
    print(f"\n{name}: {scenario}, {shards} shards; load before {os.getloadavg()[0]:.1f}", flush=True)
    run = cluster.trigger(dag_id)
    idle = psutil.cpu_times()
    state = run.wait(1_800)
    busy = sum(now - then for now, then in zip(psutil.cpu_times()[:3], idle[:3], strict=True))
    sides: dict[str, list[Any]] = defaultdict(list)
    used: dict[str, float] = defaultdict(float)
    for task in run.instances():
        own = usage / f"{task['task_id']}{task['map_index']}"
        cpu, peak = json.loads(own.read_text()) if own.exists() else (0.0, 0)
        side = task["task_id"].partition(".")[0]
        sides[side].append(task)
        used[side] += cpu
        print(
            f"{task['task_id']:<16}{task['map_index']:>3} {task['hostname']:<10} {task['state']:<8} "
            f"{task['duration']:7.1f} s  CPU {cpu:6.1f} s  peak {peak / 1e6:.0f} MB"
        )
    reports = {"one": run.xcom("one"), "group": run.xcom("group.finalize")}
    for side, tasks in sides.items():
        begun, ended = min(task["start_date"] for task in tasks), max(task["end_date"] for task in tasks)
        seconds = (dt.datetime.fromisoformat(ended) - dt.datetime.fromisoformat(begun)).total_seconds()
        speed = reports[side]["accepted"] / seconds
        print(f"{side}: {seconds:.1f} s from start to end, {speed:,.0f} rows a second, CPU {used[side]:.1f} s")
    after = segment.stats()
    sent = {kind: after[kind] - before[kind] for kind in ("events", "requests", "cpu")}
    print(f"the machine: {busy:.1f} s of CPU; the sink: {sent}", flush=True)
    accepted = [report["accepted"] for report in reports.values()]
    different = after.get("different_ids", 0) - before.get("different_ids", 0) or sent["events"]
    return state == "success" and accepted == [scenario.rows] * 2 and sent["events"] == different == 2 * scenario.rows


def main() -> int:
    """Measure, and print the tasks; the status tells whether each row arrived once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*SCENARIOS, []], default=[*SCENARIOS], metavar="SCENARIO")
    parser.add_argument("--delay", type=float, default=0.1, help="seconds before each answer")
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--record", action="store_true", help="count different message ids too, which takes CPU")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="segment-workers-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        rows = max(SCENARIOS[name].rows for name in args.names)
        with sink(delay=args.delay, record=args.record) as segment, deployment(home, segment.url, rows) as cluster:
            kept = [measure(cluster, home, name, SCENARIOS[name], args.shards, segment) for name in args.names]
    print(f"each row arrived once: {kept}")
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
