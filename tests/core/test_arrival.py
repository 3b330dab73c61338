"""The filter on the client: rows are found where they arrive, and only what is new takes the long way."""

from __future__ import annotations

import datetime as dt
import math
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from test_changes import GONE, USERS, Table, kinds

from airflow_provider_segment.core.rows.row_hashes import NO_HASH, SIZE, hashes_of, hashes_of_columns
from airflow_provider_segment.testing import SegmentServer

Rows = list[tuple[Any, ...]]
PAGE = 50
OLD: Rows = [(n, f"x{n}") for n in range(2_000)]
NEW: Rows = [(n, "new") for n in range(10_000, 10_700)]


@pytest.fixture
def table(segment: SegmentServer, tmp_path: Path) -> Table:
    """An empty table."""
    return Table(segment, tmp_path / "state.db")


def blocks(rows: Rows, size: int) -> list[Rows]:
    return [rows[at : at + size] for at in range(0, len(rows), size)]


def joined(parts: list[Rows]) -> Rows:
    return [row for part in parts for row in part]


MOVED: dict[str, Callable[[], Rows]] = {
    "the same": lambda: OLD,
    "rows in front": lambda: NEW + OLD,
    "rows in the middle": lambda: OLD[:777] + NEW + OLD[777:],
    "rows at the end": lambda: OLD + NEW,
    "one row in front": lambda: NEW[:1] + OLD,
    "rows out of the front": lambda: OLD[333:],
    "rows out of the middle": lambda: OLD[:333] + OLD[1_111:],
    "halves swapped": lambda: OLD[1_000:] + OLD[:1_000],
    "odd halves swapped": lambda: OLD[987:] + OLD[:987],
    "blocks reversed": lambda: joined(blocks(OLD, 4 * PAGE)[::-1]),
    "odd blocks reversed": lambda: joined(blocks(OLD, 333)[::-1]),
    "here and there": lambda: joined([[*part, NEW[n]] for n, part in enumerate(blocks(OLD, 97))]),
}


@pytest.mark.parametrize("moved", MOVED.values(), ids=MOVED)
def test_only_new_rows_are_looked_at(table: Table, segment: SegmentServer, moved: Callable[[], Rows]) -> None:
    """Rows put in, taken out, moved in blocks: old ones are passed over, new ones sent, and what is gone deleted.

    Where two blocks of an odd size meet in one page, a few old rows may be looked at too.
    """
    table.send(OLD, [USERS, GONE], page=PAGE)
    rows = moved()
    added, gone = set(rows) - set(OLD), set(OLD) - set(rows)
    for expected in ((len(added), 0, len(gone)), (0, 0, 0)):
        report = table.send(rows, [USERS, GONE], page=PAGE, max_deleted=1)
        assert kinds(report) == expected
        few = 2 * PAGE if moved is MOVED["odd blocks reversed"] else 0
        assert expected[0] <= report.rows - report.skipped <= expected[0] + few
    report = table.send(rows, [USERS, GONE], page=777)  # pages of another size
    assert kinds(report) == (0, 0, 0)
    assert report.rows - report.skipped <= few


def test_an_order_of_chance_turns_the_filter_off(table: Table, segment: SegmentServer) -> None:
    """Where rows come in any order, all is right, also what is gone; the filter is back when they have one again."""
    many: Rows = [(n, f"x{n}") for n in range(5_000)]
    shuffled = many.copy()
    random.Random(1).shuffle(shuffled)  # noqa: S311  no secret
    table.send(many, [USERS, GONE], page=25)
    report = table.send(shuffled[:-3], [USERS, GONE], page=25)
    assert kinds(report) == (0, 0, 3)
    assert report.skipped < len(many) / 10
    assert report.warnings["rows: nothing_skipped"] > 4_500
    assert "ORDER BY" in report.warned["rows: nothing_skipped"]
    assert len(table.sql("SELECT page_no FROM segment_arrival")) < 10
    rows = many[:4_000]
    back, gone = len(set(rows) - set(shuffled[:-3])), len(set(shuffled[:-3]) - set(rows))
    assert kinds(table.send(rows, [USERS, GONE], page=25)) == (back, 0, gone)
    assert table.send(rows, [USERS, GONE], page=25).skipped < len(rows)
    assert table.send(rows, [USERS, GONE], page=25).skipped == len(rows)


def test_a_run_that_was_cut_off_costs_a_full_read(table: Table, segment: SegmentServer) -> None:
    """After a run that failed no row is passed over, whatever it had read; the next one passes over all."""
    table.send(OLD[:100], page=PAGE)
    segment.respond_with([401])
    with pytest.raises(Exception, match="write key"):
        table.send([*OLD[:100], (5_000, "y")], page=PAGE)
    report = table.send(OLD[:100], page=PAGE)
    assert (report.skipped, report.unchanged) == (0, 100)
    assert table.send(OLD[:100], page=PAGE).skipped == 100


def test_an_unmapped_column_is_no_matter(table: Table, segment: SegmentServer) -> None:
    """A column that no call uses may differ in each run: the rows are passed over."""
    for turn in range(2):
        report = table.send([(n, "x", turn) for n in range(100)], columns=("id", "x", "loaded"))
    assert report.skipped == 100


ALIKE = [
    *(1, 1.0, "1", True, Decimal(1), Decimal("1.0"), b"1", [1], ["1"], {"a": 1}, '{"a":1}', None, "null", "None", ""),
    *(math.nan, math.inf, -math.inf, 2**70, str(2**70), "\ud800", "x\ud800"),
    *(dt.datetime(2026, 1, 1), dt.date(2026, 1, 1), "2026-01-01", dt.time(1), dt.timedelta(1)),  # noqa: DTZ001
    dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    {"a": None},
    {"a": math.nan},
    *(np.float64(1.0), np.int64(1), np.float64("nan"), np.float32("inf")),
]


def test_values_that_differ_have_other_hashes() -> None:
    """What a mapping may tell apart has another hash, or none; the same value has the same."""
    rows = [(1, value, "x") for value in ALIKE]
    found = [hashes_of([row]) for row in rows]
    known = [one for one in found if one != NO_HASH]
    assert len(set(known)) == len(known) > len(rows) - 4
    assert hashes_of(rows) == b"".join(found)
    assert all(len(one) == SIZE for one in found)


@pytest.mark.parametrize("value", [object(), {1: object()}, {"a": math.nan, "b": memoryview(b"x")}, [object()]])
def test_what_nobody_knows_has_no_hash(value: Any) -> None:
    """A value whose text may not show it is looked at in each run."""
    assert hashes_of([(1, value)]) == NO_HASH


def test_values_of_drivers_have_a_hash() -> None:
    """Bytes in any form, UUIDs, and rows of classes of their own are known by what they hold."""
    assert hashes_of([(memoryview(b"x"), UUID(int=1))]) != NO_HASH
    assert hashes_of([(memoryview(b"x"),)]) != hashes_of([(memoryview(b"y"),)])
    few = hashes_of_columns([0, 2], 3)
    assert few([(1, object(), 2)]) == hashes_of([(1, 2)])
    assert hashes_of_columns([1], 3)([(1, 2, 3)]) == hashes_of([(2,)])
