"""What makes two keys one, and two contents equal, from one run to the next."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import old_states
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_changes import ALL, Table, kinds

from airflow_provider_segment.calls import AllColumns, Call, Constant, Identify, Json, Track
from airflow_provider_segment.core.mapping.message_ids import RowKeys
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.core.rows.keys import key_bytes, numbers_of, other_forms
from airflow_provider_segment.core.rows.numbers import plain_number
from airflow_provider_segment.testing import SegmentServer

numpy = pytest.importorskip("numpy")

USERS = Identify(Constant("u"), traits=["x"])
GONE = Track(Constant("Gone"), Constant("u"), on_change="deleted")
BOTH = [USERS, GONE]


@pytest.fixture
def table(segment: SegmentServer, tmp_path: Path) -> Table:
    """A sync of a table of users."""
    return Table(segment, tmp_path / "state.db")


# Keys

WHOLE: dict[str, list[Any]] = {
    "int": [1, 2, 300, -4],
    "float": [1.0, 2.0, 300.0, -4.0],
    "decimal": [Decimal(1), Decimal(2), Decimal(300), Decimal(-4)],
    "decimal with zeros": [Decimal("1.00"), Decimal("2.000"), Decimal("3E+2"), Decimal("-4.0")],
    "numpy int": [*map(numpy.int64, [1, 2, 300, -4])],
    "numpy float": [*map(numpy.float32, [1, 2, 300, -4])],
    "text": ["1", "2", "300", "-4"],
}
PAIRS = [(before, after) for before in WHOLE for after in WHOLE if before != after]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_whole_number_is_one_key_whatever_its_type(
    table: Table, segment: SegmentServer, before: str, after: str
) -> None:
    """A key column of another type adds nothing, deletes nothing, and its rows are still told apart."""
    old, new = ([(key, "A") for key in WHOLE[name]] for name in (before, after))
    assert kinds(table.send(old, BOTH)) == (4, 0, 0)
    assert kinds(table.send(new, BOTH)) == (0, 0, 0)
    assert kinds(table.send(new, BOTH)) == (0, 0, 0)
    assert kinds(table.send([(key, "B") for key, _ in new], BOTH)) == (0, 4, 0)
    assert kinds(table.send([(key, "B") for key, _ in old], BOTH)) == (0, 0, 0)
    assert kinds(table.send(new[1:], BOTH, max_deleted=1)) == (0, 3, 1)
    assert segment.duplicates == []


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_key_of_another_type_and_another_content_is_an_update(
    table: Table, segment: SegmentServer, before: str, after: str
) -> None:
    """Where the type of the key and all rows change at once, each row is one update, and none is new or gone."""
    table.send([(key, "A") for key in WHOLE[before]], BOTH)
    assert kinds(table.send([(key, "B") for key in WHOLE[after]], BOTH)) == (0, 4, 0)
    assert kinds(table.send([(key, "B") for key in WHOLE[after]], BOTH)) == (0, 0, 0)
    assert kinds(table.send([(key, "A") for key in WHOLE[before]], BOTH)) == (0, 4, 0)
    assert (len(segment.messages), segment.duplicates) == (12, [])


UUIDS = [UUID(int=7), UUID(int=2**99)]
OTHERS: dict[str, tuple[list[Any], list[Any]]] = {
    "uuid to text": (UUIDS, [*map(str, UUIDS)]),
    "text to uuid": ([*map(str, UUIDS)], UUIDS),
    "more decimals": ([Decimal("1.5"), Decimal("0.10")], [Decimal("1.5000"), Decimal("0.1")]),
    "numeric to double": ([Decimal("1.5"), Decimal("0.10")], [1.5, 0.1]),
    "another session's zone": (
        [dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC), dt.datetime(2026, 1, 2, tzinfo=dt.UTC)],
        [dt.datetime(2026, 1, day, hour, tzinfo=dt.timezone(dt.timedelta(hours=2))) for day, hour in ((1, 14), (2, 2))],
    ),
    "date to text": ([dt.date(2026, 1, 1), dt.date(2026, 1, 2)], ["2026-01-01", "2026-01-02"]),
    "beyond 64 bits": ([2**70, 10**30], [Decimal(2**70), Decimal("1E+30")]),
    "two columns": ([(1, "a"), (2, "7")], [(Decimal("1.0"), "a"), (Decimal("2.0"), "7")]),
    "two columns, one of them as text": ([(1, 2), (3, 4)], [("1", 2), ("3", 4)]),
    "two columns, the other as a number": ([(1, "2"), (3, "4")], [(1, 2), (3, 4)]),
    "two columns, both as text": ([(1, 2), (3, 4)], [("1", "2"), ("3", "4")]),
    "a null came into a pandas column": ([1, 2], [numpy.float64(1), numpy.float64(2)]),
}


@pytest.mark.parametrize(("before", "after"), OTHERS.values(), ids=OTHERS)
def test_keys_that_say_the_same_are_one(table: Table, segment: SegmentServer, before: Any, after: Any) -> None:
    """What is one user by its id is one key: on the second day nothing is sent, on the third each row once."""
    size = len(before[0]) if isinstance(before[0], tuple) else 1
    key = [f"k{n}" for n in range(size)]
    for day, keys, value, wanted in (
        (1, before, "A", (2, 0, 0)),
        (2, after, "A", (0, 0, 0)),
        (3, after, "B", (0, 2, 0)),
    ):
        rows = [(*(one if size > 1 else [one]), value) for one in keys]
        assert kinds(table.send(rows, BOTH, columns=[*key, "x"], key=key)) == wanted, f"day {day}"
    assert segment.duplicates == []


APART = [1, True, "01", "1.0", "1.5", 1.25, Decimal("1.125"), "+1", "1 ", "1e0", -1]


def test_keys_that_say_something_else_are_apart(table: Table) -> None:
    """True is no 1, text with a leading zero no number, and each of them is found again."""
    rows = [(key, "A") for key in APART]
    assert kinds(table.send(rows, BOTH)) == (len(APART), 0, 0)
    assert kinds(table.send(rows, BOTH)) == (0, 0, 0)
    assert kinds(table.send(rows[1:], BOTH)) == (0, 0, 1)


@pytest.mark.parametrize("again", [1, Decimal("1.0"), 1.0])
def test_one_key_in_two_types_in_one_run_is_the_key_of_an_earlier_row(table: Table, again: Any) -> None:
    """Two rows of one whole number are two rows with one key, as two equal integers are."""
    report = table.send([(1, "A"), (again, "B")], USERS, max_rejected=1)
    assert (report.accepted, report.invalid) == (1, 1)
    assert table.send([(1, "A"), (again, "A")], USERS).unchanged == 2


def test_text_and_number_in_one_run_are_one_key_where_the_state_knows_it(table: Table, segment: SegmentServer) -> None:
    """A key that was found in its other type, and sent, is not sent again in this run for a row with the first type."""
    table.send([("1", "A")], BOTH)
    report = table.send([(1, "B"), ("1", "C"), (1, "B")], BOTH, page=1, max_events=1, max_rejected=1)
    assert (kinds(report), report.invalid) == ((0, 1, 0), 1)
    assert kinds(table.send([(1, "B")], BOTH)) == (0, 0, 0)
    assert segment.duplicates == []


def test_a_bad_row_whose_key_has_another_type_is_not_gone(table: Table, segment: SegmentServer) -> None:
    """A row that is refused is there all the same: no call on "deleted" is made for it, in whatever type its key is."""
    calls = [Identify("x"), GONE]
    table.send([("1", "a"), ("2", "b")], calls)
    report = table.send([(1, " "), (2, "b")], calls, max_rejected=1)
    assert (report.invalid, report.deleted) == (1, 0)
    assert kinds(table.send([(1, "a"), (2, "b")], calls)) == (0, 0, 0)
    assert kinds(table.send([(2, "b")], calls)) == (0, 0, 1)


def test_a_row_that_every_call_refuses_is_not_gone_in_another_type(table: Table) -> None:
    """Nor is one of which no call could be made at all."""
    call = Identify("id", anonymous_id="x", on_change=ALL)
    table.send([("1", "a"), ("2", "b")], call)
    report = table.send([(1, []), (2, "b")], call, max_rejected=1)
    assert (report.invalid, kinds(report)) == (1, (0, 0, 0))
    assert kinds(table.send([(1, "a"), (2, "b")], call)) == (0, 0, 0)
    assert kinds(table.send([(2, "b")], call)) == (0, 0, 1)


def test_a_crash_in_the_run_that_brings_the_new_type_loses_nothing(table: Table, segment: SegmentServer) -> None:
    """What was acknowledged and not saved while the key changed its type is sent again, and what follows as well."""
    table.send([("1", "A"), ("2", "A")], BOTH)
    table.unanswered([(1, "B"), (2, "A")], BOTH)
    assert kinds(table.send([(1, "A"), (2, "A")], BOTH)) == (0, 1, 0)
    assert [m["traits"]["x"] for m in segment.messages if m["type"] == "identify"] == ["A", "A", "B", "A"]


def test_equal_keys_have_equal_ids_in_mode_all() -> None:
    """A try that reads the key in another numeric type repeats the ids of the try before."""
    for name in ("float", "decimal", "decimal with zeros", "numpy int", "numpy float"):
        assert RowKeys([0]).of([(key,) for key in WHOLE[name]]) == RowKeys([0]).of([(key,) for key in WHOLE["int"]])


@given(st.one_of(st.decimals(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False)))
@example(Decimal("1E+999999"))
@example(Decimal("-0.00"))
@example(Decimal("0E-20"))
@example(Decimal("1E-400"))
@example(5e-324)
def test_a_number_has_one_plain_text(number: Any) -> None:
    """The text of a number has its value, and is the same for each way to write it."""
    text = plain_number(repr(number) if isinstance(number, float) else str(number))
    exact = Decimal(repr(number)) if isinstance(number, float) else number
    assert Decimal(text) == exact
    assert plain_number(text) == text
    if abs(exact.adjusted()) < 300:
        assert plain_number(f"{exact:f}") == plain_number(f"{exact:e}") == text
        assert plain_number(f"{exact:f}" + ("0" if "." in f"{exact:f}" else ".0")) == text


@given(
    st.lists(
        st.one_of(st.integers(), st.text(max_size=5), st.decimals(allow_nan=False), st.none()), min_size=1, max_size=3
    )
)
def test_other_forms_are_other_keys_with_numbers(values: list[Any]) -> None:
    """No form of a key is the key itself, and each of them has a number."""
    (key,) = key_bytes([[value] for value in values])
    forms = other_forms(values)
    assert key not in forms
    assert len(numbers_of(forms)) == len(set(forms)) == len(forms)


# Contents

SAME: dict[str, tuple[Any, Any]] = {
    "numeric(10,2) becomes numeric(12,4)": (Decimal("29.90"), Decimal("29.9000")),
    "zeros after the point": (Decimal("29.00"), Decimal(29)),
    "an integer becomes a numeric": (29, Decimal("29.00")),
    "an integer becomes a float": (29, 29.0),
    "a numeric becomes a float": (Decimal("29.90"), 29.9),
    "an exponent": (Decimal("1E+2"), 100),
    "a large float": (1e22, 10**22),
    "a small float": (1e-7, Decimal("0.0000001")),
    "many digits": (Decimal("1.000000000000000000010"), Decimal("1.00000000000000000001")),
    "nothing below zero": (Decimal("-0.00"), 0),
    "in a list": ([Decimal("1.50"), 2], [Decimal("1.5"), 2.0]),
    "in an object": ({"a": Decimal("1.50")}, {"a": 1.5}),
}


@pytest.mark.parametrize(("was", "now"), SAME.values(), ids=SAME)
def test_numbers_are_compared_by_value(table: Table, segment: SegmentServer, was: Any, now: Any) -> None:
    """Digits that say the same are no change; what is sent keeps its own; the next true change is sent."""
    for before, after in ((was, now), (now, was)):
        table.send([(1, before)], USERS)
        sent = len(segment.messages)
        for value in (after, after, before):
            assert kinds(table.send([(1, value)], USERS)) == (0, 0, 0)
        assert len(segment.messages) == sent
        assert kinds(table.send([(1, "else")], USERS)) == (0, 1, 0)
    assert segment.duplicates == []


def test_what_is_sent_keeps_its_digits(table: Table, segment: SegmentServer) -> None:
    """Only the comparison goes by value: Segment gets the digits that the database gave."""
    table.send([(1, Decimal("29.90"))], USERS)
    assert b"29.90" in segment.requests[0].body


DIFFERENT: dict[str, tuple[Any, Any]] = {
    "1 and true": (1, True),
    "1 and text": (1, "1"),
    "1.50 as text": ("1.50", "1.5"),
    "a number in a text": ('{"a": 1.50}', '{"a": 1.5}'),
    "numbers in brackets in a text": ("[1.50,2]", "[1.5,2]"),
    "the last of many digits": (Decimal("0.10000000000000000001"), Decimal("0.10000000000000000002")),
    "the last digit of a long integer": (Decimal("123456789012345678.10"), Decimal("123456789012345679.10")),
    "a value becomes null": (5, None),
    "null in a list": ([1, None], [1]),
    "null in a column's own object": ({"a": 1, "b": None}, {"a": 1}),
    "an empty object": ({"a": {}}, {"a": None}),
    "the order of a list": ([1.0, 2.0], [2.0, 1.0]),
}


@pytest.mark.parametrize(("was", "now"), DIFFERENT.values(), ids=DIFFERENT)
def test_what_says_something_else_is_a_change(table: Table, segment: SegmentServer, was: Any, now: Any) -> None:
    """Nothing that Segment would see as another value is taken for the same, there and back."""
    for value, wanted in ((was, (1, 0, 0)), (now, (0, 1, 0)), (was, (0, 1, 0)), (now, (0, 1, 0))):
        assert kinds(table.send([(1, value)], USERS)) == wanted
    assert segment.duplicates == []


NEW_COLUMN: dict[str, tuple[Call, Call]] = {
    "all columns": (Identify("id", traits=AllColumns(exclude=["y"])), Identify("id", traits=AllColumns())),
    "by name": (Identify("id", traits=["x"]), Identify("id", traits=["x", "y"])),
    "the first of all": (Identify("id"), Identify("id", traits=["y"])),
    "nested": (Identify("id", traits={"x": "x"}), Identify("id", traits={"x": "x", "a.b.y": "y", "a.z": "y"})),
    "an object": (Identify("id", traits={"x": "x"}), Identify("id", traits={"x": "x", "y": Json("y")})),
    "of an event": (
        Track(Constant("E"), "id", properties=["x"], on_change=["added", "updated"]),
        Track(Constant("E"), "id", properties=["x", "y"], on_change=["added", "updated"]),
    ),
}


@pytest.mark.parametrize(("before", "after"), NEW_COLUMN.values(), ids=NEW_COLUMN)
def test_a_null_in_a_column_that_is_new_is_no_change(
    table: Table, segment: SegmentServer, before: Call, after: Call
) -> None:
    """A nullable column that is added sends the rows where it has a value, and no other."""
    columns = ("id", "x", "y")
    table.send([(1, "A", None), (2, "A", None)], before, columns=columns)
    assert kinds(table.send([(1, "A", None), (2, "A", None)], after, columns=columns)) == (0, 0, 0)
    assert kinds(table.send([(1, "A", None), (2, "A", 7)], after, columns=columns)) == (0, 1, 0)
    assert kinds(table.send([(1, "A", 7), (2, "A", None)], after, columns=columns)) == (0, 2, 0)
    assert segment.duplicates == []


def test_nulls_that_were_left_out_are_sent_when_they_are_asked_for(table: Table, segment: SegmentServer) -> None:
    """nulls="send" after nulls="omit" erases downstream what is null: these rows are due, and no others."""
    rows = [(1, None), (2, "A"), (3, Decimal("1.50"))]
    table.send(rows, USERS, nulls="omit")
    assert kinds(table.send(rows, USERS, nulls="send")) == (0, 1, 0)
    assert segment.messages[-1]["traits"] == {"x": None}
    assert kinds(table.send(rows, USERS, nulls="send")) == (0, 0, 0)


def test_a_row_that_comes_again_in_other_digits_is_the_same_row(table: Table) -> None:
    """Two rows with one key are refused for what they say, not for how it is written."""
    report = table.send([(1, Decimal("1.50")), (1, Decimal("1.5"))], USERS, page=1)
    assert (report.accepted, report.unchanged, report.invalid) == (1, 1, 0)


# States of before

NEW_TYPES: dict[str, list[Any]] = {
    "integers": [Decimal(key) for key in old_states.KEYS["integers"]],
    "texts": old_states.KEYS["texts"],
    "uuids": [*map(str, old_states.KEYS["uuids"])],
    "dates": [*map(str, old_states.KEYS["dates"])],
    "times": [time.astimezone(dt.timezone(dt.timedelta(hours=-5))) for time in old_states.KEYS["times"]],
    "decimals": [1, Decimal("2.00"), Decimal("1.50"), Decimal("1E+3")],  # of digits that are gone nothing can be known
    "floats": [1, Decimal("2.50"), 1e22],
    "two columns": [(1.0, "a"), (Decimal("1.00"), "b"), (2, "a")],
    "decimal and text": [(Decimal("1.0"), "a"), (Decimal("2.0"), "7")],
}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A SQLite file with states as the package wrote them before."""
    old_states.load(tmp_path / "old.db")
    return tmp_path / "old.db"


def changed(it: old_states.Sync) -> old_states.Sync:
    """The same rows with another value in each."""
    return old_states.Sync(it.key, [(*row[:-2], "new", row[-1]) for row in it.rows])


def counts(report: Report) -> tuple[int, int, int, int]:
    return *kinds(report), report.invalid


@pytest.mark.parametrize("name", old_states.KEYS)
def test_a_state_of_before_keeps_its_meaning(old: Path, segment: SegmentServer, name: str) -> None:
    """After the upgrade nothing is due or gone; then each changed row is one update, and each that is gone one call."""
    it = old_states.sync_of(old_states.KEYS[name])
    size = len(it.rows)
    for _ in range(2):
        assert counts(old_states.send(old, name, it, segment)) == (0, 0, 0, 0)
    assert segment.messages == []
    assert counts(old_states.send(old, name, changed(it), segment)) == (0, size, 0, 0)
    assert counts(old_states.send(old, name, changed(it), segment)) == (0, 0, 0, 0)
    assert counts(old_states.send(old, name, old_states.Sync(it.key, []), segment)) == (0, 0, size, 0)


@pytest.mark.parametrize("name", old_states.KEYS)
def test_a_state_of_before_knows_keys_of_another_type(old: Path, segment: SegmentServer, name: str) -> None:
    """Nor is anything due where the upgrade comes together with another type of the key."""
    it = old_states.sync_of(NEW_TYPES[name])
    assert counts(old_states.send(old, name, it, segment)) == (0, 0, 0, 0)
    assert counts(old_states.send(old, name, changed(it), segment)) == (0, len(it.rows), 0, 0)
    assert counts(old_states.send(old, name, changed(old_states.sync_of(old_states.KEYS[name])), segment)) == (
        0,
        0,
        0,
        0,
    )


@pytest.mark.parametrize("name", old_states.KEYS)
def test_all_of_a_state_of_before_can_be_gone(old: Path, segment: SegmentServer, name: str) -> None:
    """A key that is gone in the first run after the upgrade is sent once."""
    it = old_states.sync_of(old_states.KEYS[name])
    for wanted in (1, 0):
        report = old_states.send(old, name, old_states.Sync(it.key, it.rows[1:]), segment)
        assert kinds(report) == (0, 0, wanted)


def test_digits_can_change_after_the_upgrade(old: Path, segment: SegmentServer) -> None:
    """The first run after the upgrade remembers what the rows say, so that other digits are no change in the second."""
    it = old_states.sync_of(old_states.KEYS["integers"])
    old_states.send(old, "integers", it, segment)
    values = [Decimal("29.9000"), 1, None, {"a": None, "b": [1, None]}]
    finer = old_states.Sync(it.key, [(*row[: -len(values)], *values) for row in it.rows])
    assert counts(old_states.send(old, "integers", finer, segment)) == (0, 0, 0, 0)
    assert segment.messages == []


def test_a_content_that_an_older_version_wrote_later_is_compared_as_it_is(table: Table) -> None:
    """A meaning beside a content that an older version has put in its place says nothing: the row is due."""
    table.send([(1, Decimal("1.50"))], USERS)
    meaning = table.sql("SELECT meaning FROM segment_state")
    table.send([(1, "B")], USERS)
    table.sql(f"UPDATE segment_state SET meaning = {meaning[0][0]}")  # noqa: S608
    assert kinds(table.send([(1, Decimal("1.5"))], USERS)) == (0, 1, 0)


# Nearly all rows are updated


def stamped(run: int, count: int = 300) -> list[tuple[Any, ...]]:
    """Rows with a column that is another in each run."""
    return [(n, f"user {n}", run) for n in range(1, count + 1)]


WIDE = Identify("id", traits={"name": "name", "meta.loaded_at": "loaded_at"})
WARNING = "identify: nearly_all_updated"


def send_wide(table: Table, rows: Sequence[Any], said: list[str] | None = None, **more: Any) -> Report:
    """Run the sync, and note what is said before its end."""
    return table.send(rows, WIDE, columns=("id", "name", "loaded_at"), said=said, **more)


def test_a_run_that_updates_nearly_all_names_the_field_that_differs_most(table: Table) -> None:
    """The report and, after the first page already, the log name the field that makes all rows due."""
    for run in range(3):
        said: list[str] = []
        report = send_wide(table, stamped(run), said, page=100)
        if run == 0:
            assert (said, report.warnings) == ([], {})
            continue
        assert report.warnings == {WARNING: 300}
        assert "traits.meta.loaded_at (in at least " in report.warned[WARNING]
        assert len(said) == 1
        assert said[0].startswith("identify: so far 100 of 100 known rows are updated")
        assert "traits.meta.loaded_at" in said[0]


def test_a_field_that_has_become_another_in_all_rows_is_named_once(table: Table) -> None:
    """A new mapping that changes all rows is named too, and the run after it is quiet."""
    send_wide(table, stamped(0))
    renamed = [(n, f"USER {n}", run) for n, _, run in stamped(0)]
    assert "traits.name (in" in send_wide(table, renamed).warned[WARNING]
    assert send_wide(table, renamed).warnings == {}


FEW: dict[str, tuple[int, int, bool]] = {
    "89 of 100": (100, 89, False),
    "90 of 100": (100, 90, True),
    "all of 99": (99, 99, False),
    "all of 100": (100, 100, True),
}


@pytest.mark.parametrize(("count", "updated", "warns"), FEW.values(), ids=FEW)
def test_nearly_all_is_nine_of_ten_of_a_hundred(table: Table, count: int, updated: int, warns: bool) -> None:
    """Fewer updates, or fewer rows, are no reason to warn; nor are rows that are new."""
    send_wide(table, stamped(0, count))
    rows = [(n, name, int(n <= updated)) for n, name, _ in stamped(0, count)] + [
        (n + 1000, "new", 1) for n in range(1, 501)
    ]
    report = send_wide(table, rows)
    assert report.updated == updated
    assert (WARNING in report.warnings) == warns


def test_the_field_is_named_where_rows_of_the_sample_are_gone(table: Table) -> None:
    """The sample follows the rows that there are."""
    send_wide(table, stamped(0, 300))
    send_wide(table, stamped(1, 600)[200:])
    send_wide(table, stamped(2, 600)[400:])
    assert "traits.meta.loaded_at (in at least" in send_wide(table, stamped(3, 600)[400:]).warned[WARNING]


def test_a_state_of_before_warns_without_a_field(table: Table) -> None:
    """Where there is no sample yet the warning is right all the same: it names no field."""
    send_wide(table, stamped(0))
    table.sql("DELETE FROM segment_sample")
    warned = send_wide(table, stamped(1)).warned[WARNING]
    assert "300 known rows are updated" in warned
    assert "differs most" not in warned


def test_the_sample_keeps_no_value(table: Table) -> None:
    """Of each field of a hundred keys four bits are kept, and no name of a row's own."""
    rows = [(n, f"name-{n}", {f"secret-{n}": f"value-{n}"}) for n in range(150)]
    send_wide(table, rows)
    ((_, fields),) = table.sql("SELECT * FROM segment_sample")
    kept = json.loads(fields)
    assert kept["fields"] == ["traits.meta.loaded_at", "traits.name", "type", "userId"]
    assert len(kept["rows"]) == 100
    assert all(len(bits) == 4 for bits in kept["rows"].values())
