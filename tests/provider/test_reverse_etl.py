"""SegmentReverseEtlOperator: a sync of Segment's own Reverse ETL, waited for by a worker and in the triggerer."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import processes
import pytest
import runs
from airflow.providers.common.compat.sdk import DAG
from runs import HAS_STORE, NO_WAIT, SECONDS_TO_END, Run, RunDag, again, new_dag
from waiting import until

from airflow_provider_segment.operators.reverse_etl import SegmentReverseEtlOperator
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.triggers.reverse_etl import SegmentReverseEtlTrigger

WAITS = pytest.mark.parametrize("deferrable", [False, True], ids=["polling", "deferred"])
COUNTS = {
    "addedCount": 1_200,
    "updatedCount": 30,
    "deletedCount": 4,
    "extractCount": 1_234,
    "deliverSuccessCount": 1_234,
    "deliverFailureCount": 0,
}
START = "/reverse-etl-syncs"


def operator(**changed: Any) -> SegmentReverseEtlOperator:
    """Return an operator of the model m1 and the mapping s1, with some settings changed."""
    settings: dict[str, Any] = {
        "task_id": "sync",
        "source_id": "local-source",
        "model_id": "m1",
        "subscription_id": "s1",
        "poll_interval": 0.05,
        "timeout": 20.0,
        "retry_delay": NO_WAIT,
    }
    return SegmentReverseEtlOperator(**(settings | changed))


def run_one(run_dag: RunDag, **changed: Any) -> Run:
    with new_dag() as dag:
        operator(**changed)
    return run_dag(dag)


def posts(segment: SegmentServer, path: str = START) -> int:
    """Return how often a path was posted to."""
    return sum(request.method == "POST" and request.path.endswith(path) for request in segment.requests)


@WAITS
@pytest.mark.parametrize("as_text", [True, False], ids=["text", "numbers"])
def test_success(segment: SegmentServer, run_dag: RunDag, deferrable: bool, as_text: bool) -> None:
    """The counts come back as numbers, whether Segment gives them as text or as numbers."""
    etl = segment.public_api.reverse_etl
    etl.as_text = as_text
    etl.go_through(["IN_PROGRESS", "IN_PROGRESS", "SUCCESS"], **COUNTS)
    run = run_one(run_dag, deferrable=deferrable)
    assert run.task("sync") == ("success", 1)
    result = run.xcom("sync")
    (started,) = etl.started
    assert {name: started[name] for name in ("sourceId", "modelId", "subscriptionId")} == {
        "sourceId": "local-source",
        "modelId": "m1",
        "subscriptionId": "s1",
    }
    assert {name: result[name] for name in COUNTS} == COUNTS
    assert (result["syncId"], result["syncStatus"]) == (started["syncId"], "SUCCESS")
    assert result["startedAt"] == started["startedAt"]
    assert dt.datetime.fromisoformat(result["finishedAt"])


ENDS = {
    "it failed": ("FAIL", {}, {}, "The sync failed (warehouse.timeout): "),
    "it failed, and all is allowed": ("FAIL", {}, {"max_failed": 1_000}, "The sync failed (warehouse.timeout): "),
    "in part": ("PARTIAL_SUCCESS", {"deliverFailureCount": 3}, {}, "More records failed than the 0 that max_failed"),
    "more than allowed": ("PARTIAL_SUCCESS", {"deliverFailureCount": 3}, {"max_failed": 2}, "than the 2 that max_fail"),
    "a share": ("PARTIAL_SUCCESS", {"deliverFailureCount": 3}, {"max_failed": 0.002}, "than the 0.002 that max_failed"),
    "a success with failures": ("SUCCESS", {"deliverFailureCount": 1}, {}, "More records failed than the 0 that"),
    "in part, without numbers": ("PARTIAL_SUCCESS", {}, {"max_failed": 5}, "does not say how many records failed"),
}


@WAITS
@pytest.mark.parametrize(("status", "counts", "settings", "said"), ENDS.values(), ids=ENDS)
def test_never_green(
    segment: SegmentServer,
    run_dag: RunDag,
    capfd: pytest.CaptureFixture[str],
    deferrable: bool,
    status: str,
    counts: dict[str, int],
    settings: dict[str, Any],
    said: str,
) -> None:
    """A sync that failed, or delivered with failures, is red; and a retry starts another one."""
    segment.public_api.reverse_etl.go_through(["IN_PROGRESS", status], "warehouse.timeout", **(COUNTS | counts))
    run = run_one(run_dag, deferrable=deferrable, retries=1, **settings)
    assert run.task("sync") == ("failed", 2)
    assert posts(segment) == 2
    assert said in capfd.readouterr().out


@WAITS
@pytest.mark.parametrize("allowed", [3, 0.01])
def test_failures_that_are_allowed(segment: SegmentServer, run_dag: RunDag, deferrable: bool, allowed: float) -> None:
    """As many failures as are allowed leave it green, and are in the counts."""
    segment.public_api.reverse_etl.go_through(["PARTIAL_SUCCESS"], **(COUNTS | {"deliverFailureCount": 3}))
    run = run_one(run_dag, deferrable=deferrable, max_failed=allowed)
    assert (run.state, run.xcom("sync")["deliverFailureCount"]) == ("success", 3)


@WAITS
def test_out_of_time(segment: SegmentServer, run_dag: RunDag, deferrable: bool) -> None:
    """A sync that takes too long fails the task and goes on; the retry waits for it, and starts none."""
    etl = segment.public_api.reverse_etl
    etl.go_through(["IN_PROGRESS"])
    with new_dag() as dag:
        operator(deferrable=deferrable, timeout=0.2)
    run = run_dag(dag)
    assert run.task("sync") == ("failed", 1)
    assert posts(segment, "/cancel") == 0
    etl.go_through(["IN_PROGRESS"] * 60 + ["SUCCESS"], **COUNTS)
    dag.task_dict["sync"].timeout = 20.0
    dag.task_dict["sync"].deferrable = False
    run = again(dag, run.run_id, "sync")
    assert run.task("sync") == ("success", 2)
    assert posts(segment) == len(etl.started) == 1
    run = again(dag, run.run_id, "sync")  # "Clear task": it had succeeded
    assert run.task("sync") == ("success", 3)
    assert posts(segment) == 2


@WAITS
@pytest.mark.parametrize("step", [500, (429, {"Retry-After": "1"}), "reset"], ids=str)
def test_trouble_that_passes(segment: SegmentServer, run_dag: RunDag, deferrable: bool, step: Any) -> None:
    """While it waits, a Public API that does not answer for a while is asked again."""
    segment.public_api.reverse_etl.go_through(["IN_PROGRESS", "SUCCESS"])
    segment.public_api.respond_with([None, step, None, step])
    assert run_one(run_dag, deferrable=deferrable).task("sync") == ("success", 1)
    assert posts(segment) == 1


def test_too_many_starts(segment: SegmentServer, run_dag: RunDag) -> None:
    """A start that is refused for its rate did nothing, and is made again."""
    segment.public_api.respond_with([(429, {"Retry-After": "1"})] * 2)
    assert run_one(run_dag).task("sync") == ("success", 1)
    assert posts(segment) == 3
    assert len(segment.public_api.reverse_etl.started) == 1


@pytest.mark.parametrize("step", ["reset_after", (500, {})], ids=str)
def test_a_start_whose_answer_is_lost(segment: SegmentServer, run_dag: RunDag, step: Any) -> None:
    """A start that may have come is not made again in the same try; the retry takes the sync that is in progress."""
    etl = segment.public_api.reverse_etl
    etl.go_through(["IN_PROGRESS", "SUCCESS"])
    segment.public_api.respond_with([step])
    run = run_one(run_dag, retries=1)
    assert run.task("sync") == ("success", 2)
    assert len(etl.started) == 1
    assert posts(segment) == (1 if step == "reset_after" else 2)


ANSWERS = {
    "a token that is refused": (401, "public_api_token: "),
    "a plan without it": (403, "look whether the workspace's plan has it"),
    "no such model": (404, "has nothing for POST /reverse-etl-syncs"),
    "what Segment does not take": (422, "does not take what POST /reverse-etl-syncs"),
    "no id": ((200, {}, b'{"data": {"reverseETLManualSync": {}}}'), "the sync may have started"),
    "nothing": ((200, {}, b'{"data": {}}'), "the sync may have started"),
}


@pytest.mark.parametrize(("step", "said"), ANSWERS.values(), ids=ANSWERS)
def test_other_answers_to_a_start(
    segment: SegmentServer, run_dag: RunDag, capfd: pytest.CaptureFixture[str], step: Any, said: str
) -> None:
    """What does not start a sync fails the task in its own words, without a retry."""
    segment.public_api.respond_with(lambda _: step)
    assert run_one(run_dag, retries=1).task("sync") == ("failed", 1)
    assert said in capfd.readouterr().out


def status(**changed: Any) -> tuple[int, dict[str, str], bytes]:
    """Return the answer to a look, with some fields changed."""
    found = {"syncStatus": "SUCCESS", "extractPhase": {}, "loadPhase": {}} | changed
    return 200, {}, json.dumps({"data": {"reverseETLSyncStatus": found}}).encode()


LOOKS = {
    "a status of nobody": (status(syncStatus="PAUSED"), "the sync's status is none that Segment documents"),
    "no sync": ((200, {}, b'{"data": {"reverseETLSyncStatus": null}}'), "the sync's status is none that Segment"),
    "a count of nobody": (status(loadPhase={"deliverFailureCount": "many"}), "deliverFailureCount: expected a count"),
    "a sync that is gone": (404, "has nothing for GET /reverse-etl-models/{modelId}/syncs/{syncId}"),
}


@WAITS
@pytest.mark.parametrize(("step", "said"), LOOKS.values(), ids=LOOKS)
def test_other_answers_to_a_look(
    segment: SegmentServer,
    run_dag: RunDag,
    capfd: pytest.CaptureFixture[str],
    deferrable: bool,
    step: Any,
    said: str,
) -> None:
    """What does not tell how the sync is fails the task: nothing is guessed."""
    segment.public_api.respond_with([None, step])
    assert run_one(run_dag, deferrable=deferrable, retries=1).task("sync") == ("failed", 1)
    assert said in capfd.readouterr().out


def test_phases_that_are_not_there(segment: SegmentServer, run_dag: RunDag) -> None:
    """A sync that had nothing to do may have no phases, and Segment's own words are left out."""
    said = {"extractPhase": None, "loadPhase": None, "error": "user zaphod", "errorCode": "not a code"}
    segment.public_api.respond_with([None, status(**said)])
    result = run_one(run_dag).xcom("sync")
    assert {name: result[name] for name in COUNTS} == dict.fromkeys(COUNTS, 0)
    assert "zaphod" not in str(result)
    assert "errorCode" not in result


@pytest.mark.parametrize(
    "setting", [{"max_failed": -1}, {"max_failed": 1.5}, {"poll_interval": 0}, {"timeout": "1 day"}]
)
def test_a_wrong_setting_fails_the_parsing(setting: dict[str, Any]) -> None:
    """A setting that is wrong fails when the DAG is parsed, and is named."""
    with pytest.raises(ValueError, match=next(iter(setting))):
        operator(**setting)


# Kills


def be_killed(environment: dict[str, str], dag_id: str) -> None:
    """Be the first try: what runs in a process of its own."""
    os.environ.update(environment)
    runs.run(killed_dag(dag_id), dt.datetime(2026, 5, 1, tzinfo=dt.UTC))


def killed_dag(dag_id: str) -> DAG:
    with DAG(dag_id, start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), schedule=None) as dag:
        operator()
    return dag


@pytest.mark.parametrize("went_on", [True, False], ids=["in progress", "ended meanwhile"])
def test_killed(segment: SegmentServer, went_on: bool) -> None:
    """After kill -9 a retry finds the sync that the killed try had started."""
    etl = segment.public_api.reverse_etl
    etl.go_through(["IN_PROGRESS"])
    dag_id = f"reverse_etl_{went_on}"
    child = processes.start(be_killed, {"AIRFLOW_CONN_SEGMENT_DEFAULT": segment.connection}, dag_id)
    try:
        until(lambda: len(segment.requests) >= 3)
    finally:
        child.kill()
        child.join(60)
    assert child.exitcode == -signal.SIGKILL
    etl.go_through([*(["IN_PROGRESS"] * 200 if went_on else []), "SUCCESS"], **COUNTS)
    dag = killed_dag(dag_id)
    run = again(dag, runs.run_ids(dag_id)[0], "sync")
    assert run.task("sync") == ("success", 2)
    # Without a store nobody knows that the sync, which has ended, was this task's.
    assert posts(segment) == (1 if went_on or HAS_STORE else 2)


@pytest.fixture
def _signals() -> Iterator[None]:
    """Airflow's handler of SIGTERM does not outlive the test."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_signals")
def test_sigterm_cancels(segment: SegmentServer, run_dag: RunDag) -> None:
    """A task that is told to end cancels its sync, and ends in time; a retry starts another one."""
    etl = segment.public_api.reverse_etl
    etl.go_through(["IN_PROGRESS"])
    began = [0.0]
    with new_dag() as dag:
        operator(poll_interval=30.0)

    def terminate() -> None:
        until(lambda: len(segment.requests) >= 2)
        began[0] = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)

    terminator = threading.Thread(target=terminate)
    terminator.start()
    with suppress(BaseException):  # `dag.test()` of Airflow 2 raises what ended it
        run_dag(dag)
    took = time.monotonic() - began[0]
    terminator.join(60)
    assert took < SECONDS_TO_END
    assert [one["isCancelled"] for one in etl.started] == [True]
    etl.go_through(["SUCCESS"])
    run = again(dag, runs.run_ids(dag.dag_id)[0], "sync")
    assert run.task("sync") == ("success", 2)
    assert [one["isCancelled"] for one in etl.started] == [True, False]


@pytest.mark.parametrize("step", [None, 500, "reset"], ids=str)
def test_who_ends_a_deferred_task_cancels(
    segment: SegmentServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], step: Any
) -> None:
    """Where Airflow tells a trigger that its task is ended, the sync is cancelled; and it says so where it is not."""
    etl = segment.public_api.reverse_etl
    etl.go_through(["IN_PROGRESS"])
    sync_id = started_by_hand(segment)
    trigger = SegmentReverseEtlTrigger(
        segment_conn_id="segment_default", model_id="m1", sync_id=sync_id, poll_interval=1.0, until="2027-01-01"
    )
    segment.public_api.respond_with([step])
    asyncio.run(trigger.on_kill())
    assert etl.started[0]["isCancelled"] == (step is None)
    said = "was told to end; Segment says CANCELLING" if step is None else "could not be cancelled"
    assert said in caplog.text + capfd.readouterr().out


def started_by_hand(segment: SegmentServer) -> str:
    """Start a sync, and return its id."""
    from airflow_provider_segment.core.public_api import reverse_etl
    from airflow_provider_segment.hooks.segment import SegmentHook

    return reverse_etl.start(SegmentHook().public_api, "local-source", "m1", "s1")


def test_syncs_of_others_are_not_taken(segment: SegmentServer, run_dag: RunDag) -> None:
    """A first try starts its own sync: one that is in progress may have read the warehouse before the DAG ran."""
    etl = segment.public_api.reverse_etl
    etl.go_through(["IN_PROGRESS", "SUCCESS"])
    other = started_by_hand(segment)
    result = run_one(run_dag).xcom("sync")
    assert result["syncId"] != other
    assert len(etl.started) == 2


def test_many_syncs(segment: SegmentServer) -> None:
    """Of a long history all pages are read, and the sync in progress that was started last is found."""
    from airflow_provider_segment.core.public_api import reverse_etl
    from airflow_provider_segment.hooks.segment import SegmentHook

    segment.public_api.reverse_etl.go_through(["IN_PROGRESS"])
    syncs = [started_by_hand(segment) for _ in range(250)]
    assert reverse_etl.running(SegmentHook().public_api, "m1", "s1") == syncs[-1]
    assert sum(request.method == "GET" for request in segment.requests) == 3
    assert reverse_etl.running(SegmentHook().public_api, "m1", "s2") is None
