"""On a whole deployment a sync arrives once, whatever is killed: a task, a worker, the broker, the state's database."""

from __future__ import annotations

import pytest
from cluster import Cluster
from databases import RestartablePostgres
from rest_api import DagRun
from waiting import until
from warehouses import PostgresWarehouse

from airflow_provider_segment.testing import SegmentServer

ROWS = 20_000
DAG = """
    import datetime as dt

    from airflow.sdk import DAG

    from airflow_provider_segment.calls import Identify
    from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

    with DAG("{name}", schedule=None):
        SqlToSegmentOperator.partial(
            task_id="sync",
            sql="SELECT id, email FROM {name} WHERE id %% 4 = ANY(%s)",
            sql_conn_id="warehouse",
            segment_conn_id="segment_paced",
            calls=Identify("id", traits=["email"]),
            key="id",
            sync_mode="changes",
            state_conn_id="warehouse",
            retries={retries},
            retry_delay=dt.timedelta(seconds=1),
        ).expand_kwargs([{{"sync_id": f"{name}-{{share}}", "parameters": [share]}} for share in {shares}])
"""
WHOLE, SHARES = [[0, 1, 2, 3]], [[0], [1], [2], [3]]


class Users:
    """Tables of users, each with a DAG that syncs it in one mapped task or more."""

    def __init__(self, cluster: Cluster, warehouse: PostgresWarehouse) -> None:
        self._cluster, self._warehouse = cluster, warehouse

    def start(self, name: str, shares: list[list[int]] = WHOLE, retries: int = 2) -> DagRun:
        """Make a table and its DAG, and start a run."""
        rows = f"SELECT n AS id, 'u' || n AS email FROM generate_series(1, {ROWS}) AS n"  # noqa: S608  of this file
        self._warehouse.run(f"CREATE TABLE {name} AS {rows}")
        self._cluster.add_dag(name, DAG.format(name=name, shares=shares, retries=retries))
        return self._cluster.trigger(name)


@pytest.fixture
def users(cluster: Cluster, warehouse: PostgresWarehouse, segment: SegmentServer) -> Users:
    """Makes tables of users, and starts their syncs."""
    assert not segment.messages
    return Users(cluster, warehouse)


def arrived(segment: SegmentServer) -> dict[str, int]:
    """Return how many users came, and how many events of them."""
    return {"users": len({message["userId"] for message in segment.messages}), "events": len(segment.messages)}


ALL_ONCE = {"users": ROWS, "events": ROWS}


def in_the_middle(segment: SegmentServer) -> None:
    """Wait until a fifth has arrived."""
    until(lambda: len(segment.messages) >= ROWS // 5)


def test_undisturbed(users: Users, segment: SegmentServer) -> None:
    """All rows arrive once, in the first try."""
    run = users.start("undisturbed")
    assert run.wait() == "success"
    assert arrived(segment) == ALL_ONCE
    assert run.xcom("sync", map_index=0)["accepted"] == ROWS
    assert [a_try["state"] for a_try in run.tries("sync", 0)] == ["success"]
    assert "20,000 accepted" in run.log("sync", 0)


def test_mapped(users: Users, segment: SegmentServer) -> None:
    """Four mapped tasks run on both workers."""
    run = users.start("mapped", SHARES)
    assert run.wait() == "success"
    assert arrived(segment) == ALL_ONCE
    assert {task["hostname"] for task in run.instances("sync")} == {"worker-1", "worker-2"}


def test_killed_task(users: Users, cluster: Cluster, segment: SegmentServer) -> None:
    """Airflow tries a task again whose process is killed, and nothing arrives under a second id."""
    run = users.start("killed_task")
    in_the_middle(segment)
    assert sum(len(worker.kill_tasks()) for worker in cluster.workers) == 1
    assert run.wait() == "success"
    assert arrived(segment) == ALL_ONCE
    assert [a_try["state"] for a_try in run.tries("sync", 0)] == ["failed", "success"]


def test_killed_worker(users: Users, cluster: Cluster, segment: SegmentServer) -> None:
    """Airflow misses the heartbeats of a worker that is killed, and the other one takes the task over."""
    run = users.start("killed_worker")
    in_the_middle(segment)
    worker, other = sorted(cluster.workers, key=lambda worker: not worker.task_pids())
    worker.kill()
    assert run.wait() == "success"
    worker.start()
    assert arrived(segment) == ALL_ONCE
    assert [a_try["hostname"] for a_try in run.tries("sync", 0)] == [worker.name, other.name]
    cluster.wait_for_workers()


def test_broker_gone(users: Users, cluster: Cluster, segment: SegmentServer) -> None:
    """While redis is gone a running task goes on, and a run of these seconds is done when redis is back."""
    run = users.start("broker_gone", retries=20)  # a task that cannot be put into the queue loses a try each second
    in_the_middle(segment)
    with cluster.broker.gone(20):
        again = cluster.trigger("broker_gone")
    assert [run.wait(), again.wait()] == ["success", "success"]
    assert arrived(segment) == ALL_ONCE
    assert [a_try["state"] for a_try in run.tries("sync", 0)] == ["success"]
    assert again.xcom("sync", map_index=0)["skipped"] == ROWS


def test_state_gone(users: Users, source_server: RestartablePostgres, segment: SegmentServer) -> None:
    """A restart of the state's database fails the try, and the next one goes on where it was."""
    run = users.start("state_gone")
    in_the_middle(segment)
    source_server.stop()
    source_server.start()
    assert run.wait() == "success"
    assert arrived(segment)["users"] == ROWS


def test_cleared_and_marked(users: Users, segment: SegmentServer) -> None:
    """A run that is marked failed stops, and cleared it sends the rest."""
    run = users.start("cleared")
    in_the_middle(segment)
    run.mark("failed")
    run.wait_for("end of the task", lambda: run.instance("sync", 0)["state"] == "failed")
    assert run.clear("sync", 0) == [("sync", 0)]
    assert run.wait() == "success"
    assert arrived(segment) == ALL_ONCE
