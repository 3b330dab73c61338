"""`sync_mode="changes"`: Segment gets what changed, once, and ends with what the table says."""

from __future__ import annotations

import datetime as dt
import gc
import itertools
import json
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sending import QUICK, adds_up, delivery_to

from airflow_provider_segment.calls import (
    Alias,
    AllColumns,
    Call,
    Constant,
    Group,
    Identify,
    Page,
    Screen,
    Track,
    as_calls,
    check_changes,
)
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.selection import Selection
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.delivery.rejects import LocalRejects
from airflow_provider_segment.core.delivery.retries import RetryPolicy
from airflow_provider_segment.core.errors import (
    DeletionError,
    LeaseError,
    NotSentError,
    RejectedError,
    SegmentError,
    SettingError,
    SourceError,
    StateError,
)
from airflow_provider_segment.core.job import SyncJob
from airflow_provider_segment.core.mapping.message_ids import Namespace, RowKeys
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.pipeline import sync
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.core.rows.keys import numbers_of
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.testing import SegmentServer

ALL = ["added", "updated", "deleted"]
USERS = Identify("id", traits=["x"])
GONE = Track(Constant("Gone"), "id", on_change="deleted")
NEVER = Identify("id", when={"x": "no such value"})
CAME = Track(Constant("Came"), "id", properties=["x"])
EVERYTHING = Identify("id", anonymous_id="x", on_change=ALL)
# The database takes doubts, and what no call is made of, but not what was accepted.
FULL = """CREATE TRIGGER full BEFORE INSERT ON segment_state WHEN NEW.doubt = 0 AND NEW.sent > 0
    BEGIN SELECT RAISE(ABORT, ''); END"""
# One try, so that an answer that does not come ends the run.
ONE_TRY = RetryPolicy(deadline=0.0)


class Table:
    """A sync of a table: each `send` is a run of its own, and all share a state in a SQLite file.

    :param segment: where the calls go.
    :param path: of the state.
    """

    def __init__(self, segment: SegmentServer, path: Path) -> None:
        self.segment = segment
        self.path = path
        self.report = Report()

    @contextmanager
    def state(
        self, write_key: str | None = "a source", holder: str = "a run", sync_id: str = "users"
    ) -> Iterator[State]:
        """The state, held as a run holds it."""
        engine = sa.create_engine(sa.engine.URL.create("sqlite", database=str(self.path)))
        try:
            with closing(State(engine, sync_id, write_key, Holder(run_id=holder))) as state:
                yield state
        finally:
            engine.dispose()

    def send(
        self,
        rows: Sequence[Sequence[Any]],
        calls: Call | Sequence[Call] = USERS,
        *,
        columns: Sequence[str] = ("id", "x"),
        page: int = 2_500,
        max_events: int = 2_500,
        policy: RetryPolicy = QUICK,
        write_key: str = "a source",
        rejects: Path | None = None,
        on_delivery: Callable[[Any], object] = lambda _: None,
        said: list[str] | None = None,
        **options: Any,
    ) -> Report:
        """Run the sync, check that its counts add up whatever is raised, and return its report."""
        settled = Options(**({"sync_mode": "changes", "key": "id", "state_path": str(self.path)} | options))
        checked = as_calls(calls)
        check_changes(checked, "changes", settled.key_columns)
        pages = [rows[start : start + page] for start in range(0, len(rows), page)]
        self.report = report = Report()
        more: dict[str, Any] = {} if rejects is None else {"rejects": LocalRejects(str(rejects))}
        if said is not None:
            more["on_warning"] = said.append
        try:
            with self.state(write_key) as state:
                job = SyncJob(checked, Namespace("unused"), settled, state=state, **more)
                with delivery_to(self.segment, policy, max_in_flight=settled.max_in_flight) as way:
                    way.max_events = max_events
                    on_delivery(way)
                    sync(Pages(columns, pages, "tests"), job, way, report)
        finally:
            assert adds_up(report)
            changed = report.added + report.updated + report.deleted
            assert changed == (report.not_sent if settled.validate_only else report.accepted)
        return report

    def sql(self, statement: str) -> list[Any]:
        """Run a statement on the state's file, as nobody of ours would."""
        with closing(sqlite3.connect(self.path)) as database, database:
            return database.execute(statement).fetchall()

    def unsaved(self, rows: Sequence[Sequence[Any]], calls: Call | Sequence[Call] = USERS, **options: Any) -> None:
        """Run the sync; Segment accepts all, and the database then fails to save it."""
        self.sql(FULL)
        with pytest.raises(StateError, match="failed at saving what was accepted"):
            self.send(rows, calls, **options)
        self.sql("DROP TRIGGER full")

    def unanswered(self, rows: Sequence[Sequence[Any]], calls: Call | Sequence[Call] = USERS, **options: Any) -> None:
        """Run the sync; Segment accepts the first batch, and the acknowledgement does not arrive."""
        self.segment.respond_with(["reset_after"])
        with pytest.raises(NotSentError):
            self.send(rows, calls, policy=ONE_TRY, **options)

    def ousted(self, rows: Sequence[Sequence[Any]], calls: Call | Sequence[Call] = USERS, **options: Any) -> None:
        """Run the sync; while Segment accepts the first batch, a later try takes the lease."""

        def answer(_: object) -> None:
            if not taken:
                taken.append(True)
                with self.state(holder="a run"):
                    pass

        taken: list[bool] = []
        self.segment.respond_with(answer)
        with pytest.raises(LeaseError, match="another run has taken over its state; this one writes no more"):
            self.send(rows, calls, **options)
        self.segment._script.clear()


@pytest.fixture
def table(segment: SegmentServer, tmp_path: Path) -> Table:
    """A sync without a state yet."""
    return Table(segment, tmp_path / "state.db")


CRASHES = {"no answer": Table.unanswered, "not saved": Table.unsaved, "lease lost": Table.ousted}


def ids(segment: SegmentServer) -> list[str]:
    return [message["messageId"] for message in segment.messages]


def traits(segment: SegmentServer, user: str = "1") -> list[Any]:
    """What Segment heard of x for one user, in the order in which it came."""
    return [m["traits"]["x"] for m in segment.messages if m["type"] == "identify" and m["userId"] == user]


def kinds(report: Report) -> tuple[int, int, int]:
    return report.added, report.updated, report.deleted


# What changed, and nothing else


def test_first_run_sends_all_and_the_second_nothing(table: Table, segment: SegmentServer) -> None:
    """Segment hears of each row once; a run without changes makes no request."""
    rows = [(n, n % 7) for n in range(1_000)]
    assert kinds(table.send(rows)) == (1_000, 0, 0)
    requests = len(segment.requests)
    report = table.send(rows[::-1])
    assert (report.rows, report.skipped, report.calls) == (1_000, 1_000, 0)
    assert (len(segment.messages), len(segment.requests)) == (1_000, requests)


def test_k_changes_are_k_calls(table: Table, segment: SegmentServer) -> None:
    """Changed, new and gone rows are sent, each once, each as its kind, however the pages and batches fall."""
    rows = dict.fromkeys(range(300), 0)
    calls = [USERS, GONE]
    table.send([*rows.items()], calls)
    segment.reset()
    changed = dict.fromkeys(range(0, 111, 3), 1) | dict.fromkeys(range(300, 320), 0)
    left = {n: x for n, x in (rows | changed).items() if n not in range(200, 211)}
    report = table.send([*left.items()], calls, page=17, max_events=5)
    assert kinds(report) == (20, 37, 11)
    assert (report.accepted, report.batches, len(segment.messages)) == (68, len(segment.requests), 68)
    assert {int(m["userId"]) for m in segment.messages if m["type"] == "identify"} == changed.keys()
    assert {int(m["userId"]) for m in segment.messages if m.get("event") == "Gone"} == {*range(200, 211)}
    segment.reset()
    table.send([*left.items()], calls)
    assert segment.requests == []


MAPPINGS: dict[str, tuple[list[Call], int]] = {
    "the same": ([USERS, CAME], 0),
    "a trait more": ([Identify("id", traits=["x", "y"]), CAME], 3),
    "a constant more": ([Identify("id", traits={"x": "x", "c": Constant(1)}), CAME], 3),
    "a property more, on what is no event any more": ([USERS, Track(Constant("Came"), "id", properties=["x", "y"])], 0),
    "a call more": ([USERS, CAME, Group("y", "id")], 3),
    "a call more, first": ([Group("y", "id"), USERS, CAME], 3),
    "another label": ([Identify("id", traits=["x"], label="people"), CAME], 3),
    "calls turned round": ([CAME, USERS], 0),
    "a call less": ([USERS], 0),
    "a call turned off": ([USERS, Track(Constant("Came"), "id", properties=["x"], enabled=False)], 0),
    "said otherwise": ([Identify("id", traits={"x": "X"}), CAME], 0),
    "a message id of its own": ([Identify("id", traits=["x"], message_id="m"), CAME], 0),
}


@pytest.mark.parametrize(("calls", "due"), MAPPINGS.values(), ids=MAPPINGS)
def test_another_mapping_sends_what_it_changes(
    table: Table, segment: SegmentServer, calls: list[Call], due: int
) -> None:
    """A changed mapping sends what is new in it: calls are known by their identity, not by their place."""
    rows = [(n, "x", "y", f"m{n}") for n in range(3)]
    columns = ("id", "x", "y", "m")
    table.send(rows, [USERS, CAME], columns=columns)
    segment.reset()
    assert table.send(rows, calls, columns=columns).accepted == len(segment.messages) == due


SAME: dict[str, tuple[Call, Call, tuple[Any, ...], tuple[Any, ...]]] = {
    "an unmapped column": (USERS, USERS, (1, 1, 1), (1, 1, 2)),
    "names of traits": (Identify("id", traits=["x", "y"]), Identify("id", traits=["y", "x"]), (1, 1, 2), (1, 1, 2)),
    "nested names": (
        Identify("id", traits={"a.x": "x", "a.y": "y"}),
        Identify("id", traits={"a": {"y": "y", "x": "x"}}),
        (1, 1, 2),
        (1, 1, 2),
    ),
    "all columns, said one by one": (
        Identify("id", traits=AllColumns()),
        Identify("id", traits=["y", "x"]),
        (1, 1, 2),
        (1, 1, 2),
    ),
    "integrations": (
        Identify("id", integrations={"All": False, "A": True}),
        Identify("id", integrations={"A": True, "All": False}),
        (1, 1, 1),
        (1, 1, 1),
    ),
}


@pytest.mark.parametrize(("before", "after", "was", "now"), SAME.values(), ids=SAME)
def test_what_means_the_same_is_no_change(
    table: Table, segment: SegmentServer, before: Call, after: Call, was: Any, now: Any
) -> None:
    """A column that no call maps, or the order of names, never causes a call."""
    table.send([was], before, columns=("id", "x", "y"))
    report = table.send([now], after, columns=("id", "x", "y"))
    assert report.unchanged + report.skipped == len(segment.messages) == 1


# The ids of messages, and crashes


def test_a_b_a_has_three_ids(table: Table, segment: SegmentServer) -> None:
    """A value that comes back is a new event, which Segment does not take for a repeat."""
    for x in "ABA":
        assert table.send([(1, x)]).accepted == 1
    assert traits(segment) == ["A", "B", "A"]
    assert len(set(ids(segment))) == 3
    assert segment.duplicates == []


def test_what_no_row_makes_is_a_warning_but_for_deletions(table: Table) -> None:
    """A call that no row fits is warned of in each run; one that only keys that are gone make is none of the rows'.

    Rows that make no call are counted where they are looked at.
    """
    left_out = {"identify: made_by_no_row": 2, "rows: made_no_call": 2}
    rows = [(1, "A"), (2, "B")]
    assert table.send(rows, [NEVER, GONE]).warnings == left_out
    for more in ([], [(3, "C")]):
        report = table.send([*rows, *more], [NEVER, GONE])
        assert report.skipped == 2
        assert report.warnings["identify: made_by_no_row"] == 2 + len(more)
        assert report.warnings.get("rows: made_no_call", 0) == len(more)
    assert table.send(rows, [USERS, GONE]).warnings == {}
    assert table.send([(1, "A")], [USERS, GONE]).warnings == {}


@pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES)
@pytest.mark.parametrize("kind", ALL)
def test_a_crash_before_saving_repeats_the_id(
    table: Table, segment: SegmentServer, kind: str, crash: Callable[..., None]
) -> None:
    """What was acknowledged and not saved is sent again by the next run, under the same id, and then never more."""
    calls = GONE if kind == "deleted" else USERS
    versions = {"added": [[], [(1, "A")]], "updated": [[(1, "A")], [(1, "B")]], "deleted": [[(1, "A")], []]}[kind]
    table.send(versions[0], calls)
    before = len(segment.messages)
    crash(table, versions[1], calls, max_deleted=1)
    assert len(segment.messages) == before + 1
    assert segment.duplicates == []
    assert getattr(table.send(versions[1], calls, max_deleted=1), kind) == 1
    assert len(segment.messages) == before + 1
    assert [m["messageId"] for m in segment.duplicates] == ids(segment)[before:]
    requests = len(segment.requests)
    table.send(versions[1], calls, max_deleted=1)
    assert len(segment.requests) == requests


@pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES)
def test_a_after_an_unsaved_b_is_sent_again(table: Table, segment: SegmentServer, crash: Callable[..., None]) -> None:
    """A saved, B acknowledged and not saved, the source back to A: Segment ends with A, under a new id."""
    table.send([(1, "A")])
    crash(table, [(1, "B")])
    assert table.send([(1, "A")]).updated == 1
    assert traits(segment) == ["A", "B", "A"]
    assert len(set(ids(segment))) == 3
    assert table.send([(1, "A")]).skipped == 1


def test_b_after_an_unsaved_b_and_an_unsaved_c(table: Table, segment: SegmentServer) -> None:
    """A saved, then B and C acknowledged and neither saved, the source back to B: Segment ends with B."""
    table.send([(1, "A")])
    table.unsaved([(1, "B")])
    table.unsaved([(1, "C")])
    table.send([(1, "B")])
    assert traits(segment) == ["A", "B", "C", "B"]


def test_a_after_an_unsaved_a_and_an_unsaved_b(table: Table, segment: SegmentServer) -> None:
    """A new row's A and B acknowledged and neither saved, the source back to A: Segment ends with A."""
    table.send([])
    table.unsaved([(1, "A")])
    table.unsaved([(1, "B")])
    table.send([(1, "A")])
    assert traits(segment) == ["A", "B", "A"]


def test_a_run_that_is_stopped_saves_what_came_back(table: Table, segment: SegmentServer) -> None:
    """The batches that were acknowledged before a run died are not sent again; the others are."""
    segment.respond_with([None, None, 500])
    with pytest.raises(NotSentError):
        table.send([(n, 0) for n in range(10)], max_events=2, max_in_flight=1, policy=ONE_TRY)
    assert table.report.accepted == len(segment.messages) == 4
    report = table.send([(n, 0) for n in range(10)])
    assert (report.unchanged, report.accepted) == (4, 6)
    assert segment.duplicates == []


# Rows that were refused


def test_a_row_that_segment_refused_stays_due(table: Table, segment: SegmentServer) -> None:
    """New and changed rows that Segment refuses are sent by each run, with their newest values, until accepted."""
    table.send([(1, "A"), (2, "A")])
    segment.refuse(lambda message: message["traits"]["x"] == "bad")
    for _ in range(2):
        report = table.send([(1, "bad"), (2, "B"), (3, "bad"), (4, "A")], max_rejected=2)
        assert (report.rejected, report.accepted + report.skipped) == (2, 2)
    report = table.send([(1, "C"), (2, "B"), (3, "C"), (4, "A")])
    assert (kinds(report), report.skipped) == ((1, 1, 0), 2)
    assert (traits(segment, "1"), traits(segment, "3")) == (["A", "C"], ["C"])


def test_a_row_that_is_invalid_stays_due(table: Table, segment: SegmentServer) -> None:
    """A row that breaks a rule is refused by each run, and sent when it is mended; it is not taken for gone."""
    calls = [USERS, GONE]
    table.send([(1, "A"), (2, "A")], calls)
    for _ in range(2):
        report = table.send([(1, "x" * 40_000), (2, "A"), (3, "x" * 40_000)], calls, max_rejected=2, max_deleted=0)
        assert (report.invalid, report.accepted) == (2, 0)
    assert kinds(table.send([(1, "B"), (2, "A"), (3, "B")], calls)) == (1, 1, 0)
    assert traits(segment, "1") == ["A", "B"]


def test_a_refused_value_that_goes_back_is_sent(table: Table, segment: SegmentServer) -> None:
    """A accepted, B refused, back to A: A is sent once more, since B was on its way, and then rests."""
    table.send([(1, "A")])
    segment.refuse(lambda message: message["traits"]["x"] == "B")
    with pytest.raises(RejectedError):
        table.send([(1, "B")])
    assert table.send([(1, "A")]).updated == 1
    assert table.send([(1, "A")]).skipped == 1


# Kinds of changes


def every(kind: type[Call], **more: Any) -> Call:
    """A call that uses ids only, of which one is a column that changes."""
    fields: dict[str, Any] = {"user_id": "id", "anonymous_id": "x"}
    if kind is Alias:
        fields = {"user_id": "x", "previous_id": "id"}
    fields |= {Track: {"event": Constant("E")}, Group: {"group_id": "id"}}.get(kind, {})
    fields |= {"name": Constant("N")} if kind in (Page, Screen) else {}
    return kind(**fields, **more)


MAKES = {
    **{(kind, None): (1, 1, 0) for kind in (Identify, Group, Page, Screen, Alias)},
    (Track, None): (1, 0, 0),
    **{
        (kind, on): tuple(int(name in on) for name in ALL)
        for kind in (Identify, Track, Group, Page, Screen, Alias)
        for on in (("added",), ("updated",), ("deleted",), ("added", "updated"), ("updated", "deleted"), tuple(ALL))
    },
}


@pytest.mark.parametrize(
    ("kind", "on_change", "made"),
    [(*case, made) for case, made in MAKES.items()],
    ids=lambda v: getattr(v, "type", str(v)),
)
def test_a_call_is_made_on_its_changes(
    table: Table, segment: SegmentServer, kind: type[Call], on_change: tuple[str, ...] | None, made: tuple[int, ...]
) -> None:
    """`on_change` says which changes make the call; by default added and updated, for Track added; else `unchanged`."""
    call = every(kind, on_change=on_change)
    found = [table.send(rows, call, max_deleted=1) for rows in ([("1", "A")], [("1", "B")], [])]
    assert [kinds(report) for report in found] == [
        tuple(count if place == n else 0 for place, count in enumerate(made)) for n in range(3)
    ]
    assert [report.unchanged for report in found[:2]] == [1 - made[0], 1 - made[1]]
    assert len(segment.messages) == len(set(ids(segment))) == sum(made)
    assert table.send([], call).calls == 0


def test_each_kind_can_have_an_event_of_its_own(table: Table, segment: SegmentServer) -> None:
    """Created, Changed and Deleted tell a row's life, also when it comes back and goes again."""
    calls = [Track(Constant(f"{kind}"), "id", on_change=kind) for kind in ALL[::2]]
    calls.append(Track(Constant("updated"), "id", properties=["x"], on_change="updated"))
    for rows in ([(1, "A")], [(1, "B")], [], [(1, "B")], []):
        table.send(rows, calls, max_deleted=1)
    assert [m["event"] for m in segment.messages] == ["added", "updated", "deleted", "added", "deleted"]
    assert len(set(ids(segment))) == 5


def test_delete_come_back_delete_again(table: Table, segment: SegmentServer) -> None:
    """Each of them is an event of its own; a run in which the row stays away sends nothing."""
    rows = [(2, "A")]
    for present in (True, False, False, True, False, False):
        table.send([(1, "A"), *rows] if present else rows, EVERYTHING)
    mine = [m for m in segment.messages if m["userId"] == "1"]
    assert len(mine) == len({m["messageId"] for m in mine}) == 4
    assert segment.duplicates == []


def test_delete_again_after_an_unsaved_delete(table: Table, segment: SegmentServer) -> None:
    """Deleted and not saved, come back, deleted again: Segment hears of both deletions."""
    rows = [(2, "A")]
    table.send([(1, "A"), *rows], GONE)
    table.unsaved(rows, GONE)
    table.send([(1, "A"), *rows], GONE)
    table.send(rows, GONE)
    assert [m["userId"] for m in segment.messages] == ["1", "1"]


@pytest.mark.parametrize("on_change", [ALL, ["added", "deleted"]], ids=",".join)
def test_come_back_after_an_unsaved_delete(table: Table, segment: SegmentServer, on_change: list[str]) -> None:
    """Deleted and not saved, then come back: Segment hears that it is back."""
    call, rows = Identify("id", on_change=on_change), [(2,)]
    table.send([(1,), *rows], call, columns=["id"])
    table.unsaved(rows, call, columns=["id"])
    table.send([(1,), *rows], call, columns=["id"])
    assert [m["userId"] for m in segment.messages].count("1") == 3


def test_a_row_that_no_call_wants_any_more_is_not_gone(table: Table, segment: SegmentServer) -> None:
    """A row for which `when` does not hold any more is still there: only a missing key is a deletion."""
    wanted = Identify("id", traits=["x"], when={"x": "A"})
    table.send([(1, "A"), (2, "A")], [wanted, GONE])
    assert table.send([(1, "B"), (2, "A")], [wanted, GONE], max_deleted=0).deleted == 0
    assert len(segment.messages) == 2


@pytest.mark.parametrize("huge", [2**53 + 1, 2**63 - 1, 2**70, Decimal(2**70)], ids=str)
def test_a_deleted_row_is_sent_by_its_ids(table: Table, segment: SegmentServer, huge: Any) -> None:
    """A call on "deleted" has the ids and key columns that the row had last, as they were sent then."""
    call = Group("g", "u", anonymous_id="a", traits={"k": "id", "c": Constant("x")}, on_change=ALL)
    columns, rest = ("id", "g", "u", "a"), [(n, 0, 0, 0) for n in range(4)]
    table.send([(9, 5, "x", "y"), *rest], call, columns=columns)
    table.send([(9, huge, "zä😀", -5), *rest], call, columns=columns)
    table.send(rest, call, columns=columns)
    first, last = (segment.messages[place] for place in (-2, -1))
    assert first["groupId"] == str(huge)
    own = ("messageId", "context", "sentAt", "originalTimestamp", "timestamp")
    assert {k: v for k, v in first.items() if k not in own} == {k: v for k, v in last.items() if k not in own}


# What may be deleted

DELETIONS: dict[str, tuple[float, int, bool]] = {
    "half of them": (0.5, 5, True),
    "more than half": (0.5, 4, False),
    "none allowed": (0, 9, False),
    "none allowed, none gone": (0, 10, True),
    "all but one": (0.9, 1, True),
    "an empty result": (0.99, 0, False),
    "an empty result, allowed": (1, 0, True),
}


@pytest.mark.parametrize(("share", "left", "allowed"), DELETIONS.values(), ids=DELETIONS)
def test_max_deleted(table: Table, segment: SegmentServer, share: float, left: int, allowed: bool) -> None:
    """When more than the share would go, nothing is sent at all, and the error has the numbers."""
    table.send([(n, 0) for n in range(10)], [USERS, GONE])
    rows = [(n, 1) for n in range(left)]
    if allowed:
        assert kinds(table.send(rows, [USERS, GONE], max_deleted=share)) == (0, left, 10 - left)
        return
    most = f"a share of {share:g}" if share else "0"
    text = f"track:Gone: {10 - left} of 10 known keys are gone .* max_deleted allows {most}. Nothing was sent"
    requests = len(segment.requests)
    for _ in range(2):
        with pytest.raises(DeletionError, match=text):
            table.send(rows, [USERS, GONE], max_deleted=share)
        assert (kinds(table.report), table.report.not_sent) == ((0, 0, 0), left)
    assert len(segment.requests) == requests
    assert kinds(table.send(rows, [USERS, GONE], max_deleted=1)) == (0, left, 10 - left)


def test_without_max_deleted(table: Table, segment: SegmentServer) -> None:
    """Where no cap is set nothing is held: all else is sent, and more than half of the keys are not deleted."""
    table.send([(n, 0) for n in range(10)], [USERS, GONE])
    for updated in (4, 0):
        with pytest.raises(DeletionError, match=r"6 of 10 known keys are .* a share of 0.5. Nothing was deleted"):
            table.send([(n, 1) for n in range(4)], [USERS, GONE])
        assert kinds(table.report) == (0, updated, 0)


def test_deleted_keys_are_not_known_any_more(table: Table) -> None:
    """The share is one of the keys that are there: keys that went before do not make room for more."""
    for left in (8, 4):
        table.send([(n,) for n in range(left)], GONE, columns=["id"])
    with pytest.raises(DeletionError, match="3 of 4 known keys"):
        table.send([(0,)], GONE, columns=["id"])


@pytest.mark.parametrize("most", [1, 0.9], ids=["sent at once", "held"])
def test_an_aborted_run_deletes_nothing(table: Table, segment: SegmentServer, most: float) -> None:
    """What a run did not see is gone only if all that it saw was sent."""
    table.send([(n, 0) for n in range(4)], [USERS, GONE])
    segment.reset()
    segment.respond_with([503])
    with pytest.raises(NotSentError):
        table.send([(0, 1)], [USERS, GONE], max_deleted=most, policy=ONE_TRY)
    assert segment.messages == []


# The first run


def test_baseline_remembers_and_sends_nothing(table: Table, segment: SegmentServer) -> None:
    """A baseline run sends nothing; the runs after it send what changed since."""
    rows = [(n, 0) for n in range(10)]
    report = table.send(rows, [USERS, GONE], first_run="baseline")
    assert (report.calls, report.unchanged, segment.requests) == (20, 20, [])
    assert kinds(table.send([(0, 1), *rows[2:], (10, 0)], [USERS, GONE], first_run="baseline")) == (1, 1, 1)


def test_baseline_holds_for_a_call_that_is_added_later(table: Table, segment: SegmentServer) -> None:
    """A call that is new to the sync remembers in its first run; the calls that were there go on."""
    table.send([(1, 0)])
    more = [USERS, Identify("id", traits=["x"], label="more")]
    report = table.send([(1, 1), (2, 0)], more, first_run="baseline")
    assert (kinds(report), report.unchanged) == ((1, 1, 0), 2)
    assert kinds(table.send([(1, 2), (2, 0)], more, first_run="baseline")) == (0, 2, 0)


def test_baseline_that_died_goes_on(table: Table, segment: SegmentServer) -> None:
    """When the first run dies, the second is still the baseline: it remembers the rest, and sends nothing of it."""

    def pages() -> Iterator[Any]:
        yield [(1, 0), (2, 0)]
        raise SourceError("the query failed")

    settled = Options(sync_mode="changes", key="id", state_path="x", first_run="baseline")
    with table.state() as state, delivery_to(segment) as way:
        job = SyncJob([USERS, GONE], Namespace("x"), settled, state=state)
        with pytest.raises(SourceError):
            sync(Pages(["id", "x"], pages(), "tests"), job, way, Report())
    report = table.send([(1, 0), (3, 0), (4, 0)], [USERS, GONE], first_run="baseline")
    assert (report.unchanged, kinds(report), segment.requests) == (6, (0, 0, 0), [])
    assert kinds(table.send([(1, 1), (3, 0), (4, 0)], [USERS, GONE], first_run="baseline")) == (0, 1, 0)


def test_a_bad_row_of_the_baseline_is_sent_when_it_is_mended(table: Table, segment: SegmentServer) -> None:
    """Baseline remembers what could be sent; a row that could not be is new when it is mended."""
    table.send([(1, 0), (2, "x" * 40_000)], first_run="baseline", max_rejected=1)
    assert kinds(table.send([(1, 0), (2, "x")], first_run="baseline")) == (1, 0, 0)


# Keys


@pytest.mark.parametrize("row", [(None, 1), ("a", None)], ids=["first", "second"])
def test_a_null_in_the_key_is_a_reject(table: Table, segment: SegmentServer, tmp_path: Path, row: Any) -> None:
    """A row without a key cannot be told apart; it is refused, and the others are sent."""
    report = table.send(
        [row, ("b", 1)], Identify(Constant("u")), key=["id", "x"], max_rejected=1, rejects=tmp_path / "r"
    )
    assert (report.invalid, report.accepted) == (1, 1)
    assert json.loads((tmp_path / "r").read_text())["code"] == "key_is_null"


AGAIN: dict[str, tuple[list[Any], dict[str, Any], float]] = {
    "in the same page": ([1, 1], {}, 0),
    "in another page, not yet on its way": ([1, 1], {"page": 1}, 0),
    "in another page, in flight": ([1, 2, 1], {"page": 1, "max_events": 1}, 0.2),
    "accepted": ([1, 2, 3, 1], {"page": 1, "max_events": 1, "max_in_flight": 1}, 0),
}


@pytest.mark.parametrize("before", [None, "other", "first", "second"])
@pytest.mark.parametrize(("keys", "how", "delay"), AGAIN.values(), ids=AGAIN)
def test_a_key_that_comes_again_with_other_content(
    table: Table,
    segment: SegmentServer,
    tmp_path: Path,
    keys: list[int],
    how: dict[str, Any],
    delay: float,
    before: Any,
) -> None:
    """A key is one row: the second is refused, whatever Segment had before; the two never take turns.

    Where one of them was passed over, the other is sent, with a warning; the next run refuses one.
    """
    if before is not None:
        table.send([(1, before)])
    segment.delay = delay
    rows = [(key, "second" if place == len(keys) - 1 else "first") for place, key in enumerate(keys)]
    report = table.send(rows, max_rejected=1, rejects=tmp_path / "r", **how)
    if before in ("first", "second"):
        assert (report.invalid, report.skipped, report.updated) == (0, 1, 1)
        assert report.warnings == {"identify: key_again_skipped": 1}
    else:
        assert (report.invalid, report.accepted) == (1, len(rows) - 1)
        assert traits(segment, "1")[-1] == "first"
    heard = len(segment.messages)
    stands = 1 if traits(segment, "1")[-1] == "first" else len(rows)
    for again in (1, 2, 3):
        if again == 3:  # a full read
            table.sql("UPDATE segment_filter SET fingerprint = 'another'")
        report = table.send(rows, max_rejected=1, rejects=tmp_path / f"{again}", **how)
        line = json.loads((tmp_path / f"{again}").read_text())
        assert (line["code"], line["row"]) == ("key_again", len(rows) if stands == 1 else 1)
    assert len(segment.messages) == heard


@pytest.mark.parametrize("before", [None, "other", "first"])
@pytest.mark.parametrize(("keys", "how", "delay"), AGAIN.values(), ids=AGAIN)
def test_a_key_that_comes_again_with_equal_content(
    table: Table, segment: SegmentServer, keys: list[int], how: dict[str, Any], delay: float, before: Any
) -> None:
    """The second of two equal rows is `unchanged`."""
    if before is not None:
        table.send([(1, before)])
    heard = len(segment.messages)
    segment.delay = delay
    report = table.send([(key, "first") for key in keys], **how)
    if before == "first":
        assert (report.invalid, report.skipped, report.unchanged) == (0, 2, 0)
    else:
        assert (report.invalid, report.skipped, report.unchanged) == (0, 0, 1)
    assert len(segment.messages) == heard + report.accepted


def key_number(*values: Any) -> int:
    (row_key,) = RowKeys(range(len(values))).of([values])
    assert row_key is not None
    return numbers_of([row_key])[0]


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_an_integer_key_is_its_own_number(key: int) -> None:
    """Integers of 64 bits keep themselves, which keeps neighbours together."""
    assert key_number(key) == key


OTHER_KEYS = [2**63, -(2**63) - 1, 2**200, "1", "-1", "", "a", "ä", "1,2", True, 1.5]


def test_other_keys_have_a_hash_of_64_bits() -> None:
    """Texts, huge numbers and keys of several columns get a hash, and none that looks alike shares one."""
    numbers = [key_number(key) for key in OTHER_KEYS] + [key_number(1, 2), key_number(2, 1), key_number("1", 2)]
    assert len({*numbers, 1, -1, 12}) == len(numbers) + 3
    assert all(-(2**63) <= number < 2**63 and abs(number) > 2**20 for number in numbers)


INTEGERS = [0, -1, 1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, -(2**63), -(2**63) + 1, 2**63, 2**70]


def test_keys_are_remembered_and_missed(table: Table, segment: SegmentServer) -> None:
    """Whatever a key is, its row is sent once, found again, and known to be gone when it is gone."""
    rows = [(key, 0) for key in [*INTEGERS, *(key for key in OTHER_KEYS if isinstance(key, str) and key), "x" * 300]]
    calls = [
        Identify(Constant("u"), traits=["id"]),
        Track(Constant("Gone"), Constant("u"), properties=["id"], on_change="deleted"),
    ]
    assert table.send(rows, calls).accepted == len(rows)
    assert table.send(rows, calls).skipped == len(rows)
    assert table.send([], calls, max_deleted=1).deleted == len(rows)


AWKWARD: dict[str, tuple[Any, dict[str, Any]]] = {
    "bytes": (b"\xff\x00", {}),
    "a time without a zone": (dt.datetime(2026, 1, 1), {"timezone": "UTC"}),  # noqa: DTZ001
    "a decimal": (Decimal("1.50"), {}),
    "a huge number": (2**70, {}),
    "half a character": ("\ud800", {}),
    "an object": (object(), {}),
}


@pytest.mark.parametrize(("key", "options"), AWKWARD.values(), ids=AWKWARD)
def test_an_awkward_key_ends_no_run(table: Table, segment: SegmentServer, key: Any, options: dict[str, Any]) -> None:
    """A key of any type that a driver gives is sent or refused, also where a call is on "deleted"."""
    calls = [Identify("x"), Track(Constant("Gone"), "x", on_change="deleted")]
    report = table.send([(key, "a"), ("good", "b")], calls, key="id", max_rejected=4, **options)
    assert report.accepted + report.invalid == 2
    assert table.send([(key, "a"), ("good", "b")], calls, key="id", max_rejected=4, **options).accepted == 0


# What is written, and for whom


def test_validate_only_remembers_nothing(table: Table, segment: SegmentServer) -> None:
    """A look at what would be sent changes nothing of it, on a new state and on an old one."""
    calls = [USERS, GONE]
    for first_run in ("send", "baseline"):
        report = table.send([(1, "A"), (2, "A")], calls, validate_only=True, first_run=first_run)
        assert report.accepted == 0
        assert report.not_sent == (2 if first_run == "send" else 0)
        assert table.sql("SELECT * FROM segment_state") == []
    table.send([(1, "A"), (2, "A"), (3, "A")], calls)
    before = table.sql("SELECT * FROM segment_state"), table.sql("SELECT * FROM segment_call")
    requests = len(segment.requests)
    report = table.send([(1, "B"), (2, "A"), (4, "A")], calls, validate_only=True)
    assert (report.not_sent, report.unchanged, report.skipped) == (3, 2, 1)
    assert before == (table.sql("SELECT * FROM segment_state"), table.sql("SELECT * FROM segment_call"))
    assert len(segment.requests) == requests
    assert kinds(table.send([(1, "B"), (2, "A"), (4, "A")], calls)) == (1, 1, 1)


def test_a_dry_run_counts_as_a_real_one_does(table: Table, segment: SegmentServer) -> None:
    """Rows with one key, equal or not, in one page or in two, are reported as they would be; so are deletions."""
    table.send([(n, "A") for n in range(9)], [USERS, GONE])
    rows = [(1, "B"), (1, "B"), (2, "C"), (2, "D"), (10, "A"), (10, "A"), (10, "B"), (3, "A"), (4, None)]
    for page in (1, 100):
        dry = table.send(rows, [USERS, GONE, CAME], page=page, max_rejected=99, max_deleted=1, validate_only=True)
        assert dry.planned["identify"] == {"added": 1, "updated": 3, "deleted": 0}
        assert dry.planned["track:Gone"] == {"added": 0, "updated": 0, "deleted": 5}
        assert (dry.accepted, dry.not_sent) == (0, 4 + 5 + 5)
    real = table.send(rows, [USERS, GONE, CAME], page=100, max_rejected=99, max_deleted=1)
    assert (real.planned, real.unchanged, real.invalid) == (dry.planned, dry.unchanged, dry.invalid)
    assert kinds(real) == kinds(dry)


@pytest.mark.parametrize("more", [{}, {"max_calls": 1}, {"validate_only": True}], ids=["a run", "held", "a dry run"])
def test_no_temporary_database_outlives_its_run(
    table: Table, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    """Each file that a run keeps aside what it has seen, held or would save is closed with the run."""
    table.send([(1, 1), (2, 1)], [USERS, GONE])
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def remembered(path: str, **how: Any) -> sqlite3.Connection:
        opened.append(connect(path, **how))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", remembered)
    table.send([(1, 2), (2, 1)], [USERS, GONE], **more)
    gc.collect()
    assert len(opened) == (2 if not more else 4 if "max_calls" in more else 3)
    for database in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            database.execute("SELECT 1")


def test_a_reset_state_sends_all_under_new_ids(table: Table, segment: SegmentServer) -> None:
    """After a reset of all, each row is sent again, and Segment takes none for a repeat."""
    rows = [(n, 0) for n in range(5)]
    table.send(rows)
    with table.state(None) as state:
        assert state.forget() == 5
    assert kinds(table.send(rows)) == (5, 0, 0)
    assert (len(segment.messages), len(set(ids(segment))), segment.duplicates) == (10, 10, [])


@pytest.mark.parametrize("call", [USERS, CAME, EVERYTHING], ids=["identify", "track", "on every change"])
def test_reset_keys_are_sent_again_under_new_ids(table: Table, segment: SegmentServer, call: Call) -> None:
    """After a reset of some keys, these rows are sent again, the others are not."""
    rows = [(n, 0) for n in range(5)]
    table.send(rows, call)
    with table.state(None) as state:
        assert state.make_due(Selection([1, 3, 77])) == 2
    report = table.send(rows, call)
    assert (report.accepted, report.unchanged) == (2, 3)
    assert [m["userId"] for m in segment.messages[5:]] == ["1", "3"]
    assert segment.duplicates == []


def test_reset_keys_repeat_no_id_of_a_crash(table: Table, segment: SegmentServer) -> None:
    """Who resets a key wants it sent: also what was acknowledged and not saved gets a new id then."""
    table.send([(1, "A")])
    table.unsaved([(1, "B")])
    with table.state(None) as state:
        state.make_due(Selection([1]))
    table.send([(1, "B")])
    assert traits(segment) == ["A", "B", "B"]


def test_a_new_state_repeats_no_id(segment: SegmentServer, tmp_path: Path) -> None:
    """Two states of one sync, after a lost file for example, give two ids to one event."""
    for name in ("a", "b"):
        Table(segment, tmp_path / name).send([(1, "A")])
    assert (len(segment.messages), segment.duplicates) == (2, [])


def test_syncs_share_a_file_and_nothing_else(table: Table, segment: SegmentServer) -> None:
    """States of several syncs stand in one database; a reset of one leaves the others alone."""
    table.send([(1, "A")])
    with table.state(sync_id="other") as state:
        number, _ = state.call("identify")
        assert state.known(number, [1]) == {}
    with table.state(None, sync_id="other") as state:
        state.forget()
    assert table.send([(1, "A")]).skipped == 1


def test_resetting_what_is_not_there(table: Table) -> None:
    """A reset of a sync that has no state says so: the name is wrong, or the place."""
    with pytest.raises(SettingError, match="sync_id 'nobody' has no state here"), table.state(None, sync_id="nobody"):
        pass


def test_the_state_of_another_source_is_refused(table: Table, segment: SegmentServer) -> None:
    """What one source has accepted says nothing about another: the error says the way out."""
    table.send([(1, "A")])
    with pytest.raises(
        SettingError, match=r"another write key.*give it another sync_id, or start over with SegmentHook.reset"
    ):
        table.send([(1, "A"), (2, "A")], write_key="another source")
    assert len(segment.requests) == 1
    with table.state(None) as state:
        state.forget()
    assert table.send([(1, "A"), (2, "A")], write_key="another source").added == 2


@pytest.mark.parametrize("layout", [0, 2, 99])
def test_a_state_of_another_layout_is_refused(table: Table, segment: SegmentServer, layout: int) -> None:
    """A state that an older or newer version wrote is never misread."""
    table.send([(1, "A")])
    table.sql(f"UPDATE segment_sync SET layout = {layout}")  # noqa: S608
    with pytest.raises(SettingError, match=f"its state has layout {layout}, this version knows 1"):
        table.send([(1, "B")])
    assert len(segment.requests) == 1


def garbage(data: bytes) -> bytes:
    return bytes(range(256)) * (len(data) // 256)


def damaged(data: bytes) -> bytes:
    """The last of three thirds is not what was written."""
    third = len(data) // 3 // 4096 * 4096
    return data[: 2 * third] + bytes(255 - byte for byte in data[2 * third :])


CORRUPTIONS: dict[str, Callable[[bytes], bytes]] = {
    "garbage": garbage,
    "a text": lambda _: b"this is no database\n" * 500,
    "truncated": lambda data: data[: len(data) // 2],
    "truncated in the header": lambda data: data[:60],
    "damaged in its last third": damaged,
}


@pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_a_corrupt_file_fails_before_the_first_request(
    table: Table, segment: SegmentServer, corrupt: Callable[[bytes], bytes]
) -> None:
    """What cannot be read is not taken for an empty state, nor read as far as it goes."""
    table.send([(n, 0) for n in range(6_000)], GONE)
    table.path.write_bytes(corrupt(table.path.read_bytes()))
    with pytest.raises(StateError, match=r"The state's (database failed at|SQLite file is damaged)"):
        table.send([(n, 1) for n in range(6_000)], page=500, max_events=500)
    assert segment.requests == []


@pytest.mark.parametrize("path", [".", "no/such/folder/state.db"], ids=["a folder", "in no folder"])
def test_an_unreachable_path_fails_before_the_first_request(segment: SegmentServer, tmp_path: Path, path: str) -> None:
    """A state that cannot be opened is an error of the state's database, without the database's own text."""
    with pytest.raises(StateError, match=r"^The state's database failed at opening it: sqlite3\.OperationalError$"):
        Table(segment, tmp_path / path).send([(1, "A")])
    assert segment.requests == []


# A page at once, or row by row

VALUES = st.sampled_from(["a", "b", 1, 1.0, 2.5, None, "1e5", 1e22, Decimal("2.50")])
PAGES = st.dictionaries(st.sampled_from([1, 2, 3, -4, 2**40, "5", 5, "k"]), VALUES, max_size=8)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    runs=st.lists(st.tuples(PAGES, st.sampled_from(["none", "500", "unsaved", "reset"])), min_size=1, max_size=5),
    kinds_sent=st.sampled_from([("added", "updated"), ("added",), ("updated",), ("added", "updated", "deleted")]),
)
@example(runs=[({1: "a"}, "none"), ({1: "b"}, "none"), ({1: "b", 2: "b"}, "none")], kinds_sent=("added", "updated"))
@example(runs=[({1: "a"}, "unsaved"), ({1: "b"}, "none"), ({1: "a"}, "none")], kinds_sent=("added", "updated"))
@example(runs=[({1: "a"}, "none"), ({1: "b"}, "unsaved"), ({1: 2.5}, "none")], kinds_sent=("added", "updated"))
@example(runs=[({"5": "a"}, "none"), ({5: "b"}, "none")], kinds_sent=("added", "updated"))
@example(runs=[({1: 2.5}, "none"), ({1: Decimal("2.50")}, "none")], kinds_sent=("added", "updated"))
@example(runs=[({1: "a"}, "none"), ({}, "none"), ({1: "b"}, "none")], kinds_sent=("added", "updated", "deleted"))
def test_alike_rows_are_decided_as_each_alone(
    segment: SegmentServer, runs: list[Any], kinds_sent: tuple[str, ...]
) -> None:
    """Rows that are all new or all changed are sent as they are where one comes twice, so that each is looked at."""
    calls = [Identify("id", traits=["x"], on_change=[kind for kind in kinds_sent if kind != "deleted"])]
    calls += [GONE] if "deleted" in kinds_sent else []
    found: list[list[Any]] = []
    for repeated in (0, 1):
        with tempfile.TemporaryDirectory() as home:
            table, sent = Table(segment, Path(home) / "state.db"), []
            for rows, fault in runs:
                segment.reset()
                if fault == "unsaved" and table.path.exists():
                    table.sql(FULL)
                elif fault == "500":
                    segment.respond_with([500])
                elif fault == "reset" and table.path.exists():
                    with table.state() as state:
                        state.make_due(Selection())
                page = [*rows.items()]
                with suppress(SegmentError):
                    table.send(page + page[:repeated], calls, policy=ONE_TRY)
                table.sql("DROP TRIGGER IF EXISTS full")
                messages = [{**message, "messageId": ""} for message in segment.messages]
                sent.append((kinds(table.report), messages))
                segment._script.clear()
            ids_sent = [id_ for (id_,) in table.sql("SELECT sent FROM segment_state ORDER BY row_key")]
            found.append([sent, ids_sent, table.sql("SELECT row_key, content, meaning FROM segment_state ORDER BY 1")])
    assert found[0] == found[1]


# Whatever happens

FAULTS = ("none", "none", "500", "503 then fine", "reset", "reset_after", "reset_after then fine", "unsaved", "stop")
TABLES = st.dictionaries(st.sampled_from([1, -2, "k", "ä"]), st.integers(0, 2), max_size=4)
RUNS = st.lists(st.tuples(TABLES, st.sampled_from(FAULTS), st.integers(0, 2)), min_size=1, max_size=6)


def disturb(table: Table, fault: str, after: int) -> Callable[[Any], object]:
    """Prepare one thing that goes wrong, when some requests have gone well; return what is done with the delivery."""
    script: list[Any] = [None] * after
    if fault == "stop":
        ways: list[Any] = []
        table.segment.respond_with([*script, lambda _: ways[0].stop()])
        return ways.append
    if fault == "unsaved":
        table.sql(FULL)
    elif fault != "none":
        first = fault.partition(" ")[0]
        table.segment.respond_with([*script, int(first) if first.isdigit() else first])
    return lambda _: None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=RUNS, last=TABLES)
@example(runs=[({1: 0}, "none", 0), ({1: 1}, "unsaved", 0)], last={1: 0})
@example(runs=[({1: 0}, "none", 0), ({}, "unsaved", 0), ({1: 0}, "none", 0)], last={})
def test_segment_ends_with_what_the_table_says(segment: SegmentServer, runs: list[Any], last: dict[Any, int]) -> None:
    """After any versions of a table and any faults, one good run makes Segment's newest what the table has.

    And what a run has sent is not sent again under another id, as long as the row stays as it is.
    """
    calls = [USERS, GONE]
    segment.reset()
    versions: list[dict[Any, int]] = []
    posts: defaultdict[str, list[tuple[int, str, int]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        table = Table(segment, Path(folder) / "state.db")
        with table.state():  # the tables are there before the first fault
            pass
        for version, fault, after in [*runs, (last, "none", 0), ({}, "none", 0)]:
            heard, asked = len(segment.messages), len(segment.requests)
            on_delivery = disturb(table, fault, after)
            policy = QUICK if fault.endswith("fine") else ONE_TRY
            versions.append(version)
            try:
                table.send(
                    [*version.items()], calls, max_deleted=1, max_events=2, policy=policy, on_delivery=on_delivery
                )
            except SegmentError:
                assert fault != "none"
            segment._script.clear()
            table.sql("DROP TRIGGER IF EXISTS full")
            for request in segment.requests[asked:]:
                for m in json.loads(request.body)["batch"]:
                    if m["type"] == "identify":
                        posts[m["userId"]].append((len(versions) - 1, m["messageId"], m["traits"]["x"]))
            if len(versions) == len(runs) + 1:
                newest = {m["userId"]: m["traits"]["x"] for m in segment.messages if m["type"] == "identify"}
                assert {user: newest[user] for user in map(str, last)} == {str(key): x for key, x in last.items()}
        gone = [m["userId"] for m in segment.messages[heard:]]
        assert sorted(gone) == sorted(map(str, last))  # each is gone now, and no id of an earlier deletion was repeated
    for user, mine in posts.items():
        for (run, message_id, x), (next_run, next_id, next_x) in itertools.pairwise(mine):
            between = [
                {str(key): v for key, v in version.items()}.get(user) for version in versions[run : next_run + 1]
            ]
            assert x != next_x or message_id == next_id or set(between) != {x}
