"""A run with sync_mode="changes" that is killed at any moment leaves a state from which the next run makes it good."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import signal
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sending import LIBRARY
from waiting import until

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.delivery.pace import Pace
from airflow_provider_segment.core.delivery.retries import RetryPolicy
from airflow_provider_segment.core.delivery.sender import Delivery
from airflow_provider_segment.core.delivery.transport import Transport
from airflow_provider_segment.core.job import SyncJob
from airflow_provider_segment.core.mapping.message_ids import Namespace
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.pipeline import sync
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.testing import SegmentServer

ROWS = 1_500
KILLS = 20
RANDOM = random.Random(20_261_122)  # noqa: S311  the moments of the kills, the same in each run of the tests


def table(version: int) -> list[tuple[int, str]]:
    """Return the table: each version changes a third of the rows, drops some and brings them back."""
    rows = [(n, f"v{version if n % 3 == version % 3 else version - 1}") for n in range(ROWS)]
    return [row for row in rows if row[0] % 50 != version % 2]


def send(url: str, path: str, version: int, holder: str, page: int) -> None:
    """Be one run: what happens in a process of its own."""
    options = Options(key="id", sync_mode="changes", state_path=path, max_deleted=1)
    calls = [Identify("id", traits=["x"]), Track(Constant("Gone"), "id", on_change=["deleted"])]
    engine = sa.create_engine(sa.engine.URL.create("sqlite", database=path))
    rows = table(version)
    pages = [rows[start : start + page] for start in range(0, len(rows), page)]
    with closing(State(engine, "users", "a source", Holder(run_id=holder))) as state:
        job = SyncJob(calls, Namespace("unused"), options, state=state)
        transport = Transport(f"{url}/v1", "the-write-key-of-the-tests-00000", library=LIBRARY)
        with Delivery(transport, RetryPolicy(deadline=20), Pace(), 4) as delivery:
            delivery.max_events = 50
            sync(Pages(["id", "x"], pages, "tests"), job, delivery, Report())


def end_lease(path: Path) -> None:
    """Let the lease of a killed run, if it got that far, run out now, not after a minute."""
    with closing(sqlite3.connect(path)) as database, suppress(sqlite3.OperationalError), database:
        database.execute("UPDATE segment_sync SET expires = 0")


def heard(segment: SegmentServer) -> dict[str, list[str]]:
    """Return what Segment heard of each user, in the order in which it came."""
    said: dict[str, list[str]] = {}
    for message in segment.messages:
        said.setdefault(message["userId"], []).append(message["traits"]["x"] if "traits" in message else "gone")
    return said


@pytest.fixture
def start(segment: SegmentServer, tmp_path: Path) -> Any:
    """Start a run in a new process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "airflow_provider_segment.core.changes.comparison"])

    def process(version: int, holder: str) -> Any:
        child = context.Process(target=send, args=(segment.url, str(tmp_path / "state.db"), version, holder, 200))
        child.start()
        return child

    return process


def test_kills_at_any_moment(segment: SegmentServer, start: Any, tmp_path: Path) -> None:
    """After twenty kills, each followed by another run, Segment has the table, and heard nothing twice."""
    cut_short = 0
    for version in range(1, KILLS + 1):
        requests, moment = len(segment.requests), RANDOM.uniform(0, 14)
        segment.delay = moment % 1 / 50  # so that some kills find answers on their way
        child = start(version, f"run {version}")
        until(lambda: len(segment.requests) - requests >= int(moment) or child.exitcode is not None)  # noqa: B023
        child.kill()
        child.join(30)
        end_lease(tmp_path / "state.db")
        cut_short += child.exitcode == -signal.SIGKILL
        segment.stop()  # waits for what it still holds of the killed
        segment.start()
        segment.delay = 0.0
        if version % 2:  # a run of its own; after the other kills the next version comes at once
            child = start(version, f"second run {version}")
            child.join(60)
            assert child.exitcode == 0
            last = {user: said[-1] for user, said in heard(segment).items()}
            assert {str(n): last.get(str(n)) for n, _ in table(version)} == {str(n): x for n, x in table(version)}
    for said in heard(segment).values():
        # A user who left, came back unheard of, and left again has left twice.
        assert all(one != other or one == "gone" for one, other in itertools.pairwise(said)), said
    assert cut_short >= KILLS // 2
