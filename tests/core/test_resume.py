"""A later try skips what an earlier one had acknowledged: which calls are the same, what is remembered, how long."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TypeAlias

import pytest
import sqlalchemy as sa
from sending import adds_up, delivery_to, run

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.core.changes import resume_database
from airflow_provider_segment.core.changes.resume import Resume, numbers_of
from airflow_provider_segment.core.changes.resume_database import DatabaseMemory
from airflow_provider_segment.core.delivery.pace import Pace
from airflow_provider_segment.core.errors import RejectedError, StateError
from airflow_provider_segment.core.mapping.message_ids import Namespace
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.testing import SegmentServer

RANDOM = random.Random(20_261_126)  # noqa: S311  the same rows in each run of the tests
USERS = Identify(user_id="id", traits=["name"])
MemoryOf: TypeAlias = Callable[[int], DatabaseMemory]


class ListMemory:
    """A memory in a list."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def earlier(self) -> Iterator[bytes]:
        yield from self.parts

    def add(self, numbers: bytes) -> None:
        self.parts.append(numbers)


@pytest.fixture
def memory_of(tmp_path: Path) -> Iterator[MemoryOf]:
    """Opens a run's memory in the file `s.db`; what the test leaves open, as a killed try does, is closed after it."""
    with ExitStack() as stack:

        def opened(run: int) -> DatabaseMemory:
            memory = DatabaseMemory(sa.create_engine(f"sqlite:///{tmp_path / 's.db'}"), run)
            stack.callback(memory.close)
            return memory

        yield opened


NAMES = {
    "two ids of ours": (
        b'{"type":"x","messageId":"%032x"}' % (1 << 64),
        b'{"type":"x","messageId":"%032x"}' % 0,
        False,
    ),
    "one id of ours": (b'{"a":1,"messageId":"%032x"}' % (5 << 64), b'{"b":2,"messageId":"%032x"}' % (5 << 64), True),
    "one own id, two contents": (b'{"messageId":"m","a":1}', b'{"messageId":"m","a":2}', False),
    "the same message": (b'{"messageId":"m","a":1}', b'{"messageId":"m","a":1}', True),
    "ours inside an own one": (b'{"messageId":"m","a":"%032x"}' % 1, b'{"a":"","messageId":"%032x"}' % 1, False),
}


@pytest.mark.parametrize(("one", "other", "same"), NAMES.values(), ids=NAMES)
def test_what_tells_messages_apart(one: bytes, other: bytes, same: bool) -> None:
    """An id of ours says all of a message; one that the user gave says it only together with the content."""
    first, second = numbers_of([one]), numbers_of([other])
    assert len(first) == len(second) == 8
    assert (first == second) is same


@pytest.mark.parametrize("keyed", [True, False], ids=["with a key", "without"])
def test_never_skips_what_was_not_acknowledged(segment: SegmentServer, keyed: bool) -> None:
    """Whatever part was acknowledged, in whatever order the rows come again: exactly the others are sent."""
    rows = [(f"u{n}", f"n{n % 50}") for n in range(3_000)]
    rows += rows[:200] if not keyed else []
    memory, options = ListMemory(), {"key": "id"} if keyed else {}
    for attempt in range(1, 5):
        RANDOM.shuffle(rows)
        share = [*rows] if attempt == 4 else rows[: RANDOM.randrange(1, len(rows))]
        before = len(segment.messages)
        report, resume = Report(), Resume(memory)
        run(segment, ["id", "name"], [share], [USERS], report=report, resume=resume, **options)
        assert adds_up(report)
        assert report.unchanged == resume.skipped
        assert report.accepted == len(segment.messages) - before
    assert segment.duplicates == []
    assert len(segment.messages) == len(rows)


def test_refused_events_are_not_remembered(segment: SegmentServer) -> None:
    """An event that Segment refused comes again, and when it is all that is left, the write key is not blamed."""
    segment.refuse(lambda message: message["userId"] == "u7")
    rows, memory = [(f"u{n}", "x") for n in range(20)], ListMemory()
    for accepted, unchanged in ((19, 0), (0, 19)):
        report = Report()
        with pytest.raises(RejectedError, match="1 of 20 calls were refused"):
            run(segment, ["id", "name"], [rows], [USERS], report=report, resume=Resume(memory))
        assert (report.accepted, report.unchanged, report.rejected) == (accepted, unchanged, 1)
        assert adds_up(report)


def test_rows_that_make_several_calls(segment: SegmentServer) -> None:
    """Each call of a row is known by itself; one that is added to the mapping is sent for all rows."""
    rows, memory = [(f"u{n}", "x") for n in range(100)], ListMemory()
    run(segment, ["id", "name"], [rows], [USERS], resume=Resume(memory))
    seen = Track(event=Constant("Seen"), user_id="id")
    report = run(segment, ["id", "name"], [rows], [USERS, seen], resume=Resume(memory))
    assert (report.accepted, report.unchanged) == (100, 100)
    assert {message["type"] for message in segment.messages[100:]} == {"track"}


class TestDatabase:
    """The memory in a database."""

    def test_life(self, memory_of: MemoryOf) -> None:
        """What was added is there for the next try, of this run only, until the run has succeeded."""
        first = memory_of(1)
        assert (first.accepted, [*first.earlier()]) == (None, [])
        parts = [bytes([n]) * 8 for n in range(resume_database._AT_ONCE * 2 + 1)]
        for part in parts:
            first.add(part)
        memory_of(2).add(b"another!")  # killed: nobody closes it
        second = memory_of(1)
        assert b"".join(second.earlier()) == b"".join(parts)
        second.succeeded(7)
        second.close()
        third = memory_of(1)
        assert (third.accepted, [*third.earlier()]) == (7, [])
        assert [*memory_of(2).earlier()] == [b"another!"]

    def test_old_runs_are_forgotten(self, tmp_path: Path, memory_of: MemoryOf, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a run that never succeeded has left is removed by a run of a month later, and not before."""
        path = tmp_path / "s.db"
        memory_of(1).add(bytes(8))
        now = time.time()
        for days, left in ((resume_database.KEPT_DAYS - 1, 1), (resume_database.KEPT_DAYS + 2, 0)):
            monkeypatch.setattr(time, "time", lambda days=days: now + 86_400 * days)
            memory_of(2).close()
            with closing(sqlite3.connect(path)) as database:
                assert database.execute("SELECT count(*) FROM segment_acknowledged").fetchone()[0] == left

    def test_lost_on_the_way(self, tmp_path: Path, memory_of: MemoryOf, caplog: pytest.LogCaptureFixture) -> None:
        """What could not be written is logged without its text, and written with the next batch."""
        path = tmp_path / "s.db"
        memory = memory_of(1)
        with closing(sqlite3.connect(path)) as database:
            database.execute("ALTER TABLE segment_acknowledged RENAME TO away")
            memory.add(b"12345678")
            assert "could not be noted for a retry (sqlite3.OperationalError)" in caplog.text
            database.execute("ALTER TABLE away RENAME TO segment_acknowledged")
        memory.add(b"87654321")
        assert b"".join(memory.earlier()) == b"1234567887654321"

    def test_broken_from_the_start(self, tmp_path: Path, memory_of: MemoryOf) -> None:
        """A database that cannot be opened fails the run before anything is sent, and names the error only."""
        (tmp_path / "s.db").write_bytes(b"this is no database" * 100)
        with pytest.raises(StateError, match=r"^The state's database failed at opening it: sqlite3\.DatabaseError$"):
            memory_of(1)

    def test_no_personal_data(self, segment: SegmentServer, tmp_path: Path, memory_of: MemoryOf) -> None:
        """Eight bytes of a hash are kept of each message, and nothing of a row."""
        path = tmp_path / "s.db"
        memory = memory_of(1)
        run(segment, ["id", "name"], [[("u1", "Ada Lovelace")]], [USERS], resume=Resume(memory))
        memory.close()
        with closing(sqlite3.connect(path)) as database:
            rows = database.execute("SELECT length(numbers) FROM segment_acknowledged").fetchall()
        assert rows == [(8,)]
        assert b"Lovelace" not in path.read_bytes()


def test_stopped_is_not_a_deadline(segment: SegmentServer) -> None:
    """Batches of a run that was stopped are reported as such, not as ones that Segment did not take in time."""
    segment.respond_with(lambda _: 500)
    delivery, report = delivery_to(segment, pace=Pace(1_000)), Report()
    pages = ([(f"u{n}", "x")] for n in range(10_000))

    def stopping() -> Iterator[list[tuple[str, str]]]:
        for number, page in enumerate(pages):
            if number == 500:
                delivery.stop()
            yield page

    with pytest.raises(Exception, match=r"^the run was stopped"):
        run(segment, ["id", "name"], stopping(), [USERS], delivery=delivery, report=report, namespace=Namespace("x"))
    assert adds_up(report)
    assert report.rows == 500
    assert json.dumps(report.as_dict())
