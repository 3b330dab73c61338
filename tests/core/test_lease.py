"""The lease on a state: who holds it is said at once, it is taken when it is free, and each run is written down."""

from __future__ import annotations

import logging
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from waiting import until

from airflow_provider_segment.core.changes.entries import Entry
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.shared_run import SharedRun
from airflow_provider_segment.core.changes.shared_state import SharedState
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.errors import LeaseError, SettingError, StateError

MINE = Holder("shop", "customers", "monday", -1, 1)
OTHER = Holder("shop", "customers", "tuesday", -1, 1)
HELD = r"held by DAG shop, task customers, run monday, try 1, since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC"  # a pattern


@pytest.fixture
def states(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens the state of the sync `users` for a holder; seconds are of the lease."""
    engines: list[sa.engine.Engine] = []

    @contextmanager
    def opened(holder: Holder, seconds: int = 60, **more: Any) -> Iterator[State]:
        engine = sa.create_engine(f"sqlite:///{tmp_path / 'state.db'}")
        engines.append(engine)
        kind = more.pop("kind", State)
        with kind(engine, more.pop("sync_id", "users"), "key", holder, lease_seconds=seconds, **more) as state:
            yield state

    yield opened
    for engine in engines:
        engine.dispose()


def runs(tmp_path: Path) -> list[Any]:
    """What is written down of each run: its number, who it was, and how it ended."""
    columns = "run, run_id, map_index, try_number, state, ended IS NOT NULL"
    with closing(sqlite3.connect(tmp_path / "state.db")) as database:
        return database.execute(f"SELECT {columns} FROM segment_run ORDER BY run").fetchall()  # noqa: S608  of the test


def test_a_lease_is_taken_as_soon_as_it_is_free(states: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """Who waits says at once for whom, since when, and for how long at most; and goes on when the other has ended."""
    caplog.set_level(logging.INFO)
    taken: list[float] = []

    def take() -> None:
        with states(OTHER):
            taken.append(time.monotonic())

    with states(MINE):
        waiting = threading.Thread(target=take)
        waiting.start()
        until(lambda: "Waiting" in caplog.text)
        assert re.search(HELD, caplog.text)
        assert "Waiting for it, at most 61 s; then the task fails for a retry. Set max_active_runs=1" in caplog.text
        assert taken == []
    freed = time.monotonic()
    waiting.join(30)
    assert taken[0] - freed < 10  # not the minute that a lease lasts
    assert "its state is free, after" in caplog.text


def test_who_waits_in_vain_learns_who_holds_it(states: Callable[..., Any]) -> None:
    """The error names the holder, and what to set."""
    with states(MINE), pytest.raises(LeaseError, match=HELD) as caught, states(OTHER, 0):
        pass
    text = str(caught.value)
    assert text.startswith("sync_id 'users': another run is writing its state; they must not run at once. It is held")
    assert text.endswith(
        "Waited for 1 s. Set max_active_runs=1 for the DAG, so that its runs do not meet, and retries for the task"
    )


@pytest.mark.parametrize(
    ("holder", "mode", "said"),
    [
        (Holder("d", "t", "r", 3, 2), "changes", "DAG d, task t, map index 3, run r, try 2, since"),
        (Holder(run_id="x"), "changes", "a run outside of a task, since"),
        (Holder(run_id="reset of users"), "reset", "a reset, since"),
    ],
    ids=["mapped", "outside", "reset"],
)
def test_every_kind_of_holder_is_named(states: Callable[..., Any], holder: Holder, mode: str, said: str) -> None:
    """A mapped task, a script and a reset are named as such."""
    with states(holder, mode=mode), pytest.raises(LeaseError, match=f"It is held by {said}"), states(OTHER, 0):
        pass


def test_a_holder_of_an_older_version_is_named_as_such(states: Callable[..., Any], tmp_path: Path) -> None:
    """A run of a version that writes no history down holds its lease all the same."""
    with states(MINE):
        with closing(sqlite3.connect(tmp_path / "state.db")) as database, database:
            database.execute("DELETE FROM segment_run")
        with pytest.raises(LeaseError, match="held by a run of an older version of this package"), states(OTHER, 0):
            pass


def test_each_run_is_written_down(states: Callable[..., Any], tmp_path: Path) -> None:
    """Succeeded, failed, stopped, killed: each try has a row that says which."""
    with states(MINE):
        pass
    with pytest.raises(ValueError, match="x"), states(MINE):
        raise ValueError("x")
    with pytest.raises(KeyboardInterrupt), states(MINE):
        raise KeyboardInterrupt
    with states(MINE) as killed, states(Holder("shop", "customers", "monday", -1, 2)):  # noqa: F841  it holds the lease
        assert [row[4] for row in runs(tmp_path)] == ["success", "failed", "killed", "killed", "running"]
    assert runs(tmp_path) == [
        (1, "monday", -1, 1, "success", 1),
        (2, "monday", -1, 1, "failed", 1),
        (3, "monday", -1, 1, "killed", 1),
        (4, "monday", -1, 1, "killed", 1),
        (5, "monday", -1, 2, "success", 1),
    ]


def test_history_has_an_end(states: Callable[..., Any], tmp_path: Path) -> None:
    """Runs of more than 90 days ago are forgotten."""
    with states(MINE):
        pass
    with closing(sqlite3.connect(tmp_path / "state.db")) as database, database:
        database.execute("UPDATE segment_run SET started = started - 91 * 86400")
    with states(OTHER):
        pass
    assert [row[1] for row in runs(tmp_path)] == ["tuesday"]


def test_a_reset_of_all_forgets_the_history(states: Callable[..., Any], tmp_path: Path) -> None:
    """A new state may get the number of the old one: nothing of that may be taken for its own."""
    with states(MINE) as state:
        state.forget()
    assert runs(tmp_path) == []


# One sync is one task of a DAG run

MAPPED = [Holder("shop", "customers", "monday", index, 1) for index in range(2)]
TASKS = [Holder("shop", name, "monday", -1, 1) for name in ("eu", "us")]
THIRD = Holder("shop", "customers", "tuesday", 1, 1)
ALLOWED: dict[str, tuple[Holder, Holder, dict[str, Any], dict[str, Any]]] = {
    "a later try": (MAPPED[0], Holder("shop", "customers", "monday", 0, 2), {"deletes": True}, {"deletes": True}),
    "the same one cleared": (MAPPED[0], MAPPED[0], {"deletes": True}, {"deletes": True}),
    "another run": (MAPPED[0], THIRD, {"deletes": True}, {"deletes": True}),
    "tasks that delete nothing": (TASKS[0], TASKS[1], {}, {}),
    "two scripts": (Holder(run_id="a"), Holder(run_id="a", map_index=1), {"deletes": True}, {"deletes": True}),
    "another sync": (MAPPED[0], MAPPED[1], {"sync_id": "another"}, {}),
}


@pytest.mark.parametrize(("first", "second", "one", "two"), ALLOWED.values(), ids=ALLOWED)
def test_a_sync_may_run_again(
    states: Callable[..., Any], first: Holder, second: Holder, one: dict[str, Any], two: dict[str, Any]
) -> None:
    """Tries, cleared tasks and later runs go on where the one before ended; so do tasks that delete nothing."""
    with states(first, **one):
        pass
    with states(second, **two):
        pass


REFUSED: dict[str, tuple[Holder, Holder, bool, bool, str]] = {
    "mapped": (*MAPPED, True, True, "map index 0 of this task has it in this DAG run"),
    "mapped, nothing deleted": (*MAPPED, False, False, "map index 0 of this task has it in this DAG run"),
    "mapped, a later try": (
        MAPPED[0],
        Holder("shop", "customers", "monday", 1, 2),
        True,
        True,
        "map index 0 of this task has it in this DAG run",
    ),
    "the second deletes": (*TASKS, False, True, "task eu has it in this DAG run"),
    "the first deletes": (*TASKS, True, False, "task eu has it in this DAG run"),
}


@pytest.mark.parametrize("is_held", [True, False], ids=["held", "was held"])
@pytest.mark.parametrize(("first", "second", "one", "two", "said"), REFUSED.values(), ids=REFUSED)
def test_tasks_of_a_run_that_share_a_sync_are_refused(
    states: Callable[..., Any], first: Holder, second: Holder, one: bool, two: bool, said: str, is_held: bool
) -> None:
    """Each would take the other's keys for gone: the second is refused at once, whether the first has ended or not."""
    began = time.monotonic()
    with states(first, deletes=one):
        if is_held:
            with pytest.raises(SettingError, match=said), states(second, deletes=two):
                pass
    with (
        pytest.raises(SettingError, match=rf"^sync_id 'users': {said} \(since 20.* UTC\)"),
        states(second, deletes=two),
    ):
        pass
    assert time.monotonic() - began < 10
    with states(first, deletes=one):  # it is still its own
        pass


# A file that another program holds


def test_a_locked_file_is_named_as_such(states: Callable[..., Any], tmp_path: Path) -> None:
    """A file that another process keeps locked is no mystery: the error says so, and what to do."""
    with states(MINE) as state:
        number, _ = state.call("identify")
        state._connection.run("waiting less", lambda c: c.exec_driver_sql("PRAGMA busy_timeout=50"))
        with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            text = r"sqlite3.OperationalError: another process has kept the SQLite file locked.*state_conn_id"
            with pytest.raises(StateError, match=text):
                state.save([Entry(number, 1, 5, 1, 1)])
            other.execute("ROLLBACK")
        state.save([Entry(number, 1, 5, 1, 1)])
        assert state.known(number, [1])[1][1] == 5


def test_a_lease_whose_run_has_ended_is_taken_at_once(
    states: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A run of several tasks holds it for an hour, and may end without giving it back; its tasks write no more then."""
    asked: list[Holder] = []

    def has_ended(holder: Holder) -> bool:
        asked.append(holder)
        return True

    with states(MINE, 3_600) as left:
        with states(OTHER, shared=SharedRun(has_ended=has_ended, wait_seconds=0)) as state:
            assert (asked, state.run) == ([MINE], left.run + 1)
        assert re.search(f"{HELD}.*That run has ended in the middle: this one takes it over", caplog.text)
        with pytest.raises(LeaseError, match="another run has taken over its state"):
            left.seen([])


def test_a_lease_lasts_longer_from_the_plan_on(states: Callable[..., Any], tmp_path: Path) -> None:
    """Until a run of several tasks has its plan one process holds it, whose death is noticed in a minute."""

    def lasts() -> float:
        with closing(sqlite3.connect(tmp_path / "state.db")) as database:
            return database.execute("SELECT expires FROM segment_sync").fetchone()[0] - time.time()

    with states(MINE, kind=SharedState, shared=SharedRun(pickup_seconds=3_600)) as state:
        assert 50 < lasts() <= 61
        state.keep_plan({})
        assert 3_590 < lasts() <= 3_601
