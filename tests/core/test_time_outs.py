"""Airflow's time-out raises wherever a task is: what was acknowledged by then is known to the next try all the same."""

from __future__ import annotations

import gc
import itertools
import sys
from contextlib import closing
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import pytest
import sqlalchemy as sa
from sending import QUICK, adds_up, delivery_to

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.core.accounting import Accounting
from airflow_provider_segment.core.changes import posted, refusals
from airflow_provider_segment.core.changes.doubts import Doubts
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.resume import Resume
from airflow_provider_segment.core.changes.resume_database import DatabaseMemory
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.job import SyncJob
from airflow_provider_segment.core.mapping.message_ids import Namespace
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.pipeline import sync
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.testing import SegmentServer

USERS = Identify("id", traits=["x"])


class TimeOut(BaseException):
    """As Airflow's, which is no Exception."""


class TimeOutAt:
    """Raises TimeOut where a function calls another one, or that one others; a signal comes between any two steps.

    :param function: in whose first call it comes.
    :param call: at which of the calls, from 1 on.
    :ivar came: whether there were so many.
    """

    def __init__(self, function: Any, call: int) -> None:
        self._code = function.__code__
        self._left = call
        self._is_within = False
        self._is_over = False
        self.came = False

    def __enter__(self) -> Self:
        gc.disable()  # what is raised in a destructor is lost
        sys.setprofile(self._see)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        sys.setprofile(None)
        gc.enable()
        # SQLAlchemy has assertions that fail in place of a time-out within its own words.
        return self.came and isinstance(error, TimeOut | AssertionError)

    def _see(self, frame: FrameType, event: str, _: Any) -> None:
        if frame.f_code is self._code and event in ("call", "return"):
            self._is_over = self._is_over or event == "return"
            self._is_within = not self._is_over
        elif self._is_within and event == "call" and not self.came:
            self._left -= 1
            if self._left == 0:
                self.came = True
                raise TimeOut


def test_while_it_is_noted_for_a_retry(tmp_path: Path) -> None:
    """Wherever a time-out comes while a batch is noted, the end of the task notes it."""

    def opened() -> DatabaseMemory:
        return DatabaseMemory(sa.create_engine(f"sqlite:///{tmp_path / 's.db'}"), 1)

    batches = []
    for call in itertools.count(1):
        batches.append(call.to_bytes(8, "big"))
        with closing(opened()) as memory, TimeOutAt(DatabaseMemory.add, call) as time_out:
            memory.add(batches[-1])
        if not time_out.came:
            break
    assert call > 100  # of SQLAlchemy, nearly all
    with closing(opened()) as memory:
        noted = b"".join(memory.earlier())
    assert {noted[start : start + 8] for start in range(0, len(noted), 8)} == set(batches)


@pytest.mark.parametrize("within", [posted.Posted.save, refusals.Refusals.write], ids=["saved", "refusals written"])
def test_while_a_state_is_written(
    tmp_path: Path, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch, within: Any
) -> None:
    """Wherever a time-out comes while the state is written, the end of the run saves all: the next one repeats none."""
    monkeypatch.setattr(posted, "SAVED_AT_ONCE", 1)
    monkeypatch.setattr(refusals, "WRITTEN", 1)
    segment.refuse(lambda message: message["userId"].endswith("_3"))

    def run(call: int, number: int) -> tuple[bool, Report]:
        engine = sa.create_engine(f"sqlite:///{tmp_path / f's{call}.db'}")
        options, report = Options(sync_mode="changes", key="id", state_path="s.db", max_rejected=1), Report()
        rows = Pages(["id", "x"], [[(f"u{call}_{n}", "A") for n in range(6)]], "tests")
        with closing(State(engine, "users", "a source", Holder(run_id=f"run {number}"))) as state:
            job = SyncJob([USERS], Namespace("unused"), options, state=state)
            with (
                TimeOutAt(within, call if number == 1 else 0) as time_out,
                delivery_to(segment, QUICK) as way,
            ):
                way.max_events = 3
                sync(rows, job, way, report)
        engine.dispose()
        assert adds_up(report)
        return time_out.came, report

    for call in itertools.count(1, 17):
        came, first = run(call, 1)
        if not came:
            break
        _, second = run(call, 2)
        assert first.accepted + second.accepted == 5
        assert second.unchanged + second.skipped == first.accepted > 0
    assert call > 100
    assert segment.duplicates == []


def test_while_a_state_is_opened(tmp_path: Path) -> None:
    """A lease that was taken when the time-out came is renewed no more: the next run in the process gets it."""

    def opened(run: int) -> State:
        engine = sa.create_engine(f"sqlite:///{tmp_path / 's.db'}")
        return State(engine, "users", "a source", Holder(run_id=f"run {run}"), lease_seconds=1)

    with TimeOutAt(Doubts.take_over, 5) as time_out:
        opened(1)
    assert time_out.came
    with closing(opened(2)) as state:
        assert state.run == 2


def test_while_it_is_counted(tmp_path: Path, segment: SegmentServer) -> None:
    """Wherever a time-out comes while batches that came back are counted, a retry knows each that was acknowledged."""

    def run(call: int, number: int) -> tuple[bool, Report]:
        memory, report = DatabaseMemory(sa.create_engine(f"sqlite:///{tmp_path / f's{call}.db'}"), 1), Report()
        rows = Pages(["id", "x"], [[(f"u{call}_{n}", "A") for n in range(6)]], "tests")
        with closing(memory):
            job = SyncJob([USERS], Namespace("a run"), Options(), resume=Resume(memory))
            with (
                TimeOutAt(Accounting._count, call if number == 1 else 0) as time_out,
                delivery_to(segment, QUICK, max_in_flight=3) as way,
            ):
                way.max_events = 2
                sync(rows, job, way, report)
        assert adds_up(report)
        return time_out.came, report

    for call in itertools.count(1, 5):
        came, first = run(call, 1)
        if not came:
            break
        _, second = run(call, 2)
        assert second.accepted + second.unchanged == 6
        assert second.unchanged >= first.accepted
    assert call > 100
    assert segment.duplicates == []
