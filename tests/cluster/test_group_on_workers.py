"""On a whole deployment a group's run arrives once, whatever is killed, and the run after it sends what is missing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from cluster import Cluster
from databases import RestartablePostgres
from rest_api import DagRun
from waiting import until
from warehouses import PostgresWarehouse

from airflow_provider_segment.testing import SegmentServer

ROWS = 20_000
SENDS = [("users.send", number) for number in range(4)]
DAG = """
    import datetime as dt

    from airflow.sdk import DAG

    from airflow_provider_segment.calls import Constant, Identify, Track
    from airflow_provider_segment.transfers.sql_to_segment_group import SqlToSegmentTaskGroup

    tries = {{"retries": {retries}, "retry_delay": dt.timedelta(seconds=1)}}
    users = Identify("id", traits=["email"])
    left = Track(Constant("Left"), "id", on_change="deleted")
    with DAG("{name}", schedule=None, dagrun_timeout=dt.timedelta(seconds={timeout})):
        SqlToSegmentTaskGroup(
            "users",
            sql="SELECT id, email FROM {name}",
            sql_conn_id="warehouse",
            segment_conn_id="segment_{pace}",
            warehouse_schema="segment",
            calls=[users, left] if "{mode}" == "changes" else users,
            key="id",
            sync_mode="{mode}",
            state_conn_id="warehouse",
            shards={shards},
            rows_per_shard=100,
            plan_args=tries,
            send_args=tries,
            finalize_args=tries,
        )
"""
SETTINGS = {"retries": 2, "timeout": 600, "pace": "paced", "mode": "changes", "shards": 4}


class Users:
    """A table of users, and the DAG of a group that syncs it.

    :param cluster: runs it.
    :param warehouse: has the table.
    :param segment: takes the calls.
    :param name: of the table and of the DAG.
    """

    def __init__(self, cluster: Cluster, warehouse: PostgresWarehouse, segment: SegmentServer, name: str) -> None:
        self.cluster, self.segment = cluster, segment
        self._warehouse, self._name = warehouse, name
        rows = f"SELECT n AS id, 'u' || n AS email FROM generate_series(1, {ROWS}) AS n"  # noqa: S608  of this file
        self.sql(f"CREATE TABLE users AS {rows}")

    def sql(self, statement: str) -> None:
        """Run a statement in the warehouse, where `users` is the table."""
        self._warehouse.run(statement.replace("users", self._name))

    def start(self, **settings: Any) -> DagRun:
        """Write the DAG, and start a run."""
        self.cluster.add_dag(self._name, DAG.format(name=self._name, **SETTINGS | settings))
        return self.again()

    def again(self) -> DagRun:
        """Start the next run."""
        return self.cluster.trigger(self._name)

    def in_the_middle(self, of: int = ROWS // 5) -> None:
        """Wait until so many calls have arrived."""
        until(lambda: len(self.segment.messages) >= of)

    def arrived(self) -> dict[str, int]:
        """Return how many users came, and how many events of them."""
        users = {message["userId"] for message in self.segment.messages}
        return {"users": len(users), "events": len(self.segment.messages)}

    def nothing_is_due(self) -> None:
        """Check that the next run is green, skips `send`, and makes no request."""
        requests = len(self.segment.requests)
        run = self.again()
        assert run.wait() == "success"
        report = run.xcom("users.finalize")
        assert (report["rows"], report["skipped"], report["calls"]) == (ROWS, ROWS, 0)
        assert [task["state"] for task in run.instances("users.send")] == ["skipped"]
        assert len(self.segment.requests) == requests


@pytest.fixture
def users(
    cluster: Cluster, warehouse: PostgresWarehouse, segment: SegmentServer, request: pytest.FixtureRequest
) -> Users:
    """A table of users, with a DAG of the test's name."""
    return Users(cluster, warehouse, segment, request.node.name.replace("test_", "group_"))


ALL_ONCE = {"users": ROWS, "events": ROWS}


def states(run: DagRun) -> dict[str, list[str]]:
    """Return the states of a run's tasks, by task."""
    found: dict[str, list[str]] = {}
    for task in run.instances():
        found.setdefault(task["task_id"].removeprefix("users."), []).append(task["state"])
    return found


def failed_tries(run: DagRun) -> int:
    """Return how many tries of the tasks that send have failed."""
    return sum(a_try["state"] == "failed" for task in SENDS for a_try in run.tries(*task))


class Outage:
    """Segment answers 401 to what holds one user, until it is over: one task fails for good.

    :param segment: answers so.
    """

    def __init__(self, segment: SegmentServer) -> None:
        self.is_over = False
        segment.respond_with(lambda request: 401 if not self.is_over and b'"userId":"7"' in request.body else None)


def test_days(users: Users) -> None:
    """Of 4, none, 8 and 3 tasks all arrives once, then nothing, then exactly what has changed."""
    first = users.start()
    assert first.wait() == "success"
    assert users.arrived() == ALL_ONCE
    assert {task["hostname"] for task in first.instances("users.send")} == {"worker-1", "worker-2"}
    report = first.xcom("users.finalize")
    assert (report["rows"], report["accepted"], report["added"], report["rejected"]) == (ROWS, ROWS, ROWS, 0)
    sent = [first.xcom(task, map_index=number)["report"] for task, number in SENDS]
    assert [sum(part[name] for part in sent) for name in ("rows", "accepted", "requests")] == [
        report[name] for name in ("rows", "accepted", "requests")
    ]
    users.nothing_is_due()

    users.sql("UPDATE users SET email = 'new' WHERE id <= 3000")
    users.sql("DELETE FROM users WHERE id > 19000")
    second = users.start(shards=8)
    assert second.wait() == "success"
    report = second.xcom("users.finalize")
    assert (report["added"], report["updated"], report["deleted"], report["skipped"]) == (0, 3000, 1000, 16000)
    assert len(states(second)["send"]) == 8

    users.sql("INSERT INTO users SELECT n, 'back' FROM generate_series(19001, 19500) n")
    third = users.start(shards=3)
    assert third.wait() == "success"
    report = third.xcom("users.finalize")
    assert (report["added"], report["updated"], report["deleted"], report["skipped"]) == (500, 0, 0, 19000)
    assert len(users.segment.messages) == ROWS + 3000 + 1000 + 500
    assert users.segment.duplicates == []


def test_killed_tasks(users: Users) -> None:
    """Tasks are killed on one worker, then on the other, and one is asked to end: each is tried again, and goes on."""
    run = users.start(retries=4)
    one, other = users.cluster.workers
    users.in_the_middle()
    killed = len(one.kill_tasks())
    users.in_the_middle(ROWS // 2)
    killed += len(other.kill_tasks())
    users.in_the_middle(ROWS * 3 // 4)
    asked = [pid for worker in (one, other) for pid in worker.task_pids()][:1]
    for pid in asked:
        os.kill(pid, signal.SIGTERM)
    assert run.wait() == "success"
    assert failed_tries(run) == killed + len(asked) >= 3
    assert users.arrived() == ALL_ONCE
    report = run.xcom("users.finalize")
    assert (report["rows"], report["accepted"] + report["unchanged"]) == (ROWS, report["calls"])
    users.nothing_is_due()


def test_killed_worker(users: Users) -> None:
    """The tasks of a worker that is killed are taken over by the other one."""
    run = users.start()
    users.in_the_middle()
    worker = users.cluster.workers[0]
    lost = len(worker.task_pids())
    worker.kill()
    run.wait_for("end of the tries", lambda: failed_tries(run) == lost > 0)
    worker.start()
    users.cluster.wait_for_workers()
    assert run.wait() == "success"
    assert users.arrived() == ALL_ONCE
    users.nothing_is_due()


def test_broker_gone(users: Users) -> None:
    """While redis is gone the running tasks go on, and the end of the run comes when redis is back."""
    run = users.start(retries=20)
    users.in_the_middle()
    with users.cluster.broker.gone(20):
        pass
    assert run.wait() == "success"
    assert users.arrived() == ALL_ONCE
    users.nothing_is_due()


def test_state_gone(users: Users, source_server: RestartablePostgres) -> None:
    """A restart of the state's database fails the tries, and the next ones go on where they were."""
    run = users.start()
    users.in_the_middle()
    source_server.stop()
    source_server.start()
    assert run.wait() == "success"
    assert users.arrived() == ALL_ONCE
    users.nothing_is_due()


def test_cleared(users: Users) -> None:
    """A task that failed for good makes the run red; cleared with plan and end, only its rows are sent."""
    outage = Outage(users.segment)
    run = users.start(pace="default", retries=0)
    assert run.wait() == "failed"
    assert sorted(states(run)["send"]) == ["failed", "success", "success", "success"]
    assert states(run)["finalize"] == ["failed"]
    assert "Clear the tasks that failed" in run.log("users.finalize")
    sent = len(users.segment.messages)
    (failed,) = [task["map_index"] for task in run.instances("users.send") if task["state"] == "failed"]
    outage.is_over = True
    assert run.clear("users.send", failed) == [("users.finalize", -1), ("users.plan", -1), ("users.send", failed)]
    assert run.wait() == "success"
    assert [len(run.tries("users.send", number)) for number in range(4)].count(2) == 1
    assert sent < ROWS
    assert users.arrived() == ALL_ONCE
    assert run.xcom("users.finalize")["accepted"] == ROWS
    users.nothing_is_due()


def test_the_next_run_instead(users: Users) -> None:
    """After a red run the next one sends what is missing, and nothing else."""
    outage = Outage(users.segment)
    assert users.start(pace="default", retries=0).wait() == "failed"
    sent = len(users.segment.messages)
    outage.is_over = True
    run = users.again()
    assert run.wait() == "success"
    report = run.xcom("users.finalize")
    assert (report["rows"], report["added"], report["accepted"]) == (ROWS, ROWS - sent, ROWS - sent)
    assert users.arrived() == ALL_ONCE
    users.nothing_is_due()


def test_marked_failed(users: Users) -> None:
    """A run that is marked failed in the middle ends all the same: the next one sends the rest at once."""
    run = users.start()
    users.in_the_middle()
    run.mark("failed")
    assert run.wait() == "failed"
    assert states(run)["finalize"] == ["failed"]
    _the_next_run_is_whole(users)


def test_timed_out(users: Users) -> None:
    """A run that Airflow's `dagrun_timeout` ends in the middle leaves the state to the next one."""
    users.segment.delay = 5.0  # so that no machine is done before it
    run = users.start(timeout=12)
    assert run.wait() == "failed"
    users.segment.delay = 0.0
    assert (states(run)["plan"], states(run)["finalize"]) == (["success"], ["skipped"])
    _the_next_run_is_whole(users, timeout=600, pace="default")


def test_all_workers_killed(users: Users) -> None:
    """A run whose workers all died is red without retries, and the next one sends the rest."""
    run = users.start(retries=0)
    users.in_the_middle()
    for worker in users.cluster.workers:
        worker.kill()
    run.wait_for("end of the tries", lambda: failed_tries(run) == len(SENDS))
    for worker in users.cluster.workers:
        worker.start()
    users.cluster.wait_for_workers()
    assert run.wait() == "failed"
    assert states(run) == {"plan": ["success"], "send": ["failed"] * 4, "finalize": ["failed"]}
    _the_next_run_is_whole(users)


def _the_next_run_is_whole(users: Users, **settings: Any) -> None:
    sent = len(users.segment.messages)
    run = users.start(**settings)
    assert run.wait() == "success"
    assert "Waiting for it" not in run.log("users.plan")
    assert sent < ROWS
    assert users.arrived() == ALL_ONCE
    users.nothing_is_due()


def test_all_rows_each_day(users: Users) -> None:
    """In mode "all" each run sends all rows, under the same ids where a task was killed, and keeps to the limit."""
    first = users.start(mode="all", pace="limited")
    assert first.wait() == "success"
    assert users.arrived() == ALL_ONCE
    requests = [(request.time, request.events) for request in users.segment.requests]
    assert max(_in_a_second(requests)) <= 5_500  # the limit of `segment_limited`, and a tenth
    second = users.again()
    users.in_the_middle(ROWS + ROWS // 5)
    assert users.cluster.workers[0].kill_tasks()
    assert second.wait() == "success"
    assert users.arrived() == {"users": ROWS, "events": 2 * ROWS}
    assert second.xcom("users.finalize")["rows"] == ROWS


def _in_a_second(requests: list[tuple[float, int]]) -> Iterator[int]:
    """Yield the events of each second that begins with a request."""
    for begun, _ in requests:
        yield sum(events for time, events in requests if begun <= time < begun + 1)
