"""SegmentRegulationSensor: what became of regulations, waited for by a worker and in the triggerer."""

from __future__ import annotations

from typing import Any

import pytest
from runs import NO_WAIT, Run, RunDag, new_dag
from warehouses import SqliteWarehouse

from airflow_provider_segment.sensors.regulation import SegmentRegulationSensor
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment_regulation import SqlToSegmentRegulationOperator

WAITS = pytest.mark.parametrize("deferrable", [False, True], ids=["poking", "deferred"])
CANARY = "forget-me-zaphod"


@pytest.fixture(autouse=True)
def _leavers(warehouse: SqliteWarehouse) -> None:
    """A warehouse with 6,000 users who are to be deleted, which are two regulations."""
    warehouse.run("CREATE TABLE leavers (id TEXT)")
    warehouse.insert("leavers", [(f"{CANARY}-{number}",) for number in range(6_000)])


def run_with(run_dag: RunDag, *, sql: str = "SELECT id FROM leavers", **sensor: Any) -> Run:
    """Run a DAG that makes regulations and then waits for them."""
    with new_dag() as dag:
        forget = SqlToSegmentRegulationOperator(
            task_id="forget",
            sql=sql,
            sql_conn_id="warehouse",
            regulation_type="SUPPRESS_WITH_DELETE",
            max_users=6_000,
        )
        settings = {"poke_interval": 0.05, "timeout": 20.0, "retry_delay": NO_WAIT, "retries": 1}
        SegmentRegulationSensor(task_id="forgotten", regulations=forget.output, **(settings | sensor))
    return run_dag(dag)


def looks(segment: SegmentServer) -> int:
    return sum(request.method == "GET" for request in segment.requests)


@WAITS
def test_finished(segment: SegmentServer, run_dag: RunDag, deferrable: bool) -> None:
    """It waits until all regulations are finished, and looks no more at those that are."""
    segment.public_api.regulations.go_through(["INITIALIZED", "RUNNING", "FINISHED"], {"Braze": "FINISHED"})
    run = run_with(run_dag, deferrable=deferrable)
    assert run.task("forgotten") == ("success", 1)
    assert looks(segment) == 6
    assert {one["status"] for one in segment.public_api.regulations.made} == {"FINISHED"}


@WAITS
@pytest.mark.parametrize("status", ["FAILED", "PARTIAL_SUCCESS", "NOT_SUPPORTED", "INVALID"])
def test_ended_otherwise(
    segment: SegmentServer, run_dag: RunDag, capfd: pytest.CaptureFixture[str], deferrable: bool, status: str
) -> None:
    """Each other end fails the task at once, without a retry, and names the destinations that said so."""
    destinations = {"Braze": "FINISHED", "Mixpanel": "FAILED", "Old CRM": "NOT_SUPPORTED"}
    segment.public_api.regulations.go_through(["RUNNING", status], destinations)
    run = run_with(run_dag, deferrable=deferrable)
    assert run.task("forgotten") == ("failed", 1)
    out = capfd.readouterr().out
    assert "2 of 2 regulations ended, and did not finish; 0 go on" in out
    for one in segment.public_api.regulations.made:
        assert f"{one['id']}: {status} (Mixpanel FAILED, Old CRM NOT_SUPPORTED)" in out
    assert CANARY not in out


def test_no_destination(segment: SegmentServer, run_dag: RunDag, capfd: pytest.CaptureFixture[str]) -> None:
    """Where no destination is named, the error says so."""
    segment.public_api.regulations.go_through(["INVALID"])
    assert run_with(run_dag, retries=0).task("forgotten")[0] == "failed"
    assert ": INVALID (no destination is named)" in capfd.readouterr().out


@WAITS
def test_out_of_time(
    segment: SegmentServer, run_dag: RunDag, capfd: pytest.CaptureFixture[str], deferrable: bool
) -> None:
    """What is not finished in time fails the task."""
    segment.public_api.regulations.go_through(["RUNNING"])
    run = run_with(run_dag, deferrable=deferrable, timeout=0.2)
    assert run.task("forgotten")[0] == "failed"
    out = capfd.readouterr().out
    assert ("2 of 2 regulations are not finished in time" if deferrable else "Sensor has timed out") in out


@WAITS
@pytest.mark.parametrize("step", [500, (429, {"Retry-After": "0"}), "reset"], ids=str)
def test_trouble_that_passes(segment: SegmentServer, run_dag: RunDag, deferrable: bool, step: Any) -> None:
    """A Public API that does not answer for a while is asked again."""
    segment.public_api.respond_with([None, None, step, step, None, step])
    assert run_with(run_dag, deferrable=deferrable).task("forgotten") == ("success", 1)


ANSWERS = {
    "a status of nobody": ((200, {}, b'{"data": {"regulation": {"overallStatus": "PAUSED"}}}'), "none that Segment"),
    "no status": ((200, {}, b'{"data": {"regulation": null}}'), "its status is none that Segment documents"),
    "no regulation": (404, "has nothing for GET /regulations/{regulateId}"),
    "a token that is refused": (401, "public_api_token: "),
}


@WAITS
@pytest.mark.parametrize(("step", "said"), ANSWERS.values(), ids=ANSWERS)
def test_other_answers(
    segment: SegmentServer,
    run_dag: RunDag,
    capfd: pytest.CaptureFixture[str],
    deferrable: bool,
    step: Any,
    said: str,
) -> None:
    """An answer that tells nothing fails the task in its own words: a status is never guessed."""
    segment.public_api.respond_with([None, None, step])
    assert run_with(run_dag, deferrable=deferrable).task("forgotten") == ("failed", 1)
    assert said in capfd.readouterr().out


@WAITS
def test_nothing_to_wait_for(segment: SegmentServer, run_dag: RunDag, deferrable: bool) -> None:
    """A run that made no regulation is over at once."""
    run = run_with(run_dag, sql="SELECT id FROM leavers WHERE false", deferrable=deferrable)
    assert run.task("forgotten") == ("success", 1)
    assert segment.requests == []


def test_reschedule(segment: SegmentServer, run_dag: RunDag) -> None:
    """It may also give its worker back between two looks."""
    segment.public_api.regulations.go_through(["RUNNING", "RUNNING", "FINISHED"])
    assert run_with(run_dag, mode="reschedule").task("forgotten")[0] == "success"
    assert looks(segment) == 6


@WAITS
def test_soft_fail(segment: SegmentServer, run_dag: RunDag, deferrable: bool) -> None:
    """With soft_fail, as for all sensors, what did not finish skips the task."""
    segment.public_api.regulations.go_through(["FAILED"])
    assert run_with(run_dag, deferrable=deferrable, soft_fail=True).task("forgotten")[0] == "skipped"


@pytest.mark.parametrize("given", ["one", ["one", "two"], {"regulations": ["one"]}], ids=str)
def test_ids(segment: SegmentServer, run_dag: RunDag, given: Any) -> None:
    """It also waits for regulations that were made elsewhere, by their ids."""
    finished = (200, {}, b'{"data": {"regulation": {"overallStatus": "FINISHED"}}}')
    segment.public_api.respond_with(lambda _: finished)
    with new_dag() as dag:
        SegmentRegulationSensor(task_id="forgotten", regulations=given, poke_interval=0.05)
    assert run_dag(dag).state == "success"
    assert segment.requests[0].path == "/regulations/one"


@pytest.mark.parametrize("given", [None, 5, {"rows": 1}, [5]], ids=str)
def test_no_ids(run_dag: RunDag, capfd: pytest.CaptureFixture[str], given: Any) -> None:
    """What holds no regulation fails, and says what was expected."""
    with new_dag() as dag:
        SegmentRegulationSensor(task_id="forgotten", regulations=given)
    assert run_dag(dag).state == "failed"
    assert "regulations: expected what SqlToSegmentRegulationOperator returned" in capfd.readouterr().out
