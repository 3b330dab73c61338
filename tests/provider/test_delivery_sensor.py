"""SegmentDeliverySensor: what Segment received of a run, waited for by a worker and in the triggerer."""

from __future__ import annotations

import datetime as dt
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import processes
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSensorTimeout
from runs import NO_WAIT, Run, RunDag, Shards, new_dag
from test_kills import environment_of, send
from waiting import until
from warehouses import SqliteWarehouse

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.compat import XComArg
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.operators.segment import SegmentIdentifyOperator
from airflow_provider_segment.sensors.segment import SegmentDeliverySensor
from airflow_provider_segment.testing import Request, SegmentServer
from airflow_provider_segment.testing.public_api import PublicApi
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

USERS = Identify(user_id="id", traits=["email"])
BOUGHT = Track(Constant("Bought"), user_id="id", properties=["email"])
WAITS = pytest.mark.parametrize("deferrable", [False, True], ids=["poking", "deferred"])
QUICK = {"poke_interval": 0.05, "settle_seconds": 0.2, "timeout": 30.0}
NOTHING_LOST = {"failed": 0, "failed_by_reason": {}, "filtered": 0, "filtered_by_reason": {}}


@pytest.fixture(autouse=True)
def _users(warehouse: SqliteWarehouse) -> None:
    """A warehouse of 100 users."""
    warehouse.run("CREATE TABLE users (id TEXT, email TEXT)")
    warehouse.insert("users", [(f"u{n}", f"user{n}@example.com") for n in range(100)])


@pytest.fixture
def said() -> list[str]:
    """What sensors failed with, for `Told`."""
    return []


class Told(SegmentDeliverySensor):
    """A sensor whose errors are kept.

    :ivar said: gets the text of each.
    """

    said: list[str]

    def execute(self, context: Any) -> Any:
        """Wait."""
        with keeps_errors(type(self).said):
            return super().execute(context)

    def execute_complete(self, context: Any, event: Any) -> Any:
        """Hear from the trigger."""
        with keeps_errors(type(self).said):
            return super().execute_complete(context, event)


@contextmanager
def keeps_errors(said: list[str]) -> Iterator[None]:
    """Keep the texts of errors; that a task is deferred is an exception of Airflow's, too, and none of these."""
    try:
        yield
    except (AirflowFailException, AirflowSensorTimeout) as error:
        said.append(str(error))
        raise


def sync(**changed: Any) -> SqlToSegmentOperator:
    """Return a sync of the users: two calls each."""
    settings = {"task_id": "sync", "sql": "SELECT * FROM users", "sql_conn_id": "warehouse"}
    return SqlToSegmentOperator(**(settings | {"calls": [USERS, BOUGHT]} | changed))


def run_both(run_dag: RunDag, said: list[str] | None = None, **sensor: Any) -> Run:
    """Run a DAG that syncs and then waits."""
    Told.said = [] if said is None else said
    with new_dag() as dag:
        Told(task_id="arrived", report=sync().output, retries=2, retry_delay=NO_WAIT, **(QUICK | sensor))
    return run_dag(dag)


def asked(segment: SegmentServer) -> list[Request]:
    """Return the questions to Delivery Overview."""
    return [request for request in segment.requests if request.path.startswith("/delivery-overview")]


# What arrives


@WAITS
def test_what_was_sent_has_arrived(segment: SegmentServer, run_dag: RunDag, deferrable: bool) -> None:
    """A sync, and a sensor that finds all of it at the same Segment, and returns the sums."""
    run = run_both(run_dag, deferrable=deferrable)
    assert (run.state, len(segment.messages)) == ("success", 200)
    assert run.xcom("arrived") == {"accepted": 200, "received": 200, **NOTHING_LOST}


@WAITS
def test_late_minutes_are_waited_for(segment: SegmentServer, run_dag: RunDag, deferrable: bool) -> None:
    """Numbers that still grow are looked at again, also after they stood still for a while."""
    overview = segment.public_api.delivery
    overview.filter(lambda _: True)
    looks = []

    def late(request: Request) -> None:
        if "successfully-received" in request.path:
            looks.append(request)
            if len(looks) in (3, 5):
                overview.add("successfully-received", 100, event_name="Bought")

    segment.public_api.respond_with(late)
    run = run_both(run_dag, deferrable=deferrable, settle_seconds=20)
    assert run.state == "success"
    assert run.xcom("arrived")["received"] == 200
    assert run.xcom("arrived")["filtered_by_reason"] == {"schema_violation": 200}
    assert len(looks) == 6


@WAITS
@pytest.mark.parametrize("as_text", [False, True], ids=["numbers", "text"])
def test_another_sender_is_in_the_numbers(
    segment: SegmentServer,
    run_dag: RunDag,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    deferrable: bool,
    as_text: bool,
) -> None:
    """A source with another sender shows more than was accepted, as numbers or as text, and the log says so."""
    overview = segment.public_api.delivery
    overview.as_text = as_text

    def other(_: Request) -> None:
        if len(asked(segment)) == 1:  # in the minute of the run, which no test can foresee
            overview.add("successfully-received", 50, event_name="Clicked")
            overview.add("failed-on-ingest", 3, event_name="Clicked", discard_reason="event_not_string")

    segment.public_api.respond_with(other)
    with caplog.at_level("INFO"):
        run = run_both(run_dag, deferrable=deferrable)
    assert run.state == "success"
    found = run.xcom("arrived")
    assert (found["received"], found["failed_by_reason"]) == (250, {"event_not_string": 3})
    shown = caplog.text + capfd.readouterr().out  # a task's log is in the one on Airflow 2, in the other on Airflow 3
    assert "250 received (50 more than were accepted: other senders of the source, too)" in shown


@WAITS
def test_nothing_to_wait_for(segment: SegmentServer, run_dag: RunDag, deferrable: bool) -> None:
    """A run that sent nothing needs no answer of Segment's, and no token."""
    segment.public_api.token = "another"
    with new_dag() as dag:
        empty = sync(sql="SELECT * FROM users WHERE 1 = 0")
        SegmentDeliverySensor(task_id="arrived", report=empty.output, deferrable=deferrable, **QUICK)
    run = run_dag(dag)
    assert (run.state, run.xcom("arrived")) == ("success", {"accepted": 0, "received": 0, **NOTHING_LOST})
    assert asked(segment) == []


# What is missing


@WAITS
def test_what_a_rule_filters_fails_with_the_table(
    segment: SegmentServer, run_dag: RunDag, said: list[str], deferrable: bool
) -> None:
    """Events that a tracking plan blocks were accepted and not received: the task fails at once, and says which."""
    segment.public_api.delivery.filter(lambda message: message.get("event") == "Bought", "unplanned")
    run = run_both(run_dag, said, deferrable=deferrable)
    assert run.task("arrived") == ("failed", 1)
    assert run.xcom("arrived") is None
    (text,) = said
    assert "200 accepted, 100 received, 0 failed at ingest, 100 filtered at source" in text
    assert "100  track     Bought  filtered at source  unplanned" in text
    assert "What cannot be known: the numbers are of all senders of the source" in text


@WAITS
def test_what_has_not_arrived_in_time_fails(
    segment: SegmentServer, run_dag: RunDag, said: list[str], deferrable: bool
) -> None:
    """At `timeout` the task fails with what was seen, however long the numbers were to stand still."""
    segment.public_api.delivery.filter(lambda _: True)
    run = run_both(run_dag, said, deferrable=deferrable, timeout=0.5, settle_seconds=600)
    assert run.task("arrived") == ("failed", 1)
    assert "200 accepted, 0 received" in said[0]


@WAITS
def test_enough_at_the_timeout_is_enough(segment: SegmentServer, run_dag: RunDag, deferrable: bool) -> None:
    """Where the time is over after one look that found all, the task succeeds."""
    run = run_both(run_dag, deferrable=deferrable, timeout=0.0)
    assert (run.state, run.xcom("arrived")["received"]) == ("success", 200)


@WAITS
@pytest.mark.parametrize(("tolerance", "state"), [(0.01, "success"), (0.001, "failed")])
def test_a_tolerance_lets_some_be_missing(
    segment: SegmentServer, run_dag: RunDag, deferrable: bool, tolerance: float, state: str
) -> None:
    """A share of the calls may be missing."""
    segment.public_api.delivery.filter(lambda message: message["userId"] == "u1")
    assert run_both(run_dag, deferrable=deferrable, tolerance=tolerance).state == state


@WAITS
def test_soft_fail_skips(segment: SegmentServer, run_dag: RunDag, deferrable: bool) -> None:
    """As any sensor of Airflow it can be skipped where it would fail."""
    segment.public_api.delivery.filter(lambda _: True)
    assert run_both(run_dag, deferrable=deferrable, soft_fail=True).task("arrived")[0] == "skipped"


# What Segment answers


REFUSED = {
    "a token that is refused": (401, "public_api_token: {url} refuses it (HTTP 401)"),
    "a plan or role without it": (403, "does not allow it GET /delivery-overview/successfully-received"),
    "a source that is not known": (404, "has nothing for GET /delivery-overview/successfully-received"),
    "a question that is not taken": (422, "does not take what GET /delivery-overview/successfully-received"),
    "something else": (302, "does not answer as Segment's Public API"),
}


@WAITS
@pytest.mark.parametrize(("status", "text"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_fails_at_once_and_says_what_to_do(
    segment: SegmentServer, run_dag: RunDag, said: list[str], deferrable: bool, status: int, text: str
) -> None:
    """What cannot pass is asked once, and told."""
    segment.public_api.respond_with(lambda _: status)
    run = run_both(run_dag, said, deferrable=deferrable)
    assert run.task("arrived") == ("failed", 1)
    assert text.format(url=segment.url) in said[0]
    assert len(asked(segment)) == 1


@WAITS
@pytest.mark.parametrize(
    "steps", [[500, 502], ["reset"], ["reset_after"], [(429, {"Retry-After": "1"})], [None, 503]], ids=str
)
def test_trouble_that_may_pass_is_waited_for(
    segment: SegmentServer, run_dag: RunDag, deferrable: bool, steps: list[Any]
) -> None:
    """An answer that is lost, a busy server and a limit of requests are looked at again."""
    segment.public_api.respond_with(steps)
    assert run_both(run_dag, deferrable=deferrable).state == "success"
    times = [request.time for request in asked(segment)]
    assert len(times) >= 6 + 1
    if isinstance(steps[0], tuple):
        assert times[1] - times[0] >= 1


@WAITS
def test_trouble_that_does_not_pass_fails_in_time(
    segment: SegmentServer, run_dag: RunDag, said: list[str], deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Segment never answers, the task fails at its timeout, and says that."""
    connection = json.loads(segment.connection)
    connection["extra"]["deadline"] = 0.2
    monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", json.dumps(connection))
    segment.public_api.respond_with(lambda _: 503)
    run = run_both(run_dag, said, deferrable=deferrable, timeout=0.5)
    assert run.task("arrived") == ("failed", 1)
    assert "Segment's Public API has not told what arrived" in said[0]


@WAITS
@pytest.mark.parametrize("missing", ["public_api_token", "source_id"])
def test_a_connection_without_what_it_takes(
    segment: SegmentServer,
    run_dag: RunDag,
    said: list[str],
    deferrable: bool,
    missing: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The field that is missing is named before anything is asked; the source's id may be given to the sensor."""
    connection = json.loads(segment.connection)
    connection["extra"][missing] = None
    monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", json.dumps(connection))
    assert run_both(run_dag, said, deferrable=deferrable).task("arrived") == ("failed", 1)
    assert f"connection 'segment_default': {missing} is missing" in said[0]
    assert asked(segment) == []
    given = run_both(run_dag, deferrable=deferrable, source_id="{{ 'local-source' }}")
    assert given.state == ("success" if missing == "source_id" else "failed")


# Whose report


def test_the_reports_of_all_that_sends(segment: SegmentServer, run_dag: RunDag) -> None:
    """Mapped tasks, and a single call, leave reports that can be waited for."""
    shards = [{"sql": f"SELECT * FROM users WHERE rowid % 2 = {n}"} for n in (0, 1)]  # noqa: S608  of this file
    with new_dag() as dag:
        split = Shards(task_id="split", shards=shards)
        common = {"sql_conn_id": "warehouse", "calls": USERS}
        mapped = SqlToSegmentOperator.partial(task_id="mapped", **common).expand_kwargs(split.output)
        single = SegmentIdentifyOperator(task_id="single", user_id="u1")
        SegmentDeliverySensor(task_id="all_mapped", report=mapped.output, deferrable=False, **QUICK)
        SegmentDeliverySensor(task_id="all_single", report=single.output, deferrable=False, **QUICK)
    run = run_dag(dag)
    assert run.state == "success"
    assert [run.xcom(f"all_{name}")["accepted"] for name in ("mapped", "single")] == [100, 1]


def test_a_run_that_failed_half_way(segment: SegmentServer, run_dag: RunDag) -> None:
    """What a failed sync had sent is in its XCom `report`, and can be waited for."""
    segment.refuse(lambda message: message["userId"] == "u7")
    with new_dag() as dag:
        failed = sync()
        left = XComArg(failed, key="report")
        SegmentDeliverySensor(task_id="arrived", report=left, trigger_rule="all_done", deferrable=False, **QUICK)
    run = run_dag(dag)
    assert (run.task("sync"), run.task("arrived")[0]) == (("failed", 1), "success")
    assert run.xcom("arrived")["accepted"] == run.xcom("arrived")["received"] == len(segment.messages) == 198


def test_a_run_that_was_killed_half_way(segment: SegmentServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry of a killed try sends again what Segment counted before: its report starts with the DAG run."""
    house = SqliteWarehouse(tmp_path / "many.db")
    house.run("CREATE TABLE users (id TEXT, email TEXT)")
    house.insert("users", [(f"u{n}", f"user{n}@example.com") for n in range(2_000)])
    began = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=10)
    child = processes.start(send, environment_of(segment, house, 2_000), "rowid", 1)
    try:
        until(lambda: len(segment.messages) >= 400)
    finally:
        child.kill()
        child.join(60)
    assert child.exitcode == -signal.SIGKILL
    segment.stop()
    segment.start()
    before = len(segment.messages)
    segment.public_api = PublicApi("k" * 32)  # as if what came before had been counted nine minutes ago
    earlier = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=9)
    segment.public_api.delivery.add("successfully-received", before, event_type="identify", at=earlier)
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", house.connection)
    ids = {"dag_id": "killed", "task_id": "sync", "run_id": "r1", "map_index": -1}
    instance = SimpleNamespace(**ids, try_number=2)
    context: Any = {"ti": instance, "run_id": "r1", "dag_run": SimpleNamespace(start_date=began)}
    again = {"sql": "SELECT id, email FROM users ORDER BY rowid", "sync_id": "killed.sync", "calls": USERS}
    report = sync(**again).execute(context)
    assert 400 <= before < len(segment.messages) == report["accepted"] == 2_000
    assert dt.datetime.fromisoformat(report["started"]) - began < dt.timedelta(seconds=1)
    sensor = SegmentDeliverySensor(task_id="arrived", report=report, deferrable=False, **QUICK)
    assert sensor.execute(context)["received"] == 2_000


def test_a_first_try_starts_with_itself(segment: SegmentServer) -> None:
    """A report's time is the try's own where no try was before it, and where Airflow does not tell the run's."""
    long_ago = SimpleNamespace(start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    ids = {"dag_id": "d", "task_id": "t", "run_id": "r", "map_index": -1}
    now = dt.datetime.now(dt.UTC)
    for number, dag_run in ((1, long_ago), (2, None), (2, SimpleNamespace(start_date=None))):
        context: Any = {"ti": SimpleNamespace(**ids, try_number=number), "run_id": "r", "dag_run": dag_run}
        report = SegmentHook().send([{"type": "identify", "userId": "u"}], context=context).as_dict()
        started, ended = (dt.datetime.fromisoformat(report[name]) for name in ("started", "ended"))
        assert now - dt.timedelta(seconds=1) < started <= ended
    assert Report().as_dict()["ended"] is None


# Settings


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"tolerance": 1}, "tolerance: expected a share from 0 to below 1, found 1"),
        ({"tolerance": -0.1}, "tolerance: expected a share from 0 to below 1"),
        ({"settle_seconds": -1}, "settle_seconds: expected seconds from 0"),
        ({"mode": "reschedule"}, "mode: 'reschedule' forgets the last look; use deferrable=True"),
    ],
)
def test_a_wrong_setting_fails_at_parse_time(changed: dict[str, Any], text: str) -> None:
    """A setting that is not what it should be is an error when the DAG is parsed."""
    with pytest.raises(ValueError, match=text):
        SegmentDeliverySensor(task_id="arrived", report={}, **changed)


def test_a_run_of_long_ago_is_refused(segment: SegmentServer) -> None:
    """A report of more than 30 days ago is refused before anything is asked."""
    report = {"accepted": 1, "started": "2026-01-01T00:00:00+00:00", "ended": "2026-01-01T00:01:00+00:00"}
    sensor = SegmentDeliverySensor(task_id="arrived", report=report, deferrable=False)
    with pytest.raises(AirflowFailException, match="Delivery Overview tells of the last 30 days"):
        sensor.execute({})
    assert segment.requests == []


@pytest.mark.parametrize("default", [True, False])
def test_airflow_says_whether_it_waits_in_the_triggerer(monkeypatch: pytest.MonkeyPatch, default: bool) -> None:
    """Without a setting of its own the sensor takes Airflow's."""
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", str(default))
    assert SegmentDeliverySensor(task_id="arrived", report={}).deferrable is default
    assert SegmentDeliverySensor(task_id="arrived", report={}, deferrable=not default).deferrable is not default
