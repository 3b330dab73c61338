"""On a whole deployment a sensor waits in Airflow's triggerer, where it takes no worker, for what Segment received."""

from __future__ import annotations

import datetime as dt

from cluster import Cluster
from warehouses import PostgresWarehouse

from airflow_provider_segment.testing import SegmentServer

ROWS = 1_000
DAG = """
    from airflow.sdk import DAG

    from airflow_provider_segment.calls import Identify
    from airflow_provider_segment.sensors.segment import SegmentDeliverySensor
    from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

    with DAG("{name}", schedule=None):
        sync = SqlToSegmentOperator(
            task_id="sync",
            sql="SELECT n AS id FROM generate_series(1, {rows}) AS n",
            sql_conn_id="warehouse",
            calls=Identify("id"),
            key="id",
        )
        SegmentDeliverySensor(
            task_id="arrived", report=sync.output, deferrable=True, poke_interval=1, settle_seconds={settle}
        )
"""


def test_a_sensor_waits_without_a_worker(
    cluster: Cluster, warehouse: PostgresWarehouse, segment: SegmentServer
) -> None:
    """While Segment has not counted the events no worker has the task; then it ends, with the sums."""
    overview = segment.public_api.delivery
    overview.filter(lambda _: True)
    cluster.add_dag("late", DAG.format(name="late", rows=ROWS, settle=600))
    run = cluster.trigger("late")
    run.wait_for("deferral", lambda: run.instance("arrived")["state"] == "deferred")
    looks = len(segment.requests)
    run.wait_for("looks of the triggerer", lambda: len(segment.requests) >= looks + 6)
    assert [pid for worker in cluster.workers for pid in worker.task_pids()] == []
    in_the_run = dt.datetime.fromisoformat(run.xcom("sync")["started"])
    overview.add("successfully-received", ROWS, event_type="identify", at=in_the_run)
    assert run.wait() == "success"
    found = run.xcom("arrived")
    assert (found["accepted"], found["received"], found["filtered"]) == (ROWS, ROWS, ROWS)


def test_what_is_missing_fails_the_task(cluster: Cluster, warehouse: PostgresWarehouse, segment: SegmentServer) -> None:
    """What the triggerer has found missing fails the task, with the table in its log."""
    segment.public_api.delivery.filter(lambda message: message["userId"] == "7", "unplanned")
    cluster.add_dag("missing", DAG.format(name="missing", rows=ROWS, settle=3))
    run = cluster.trigger("missing")
    assert run.wait() == "failed"
    assert [a_try["state"] for a_try in run.tries("arrived")] == ["failed"]
    assert "1,000 accepted, 999 received, 0 failed at ingest, 1 filtered at source" in run.log("arrived")
