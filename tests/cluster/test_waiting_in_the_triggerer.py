"""What waits in a real triggerer takes no worker, comes back with its end, and cancels when somebody ends it."""

from __future__ import annotations

import pytest
from cluster import Cluster
from waiting import wait_for
from warehouses import PostgresWarehouse

from airflow_provider_segment.testing import SegmentServer

FORGET = """
    from airflow.sdk import DAG

    from airflow_provider_segment.sensors.regulation import SegmentRegulationSensor
    from airflow_provider_segment.transfers.sql_to_segment_regulation import SqlToSegmentRegulationOperator

    with DAG("{name}", schedule=None):
        forget = SqlToSegmentRegulationOperator(
            task_id="forget",
            sql="SELECT 'u' || n AS id FROM generate_series(1, 6000) AS n",
            sql_conn_id="warehouse",
            regulation_type="SUPPRESS_WITH_DELETE",
            max_users=6000,
        )
        SegmentRegulationSensor(task_id="wait", regulations=forget.output, poke_interval=1, deferrable=True)
"""
SYNC = """
    from airflow.sdk import DAG

    from airflow_provider_segment.operators.reverse_etl import SegmentReverseEtlOperator

    with DAG("{name}", schedule=None):
        SegmentReverseEtlOperator(
            task_id="wait",
            source_id="local-source",
            model_id="m1",
            subscription_id="s1",
            poll_interval=1,
            deferrable=True,
        )
"""


@pytest.mark.parametrize("ends", ["FINISHED", "FAILED"])
def test_regulations(cluster: Cluster, warehouse: PostgresWarehouse, segment: SegmentServer, ends: str) -> None:
    """A sensor is deferred while the regulations run, and ends as they do."""
    regulations = segment.public_api.regulations
    regulations.go_through(["RUNNING"], {"Braze": ends})
    name = f"regulations_{ends.lower()}"
    cluster.add_dag(name, FORGET.format(name=name))
    run = cluster.trigger(name)
    run.wait_for("sensor in the triggerer", lambda: run.instance("wait")["state"] == "deferred" and looks(segment) >= 4)
    regulations.go_through([ends], {"Braze": ends})
    assert run.wait() == ("success" if ends == "FINISHED" else "failed")
    assert len(run.tries("wait")) == 1
    if ends == "FAILED":
        assert "(Braze FAILED)" in run.log("wait")


def test_reverse_etl(cluster: Cluster, segment: SegmentServer) -> None:
    """A sync is waited for in the triggerer, and its counts come back."""
    etl = segment.public_api.reverse_etl
    etl.go_through(["IN_PROGRESS"] * 4 + ["SUCCESS"], extractCount=3, deliverSuccessCount=3)
    cluster.add_dag("reverse_etl", SYNC.format(name="reverse_etl"))
    run = cluster.trigger("reverse_etl")
    run.wait_for("operator in the triggerer", lambda: run.instance("wait")["state"] == "deferred")
    assert run.wait() == "success"
    assert run.xcom("wait")["deliverSuccessCount"] == 3
    assert len(etl.started) == 1


def test_who_ends_the_task_cancels_the_sync(cluster: Cluster, segment: SegmentServer) -> None:
    """A deferred task that is marked failed cancels its sync."""
    etl = segment.public_api.reverse_etl
    etl.go_through(["IN_PROGRESS"])
    cluster.add_dag("ended", SYNC.format(name="ended"))
    run = cluster.trigger("ended")
    run.wait_for("operator in the triggerer", lambda: run.instance("wait")["state"] == "deferred" and looks(segment))
    run.mark("failed")
    wait_for("cancelled sync", lambda: etl.started[0]["isCancelled"], 60)


def looks(segment: SegmentServer) -> int:
    """Return how often Segment was asked how far it is."""
    return sum(request.method == "GET" for request in segment.requests)
