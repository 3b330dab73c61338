"""A task that is killed, stopped or out of time says what it has done, and its retry leaves no second event behind."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import processes
import pytest
from runs import COUNTS, SECONDS_TO_END, Run, RunDag, new_dag
from waiting import until
from warehouses import SqliteWarehouse

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.core.errors import NotSentError
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

ROWS = 6_000
KILLS = 20
RANDOM = random.Random(20_261_122)  # noqa: S311  the moments of the kills, the same in each run of the tests


# Kills (-9)


def send(environment: dict[str, str], order: str, try_number: int) -> None:
    """Be one try of the task: what runs in a process of its own."""
    os.environ.update(environment)
    instance = SimpleNamespace(dag_id="killed", task_id="sync", run_id="r1", map_index=-1, try_number=try_number)
    SqlToSegmentOperator(
        task_id="sync",
        sql=f"SELECT id, email FROM users ORDER BY {order}",  # noqa: S608  of this file
        sql_conn_id="warehouse",
        sync_id="killed.sync",
        calls=Identify(user_id="id", traits=["email"]),
        fetch_size=500,
    ).execute({"ti": instance, "run_id": "r1"})


def environment_of(segment: SegmentServer, house: SqliteWarehouse, events_per_second: int) -> dict[str, str]:
    connection = json.loads(segment.connection) | {"extra": {"events_per_second": events_per_second}}
    return {"AIRFLOW_CONN_SEGMENT_DEFAULT": json.dumps(connection), "AIRFLOW_CONN_WAREHOUSE": house.connection}


class Tries:
    """Starts tries of the task, each in a new process."""

    def __init__(self, house: SqliteWarehouse) -> None:
        self.house = house

    def start(self, segment: SegmentServer, order: str, number: int, events_per_second: int = 0) -> Any:
        """Start a try."""
        return processes.start(send, environment_of(segment, self.house, events_per_second), order, number)

    def finish(self, segment: SegmentServer, order: str, number: int) -> set[str]:
        """Run a try to its end, and return the ids of all events that Segment has then."""
        child = self.start(segment, order, number)
        child.join(60)
        assert child.exitcode == 0
        return {message["messageId"] for message in segment.messages}


@pytest.fixture(scope="module")
def tries(tmp_path_factory: pytest.TempPathFactory) -> Tries:
    """Tries of a task over users of whom a tenth stands there twice."""
    house = SqliteWarehouse(tmp_path_factory.mktemp("kills") / "warehouse.db")
    house.run("CREATE TABLE users (id TEXT, email TEXT)")
    users = [(f"u{n}", f"user{n}@example.com") for n in range(ROWS * 9 // 10)]
    house.insert("users", [*users, *users[: ROWS // 10]])
    return Tries(house)


@pytest.fixture(scope="module")
def undisturbed(tries: Tries) -> set[str]:
    """The ids of a run that nothing disturbs."""
    with SegmentServer() as segment:
        ids = tries.finish(segment, "rowid", 1)
        assert len(segment.messages) == len(ids) == ROWS
    return ids


@pytest.fixture(scope="module")
def sent_before_kills() -> Iterator[list[int]]:
    """How many events the killed tries had sent: collected by the kills, and looked at when all have been."""
    sent: list[int] = []
    yield sent
    # Not all at the start, nor all at the end: otherwise the kills would show nothing.
    assert len(sent) < KILLS or sum(0 < count < ROWS for count in sent) >= KILLS // 2
    assert len(sent) < KILLS or len(set(sent)) >= 4


@pytest.mark.parametrize("moment", [RANDOM.uniform(0, 9.9) for _ in range(KILLS)], ids="{:.2f}".format)
def test_retry_after_a_kill_leaves_the_events_of_a_quiet_run(
    segment: SegmentServer, tries: Tries, undisturbed: set[str], sent_before_kills: list[int], moment: float
) -> None:
    """Whenever a try is killed, it and a retry in another order leave exactly the ids of an undisturbed run."""
    segment.delay = moment % 1 / 20  # so that some kills find answers on their way
    child = tries.start(segment, "rowid", 1, events_per_second=6_000)  # ten batches, one each tenth of a second
    try:
        until(lambda: len(segment.requests) >= int(moment))
        child.kill()
        child.join(60)
    finally:
        child.kill()
    assert child.exitcode == -signal.SIGKILL
    segment.stop()  # waits for what it still holds of the killed
    segment.start()
    before = {message["messageId"] for message in segment.messages}
    assert before <= undisturbed
    sent_before_kills.append(len(before))
    segment.delay = 0.0
    assert tries.finish(segment, "email DESC, rowid DESC", 2) == undisturbed
    assert len(segment.messages) == ROWS
    assert len(segment.duplicates) == len(before)


# SIGTERM and execution_timeout


FAULTS = {"hangs": "hang", "asks to wait": (429, {"Retry-After": "300"}), "fails": 500}


@pytest.fixture(params=FAULTS.values(), ids=FAULTS)
def fault(
    request: pytest.FixtureRequest, segment: SegmentServer, warehouse: SqliteWarehouse, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """What Segment does from the third batch of users on."""
    warehouse.run("CREATE TABLE users (id TEXT, email TEXT)")
    warehouse.insert("users", [(f"u{n}", f"user{n}@example.com") for n in range(5_000)])
    # Batches are small and the requests' time-out is long: what ends the run is not it.
    extra = {"events_per_second": 5_000, "timeout": 25}
    connection = json.dumps(json.loads(segment.connection) | {"extra": extra})
    monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", connection)
    segment.respond_with([None, None])
    segment.respond_with(lambda _: request.param)
    return request.param


@pytest.fixture
def _signals() -> Iterator[None]:
    """Airflow's handler of SIGTERM does not outlive the test."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def operator(**settings: Any) -> SqlToSegmentOperator:
    return SqlToSegmentOperator(
        task_id="sync",
        sql="SELECT id, email FROM users",
        sql_conn_id="warehouse",
        calls=Identify(user_id="id", traits=["email"]),
        **settings,
    )


class Failed:
    """What a failed task's callback was told.

    :param errors: that ended it.
    """

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self._run_ids: list[str] = []

    def __call__(self, context: Any) -> None:
        self.errors.append(context["exception"])
        self._run_ids.append(context["run_id"])

    def run(self, run_dag: RunDag, dag: Any) -> Run:
        """Run a DAG whose task fails; `dag.test()` of Airflow 2 raises what ended it, that of Airflow 3 does not."""
        try:
            return run_dag(dag)
        except BaseException as error:
            if [error] != self.errors:
                raise
            return Run(SimpleNamespace(dag_id=dag.dag_id, run_id=self._run_ids[0], state="failed"))


def checked_report(run: Run, segment: SegmentServer) -> dict[str, Any]:
    """Check the report that a failed task has pushed, and return it."""
    assert run.task("sync")[0] == "failed"
    report: dict[str, Any] = run.xcom("sync", "report")
    assert report is not None
    assert run.xcom("sync") is None
    assert report["calls"] == sum(report[name] for name in COUNTS)
    assert report["accepted"] == len(segment.messages) == 1_000
    assert report["not_sent"] == report["calls"] - 1_000 > 0
    return report


@pytest.mark.usefixtures("_signals")
def test_sigterm(segment: SegmentServer, run_dag: RunDag, fault: Any) -> None:
    """A task that gets SIGTERM ends within five seconds, says that calls were not sent, and has pushed its report."""
    failed, began = Failed(), [0.0]
    with new_dag() as dag:
        operator(on_failure_callback=failed)

    def terminate() -> None:
        until(lambda: len(segment.messages) == 1_000 and len(segment.requests) >= (6 if fault == "hang" else 3))
        began[0] = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)

    terminator = threading.Thread(target=terminate)
    terminator.start()
    run = failed.run(run_dag, dag)
    took = time.monotonic() - began[0]
    terminator.join(60)
    report = checked_report(run, segment)
    (error,) = failed.errors
    if isinstance(error, NotSentError):  # Airflow 3 calls on_kill() and lets the task end by itself
        assert error.report is not None
        assert error.report.as_dict() == report
        assert f"{report['not_sent']:,} not sent" in str(error)
    else:  # Airflow 2 raises its own error in the task after that
        assert type(error).__name__ == "AirflowTaskTerminated"
    assert took < SECONDS_TO_END


@pytest.mark.usefixtures("fault", "no_collection")
def test_execution_timeout(segment: SegmentServer, run_dag: RunDag) -> None:
    """A task whose time is up fails within seconds, whatever the server does, and has pushed its report."""
    failed = Failed()
    with new_dag() as dag:
        operator(execution_timeout=dt.timedelta(seconds=2), on_failure_callback=failed)
    run = failed.run(run_dag, dag)
    ended = time.monotonic()
    checked_report(run, segment)
    assert [type(error).__name__ for error in failed.errors] == ["AirflowTaskTimeout"]
    assert ended - segment.requests[0].time < 2 + SECONDS_TO_END
