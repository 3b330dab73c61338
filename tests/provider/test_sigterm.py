"""A task that gets SIGTERM, whatever sends in it, sends nothing more and leaves its report."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import processes
import pytest
import runs
from airflow.providers.common.compat.sdk import DAG, task
from runs import COUNTS, SECONDS_TO_END
from waiting import until

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.hooks import sigterm
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.hooks.task import TaskRun
from airflow_provider_segment.notifications.segment import SegmentNotifier
from airflow_provider_segment.operators.segment import SegmentIdentifyOperator
from airflow_provider_segment.testing import SegmentServer

USERS = 200_000
# Batches of 100, ten a second; more than the eight that may be on their way would be new ones.
LIMIT = 1_000
BATCH, IN_FLIGHT = 100, 8


def users() -> Iterator[dict[str, str]]:
    return ({"id": f"u{n}"} for n in range(USERS))


def sync() -> None:
    SegmentHook().sync(users(), Identify(user_id="id"))


def send() -> None:
    SegmentHook().send({"type": "identify", "userId": user["id"]} for user in users())


def one_by_one() -> None:
    """As a user would who does not want to lose a whole task to one bad user."""
    hook = SegmentHook()
    for user in islice(users(), 5_000):
        with suppress(Exception):
            hook.identify(user["id"])
    raise RuntimeError("some were not sent")


def syncs_again() -> None:
    """The first sync is stopped, and the task begins the next one."""
    for number in range(3):
        try:
            SegmentHook().sync(users(), Identify(user_id="id"), sync_id=f"sync {number}")
        except Exception:
            if number == 2:
                raise


def users_that_hang(at: int) -> Iterator[dict[str, str]]:
    """Yield users, of whom one is waited for."""
    for number, user in enumerate(users()):
        if number == at:
            threading.Event().wait(60)
        yield user


def from_a_source_that_hangs() -> None:
    SegmentHook().sync(users_that_hang(at=5_000), Identify(user_id="id"))


def reads_for_long_before_the_first() -> None:
    SegmentHook().track("Started", "airflow")
    SegmentHook().sync(users_that_hang(at=100), Identify(user_id="id"))


TASKS: dict[str, Callable[[], None]] = {
    work.__name__: work
    for work in (sync, send, one_by_one, syncs_again, from_a_source_that_hangs, reads_for_long_before_the_first)
}


def be_the_run(environment: dict[str, str], dag_id: str, kind: str) -> None:
    """Run the DAG: what a process of its own does."""
    os.environ.update(environment)
    with DAG(dag_id, start_date=None, schedule=None) as dag:
        if kind == "rows":
            SegmentIdentifyOperator(task_id="work", rows=list(users()), call=Identify(user_id="id"))
        else:
            task(task_id="work", on_failure_callback=SegmentNotifier(event="Failed", user_id="airflow"))(TASKS[kind])()
    runs.run(dag)


def left(dag_id: str) -> dict[str, Any]:
    """Return what a DAG's task has left, by key; XComs are in one table on Airflow 2 and 3."""
    query = "SELECT key, value FROM xcom WHERE dag_id = ? AND task_id = 'work'"
    with closing(sqlite3.connect(Path(os.environ["AIRFLOW_HOME"]) / "airflow.db")) as database:
        return {key: json.loads(value) for key, value in database.execute(query, (dag_id,)).fetchall()}


@pytest.mark.parametrize("kind", [*TASKS, "rows"])
def test_a_task_that_gets_sigterm_sends_nothing_more(segment: SegmentServer, kind: str) -> None:
    """After SIGTERM only what was on its way arrives, the process ends by itself in time, and the report is there."""
    connection = json.loads(segment.connection) | {"extra": {"events_per_second": LIMIT}}
    environment = {"AIRFLOW_CONN_SEGMENT_DEFAULT": json.dumps(connection)}
    child = processes.start(be_the_run, environment, f"ended_{kind}", kind)
    try:
        enough = 1 if kind == "reads_for_long_before_the_first" else 5
        until(lambda: len(segment.requests) >= enough)
        before, sent_at = len(segment.messages), time.monotonic()
        os.kill(child.pid or 0, signal.SIGTERM)
        child.join(SECONDS_TO_END)  # then Airflow 3 kills it
        took = time.monotonic() - sent_at
    finally:
        child.kill()
        child.join(60)
    assert took < SECONDS_TO_END, "it was killed"
    in_flight = IN_FLIGHT * (1 if kind in ("one_by_one", "reads_for_long_before_the_first") else BATCH)
    assert len(segment.messages) - before <= in_flight + 1
    xcoms = left(f"ended_{kind}")
    assert "return_value" not in xcoms
    report = xcoms["report"]
    assert report["calls"] == sum(report[name] for name in COUNTS)
    news = [message for message in segment.messages if message.get("event") == "Failed"]
    assert len(news) == (kind != "rows")  # a callback tells of the end all the same
    if kind not in ("one_by_one", "reads_for_long_before_the_first"):  # of many runs it is the last one's
        assert report["accepted"] == len(segment.messages) - len(news) > 0


def a_task() -> TaskRun:
    """Return a task of its own."""
    return TaskRun(("dag", "task", uuid.uuid4().hex, -1), 1)


class TestHandler:
    """What is done to the process."""

    @pytest.fixture(autouse=True)
    def _signals(self) -> Iterator[None]:
        before = signal.getsignal(signal.SIGTERM)
        yield
        signal.signal(signal.SIGTERM, before)

    def test_the_handler_that_was_there_is_called(self) -> None:
        """Airflow's handler, or one of the user's, is called as well; and so is one that was set on top of ours."""
        called: list[str] = []
        signal.signal(signal.SIGTERM, lambda *_: called.append("first"))
        task_run = a_task()
        sigterm.watch(task_run)
        ours: Any = signal.getsignal(signal.SIGTERM)

        def second(*arguments: Any) -> None:
            called.append("second")
            ours(*arguments)

        signal.signal(signal.SIGTERM, second)
        sigterm.watch(task_run)
        os.kill(os.getpid(), signal.SIGTERM)
        until(lambda: len(called) == 2)
        assert called == ["second", "first"]
        with pytest.raises(Exception, match=r"the task was told to end \(SIGTERM\); it sends nothing more"):
            sigterm.watch(task_run)
        sigterm.watch(replace(task_run, try_number=2))  # its next try is another matter

    @pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN], ids=["default", "ignored"])
    def test_outside_airflow(self, handler: Any) -> None:
        """Where nobody handles the signal, and outside a task, the process's signals are not touched."""
        signal.signal(signal.SIGTERM, handler)
        sigterm.watch(a_task())
        assert signal.getsignal(signal.SIGTERM) is handler

    def test_no_task(self, segment: SegmentServer) -> None:
        """A script's own handler stays alone."""

        def own(*_: Any) -> None: ...

        signal.signal(signal.SIGTERM, own)
        SegmentHook().identify("u1")
        assert signal.getsignal(signal.SIGTERM) is own

    def test_other_threads(self) -> None:
        """Python lets only the main thread set handlers: in another one the task runs without."""

        def own(*_: Any) -> None: ...

        signal.signal(signal.SIGTERM, own)
        thread = threading.Thread(target=sigterm.watch, args=(a_task(),))
        thread.start()
        thread.join()
        assert signal.getsignal(signal.SIGTERM) is own
