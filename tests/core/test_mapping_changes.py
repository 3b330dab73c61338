"""A changed mapping is said before anything is sent, with what changed and how many calls that may make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_changes import GONE, USERS, Table

from airflow_provider_segment.calls import AllColumns, Constant, Identify, Track
from airflow_provider_segment.core.errors import CapError
from airflow_provider_segment.testing import SegmentServer

ROWS = [(n, 0) for n in range(30)]
RICHER = Identify("id", traits={"x": "x", "day": Constant("secret-1")})
OTHER_DAY = Identify("id", traits={"x": "x", "day": Constant("secret-2")})
LABELLED = Identify("id", traits={"x": "x"}, label="customers")
ONCE = Track(Constant("Came"), "id", properties={"x": "x"})
TWICE = Track(Constant("Came"), "id", properties={"x": "x", "id": "id"})

CHANGED: dict[str, tuple[Any, Any, dict[str, Any], list[str]]] = {
    "nothing": (USERS, USERS, {}, []),
    "a new trait": (
        USERS,
        RICHER,
        {},
        ["identify: traits.day is new: up to 30 calls, one for each known key, besides "],
    ),
    "a trait that is gone": (RICHER, USERS, {}, ["identify: traits.day is gone: up to 30 calls"]),
    "another constant": (RICHER, OTHER_DAY, {}, ["identify: traits.day changed: up to 30 calls"]),
    "all columns": (USERS, Identify("id", traits=AllColumns()), {}, ["identify: traits"]),
    "nulls": (USERS, USERS, {"nulls": "omit"}, ["identify: nulls: up to 30 calls"]),
    "a call that is only added": (ONCE, TWICE, {}, ["track:Came: properties.id is new: no call for a known key"]),
    "another label": (
        USERS,
        LABELLED,
        {},
        ["the call customers is new, and made of all rows; identify is not there any more: to rename a call, keep its"],
    ),
    "a new call": ([USERS], [USERS, ONCE], {}, ["the call track:Came is new, and made of all rows"]),
    "another key": (
        [USERS, GONE],
        [USERS, GONE],
        {"key": ["id", "x"]},
        ["the key was id and is id, x: all rows are new"],
    ),
}


@pytest.mark.parametrize(("before", "after", "options", "said"), CHANGED.values(), ids=CHANGED)
def test_what_changed(
    segment: SegmentServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    before: Any,
    after: Any,
    options: dict[str, Any],
    said: list[str],
) -> None:
    """The log names what changed, in the run in which it does, and in none after it."""
    table = Table(segment, tmp_path / "state.db")
    table.send(ROWS, before)
    for expected in (said, []):
        caplog.clear()
        table.send(ROWS, after, max_deleted=1, **options)
        found = [record.getMessage() for record in caplog.records if "The mapping changed" in record.getMessage()]
        assert len(found) == len(expected)
        for text, begins in zip(found, expected, strict=True):
            assert text.startswith(f"The mapping changed: {begins}")
        assert "secret" not in caplog.text


def test_after_a_run_that_a_cap_stopped(
    segment: SegmentServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said before anything is sent, and again in the next run, since nothing was sent with the new mapping."""
    table = Table(segment, tmp_path / "state.db")
    table.send(ROWS)
    for _ in range(2):
        caplog.clear()
        with pytest.raises(CapError, match="identify: updated 30; max_updated allows 29"):
            table.send(ROWS, RICHER, max_updated=29)
        assert "traits.day is new: up to 30 calls" in caplog.text
    assert len(segment.messages) == 30
