"""What a batch on its way may change stands in the state before it is posted; a killed run leaves it to the next."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.testing import SegmentServer

CALLS = [Identify("id", traits=["plan"]), Track(Constant("Left"), "id", on_change="deleted")]
IDENTIFY = CALLS[0].identity


class Killed:
    """A sync whose file can be had as a kill leaves it, when a request of a run has come."""

    def __init__(self, segment: SegmentServer, folder: Path) -> None:
        self._segment, self._folder = segment, folder
        self.path = folder / "state.db"

    def sync(self, rows: dict[int, str], **options: Any) -> Report:
        """Be one run."""
        return self.sync_rows([{"id": number, "plan": plan} for number, plan in rows.items()], **options)

    def sync_rows(self, rows: Iterable[dict[str, Any]], **options: Any) -> Report:
        """Be one run."""
        place = {"state_path": str(self.path), "sync_id": "users", "key": "id", "max_deleted": 1}
        return SegmentHook().sync(rows, CALLS, sync_mode="changes", **place, **options)

    def kill(self, rows: dict[int, str]) -> None:
        """Be one run that is killed when Segment has its first request, and let its lease run out."""
        left = self._folder / "left.db"
        came: list[Any] = []

        def keep(request: Any) -> None:
            if not came:
                for end in ("", "-wal"):
                    shutil.copy(f"{self.path}{end}", f"{left}{end}")
            came.append(request)

        self._segment.respond_with(keep)
        self.sync(rows)
        assert came
        self.path = left
        self.sql("UPDATE segment_sync SET expires = 0")

    def sql(self, statement: str) -> list[Any]:
        """Run a statement on the state's file."""
        with closing(sqlite3.connect(self.path)) as database, database:
            return database.execute(statement).fetchall()

    def explained(self, key: int) -> str:
        """What is known of one key."""
        found = SegmentHook().explain("users", [key], state_path=str(self.path))
        return next(one["state"] for one in found if one["call"] == IDENTIFY)


@pytest.fixture
def killed(segment: SegmentServer, tmp_path: Path) -> Killed:
    """A sync whose runs can be killed."""
    return Killed(segment, tmp_path)


WAYS: list[Callable[[Killed], Report]] = [
    lambda k: k.sync({1: "a", 2: "a"}, validate_only=True),
    lambda k: k.sync({1: "a", 2: "a"}),
]


@pytest.mark.parametrize("way", WAYS, ids=["validate_only", "a run"])
def test_old_value_comes_back(killed: Killed, way: Callable[[Killed], Report]) -> None:
    """Segment got b, nobody knows it, and the source is at a again: a is sent, and a run that sends nothing says so."""
    killed.sync({1: "a", 2: "a"})
    killed.kill({1: "b", 2: "a"})
    report = way(killed)
    assert (report.added, report.updated, report.deleted) == (0, 1, 0)


@pytest.mark.parametrize("way", WAYS, ids=["validate_only", "a run"])
def test_key_that_left_comes_back(killed: Killed, way: Callable[[Killed], Report]) -> None:
    """Segment heard that a user has left, nobody knows it, and the user is there again: it is sent."""
    killed.sync({1: "a", 2: "a"})
    killed.kill({2: "a"})
    report = way(killed)
    assert (report.added, report.updated, report.deleted) == (1, 0, 0)


def test_explained(killed: Killed) -> None:
    """Until the next run `explain` tells that a key was on its way, and after it what that has done."""
    killed.sync({1: "a", 2: "a"})
    killed.kill({1: "b", 2: "a"})
    assert (killed.explained(1), killed.explained(2)) == ("on its way", "accepted")
    killed.sync({1: "a", 2: "a"})
    assert killed.explained(1) == "accepted"


def test_explained_after_a_refusal(killed: Killed, segment: SegmentServer) -> None:
    """A row that was refused and is mended is on its way in a run that is killed; the old refusal is told no more."""
    killed.sync({1: "a", 2: "a"})
    segment.refuse(lambda message: message.get("traits", {}).get("plan") == "bad")
    killed.sync({1: "bad", 2: "a"}, max_rejected=2)
    assert killed.explained(1) == "refused"
    killed.kill({1: "b", 2: "a"})
    assert killed.explained(1) == "on its way"


def test_explained_after_a_refusal_and_a_run_without_an_end(killed: Killed, segment: SegmentServer) -> None:
    """A row that was refused and is mended was accepted, also where the source failed later in the run."""
    killed.sync({1: "a"})
    segment.refuse(lambda message: message.get("traits", {}).get("plan") == "bad")
    killed.sync({1: "bad"}, max_rejected=2)

    def rows() -> Iterator[dict[str, Any]]:
        yield {"id": 1, "plan": "b"}
        yield from ({"id": number, "plan": "a"} for number in range(2, 30_000))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        killed.sync_rows(rows())
    assert killed.explained(1) == "accepted"


def test_nothing_stays(killed: Killed) -> None:
    """After a whole run no batch is on its way, and a dry run changes nothing of what a killed one left."""
    killed.sync({1: "a"})
    assert killed.sql("SELECT * FROM segment_doubt") == []
    killed.kill({1: "b"})
    left = killed.sql("SELECT * FROM segment_doubt")
    killed.sync({1: "b"}, validate_only=True)
    assert len(left) == 1
    assert killed.sql("SELECT * FROM segment_doubt") == left
    killed.sync({1: "b"})
    assert killed.sql("SELECT * FROM segment_doubt") == []


def test_refused_calls_stay_in_doubt(killed: Killed, segment: SegmentServer) -> None:
    """A call that Segment refuses alone is due in the next run, whatever the source says then."""
    killed.sync({1: "a", 2: "a"})
    segment.refuse(lambda message: message["userId"] == "1")
    killed.sync({1: "b", 2: "b"}, max_rejected=2)
    assert killed.sql("SELECT row_key, doubt FROM segment_state WHERE call_no = 1") == [(1, 1), (2, 0)]
    assert killed.sql("SELECT * FROM segment_doubt") == []
