"""The high-water mark of a cursor where Python's order is not the plain one."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from airflow_provider_segment.core.changes import high_water
from airflow_provider_segment.core.changes.prefilter.by_cursor import CursorFilter
from airflow_provider_segment.core.changes.prefilter.cursor_mark import read_mark
from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.rows.pages import Pages

OPTIONS = Options(sync_mode="changes", key="id", state_path="unused", cursor="at", timezone="UTC")
NOW = 1_800_000_000.0
BERLIN = ZoneInfo("Europe/Berlin")


class Query:
    """A source that has no rows."""

    column = "at"

    def read(self, first: Any) -> Pages:
        return Pages(["at"], (), "tests")


def reading() -> CursorFilter:
    return CursorFilter(Query(), 0, OPTIONS, ["c"], None, NOW)


def test_the_hour_that_comes_twice() -> None:
    """In autumn the mark is held by the row that came first, not by the one whose clock shows less."""
    first = dt.datetime(2026, 10, 25, 2, 50, tzinfo=BERLIN)
    later = dt.datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN, fold=1)
    found = reading()
    found.look([(first,), (later,)], 1)
    found.look([(dt.datetime(2026, 10, 26, tzinfo=BERLIN),)], 3)
    found.unsettle(1)
    moved = found.moved()
    assert moved is not None
    assert moved.first(OPTIONS) == first.astimezone(dt.UTC)
    assert read_mark(moved.written()) == moved


def test_decimals_with_fractions() -> None:
    """One fraction among whole numbers is no whole number, wherever it stands."""
    with pytest.raises(SettingError, match="found a Decimal"):
        reading().look([(Decimal("1.5"),), (Decimal(2),), (3,)], 1)


@pytest.mark.parametrize(
    "value",
    [
        dt.datetime(2026, 1, 1, 12, 0, 0, 123456, dt.UTC),
        dt.datetime(2026, 1, 1, 12, 0, 0, 1),  # noqa: DTZ001
        dt.date(2026, 1, 1),
        -(2**63),
        Decimal(10**30),
        "2026-01-01 12:00:00.123456789",
        "\u00e4 text",
    ],
    ids=repr,
)
def test_values_come_back(value: Any) -> None:
    """What is written of a value is read as that value."""
    assert high_water.read(high_water.kind_of(value), high_water.written(value)) == value


@pytest.mark.parametrize("version", [1, 3, 4, 5])
def test_uuids_that_do_not_grow_are_refused(version: int) -> None:
    """Rows with such ids come behind the mark as often as before it, and nobody would hear of those."""
    found = str(UUID(int=2**127 - 12_345, version=version))
    with pytest.raises(SettingError, match=f"^found UUIDs of version {version}, among which new ones come anywhere"):
        high_water.kind_of(found)
    with pytest.raises(SettingError, match=f"version {version}"):
        high_water.kind_of(found.upper())
    assert high_water.kind_of(f"{found[:14]}7{found[15:]}") == high_water.kind_of(f"{found}x") == "text"


BACK: dict[str, tuple[Any, Any, Any]] = {
    "a date, by an hour": (dt.date(2026, 1, 2), 3_600, dt.date(2026, 1, 1)),
    "a number": (100, 2.5, 97),
    "a text, cut after the seconds": ("2026-01-01T12:00:00.5Z", 1, "2026-01-01T11:59:59"),
    "a date as text": ("2026-01-02", 3_600, "2026-01-01"),
}


@pytest.mark.parametrize(("value", "lookback", "expected"), BACK.values(), ids=BACK)
def test_back(value: Any, lookback: Any, expected: Any) -> None:
    """The lookback never takes away less than it says."""
    assert high_water.back(value, lookback) == expected


def test_set_back_keeps_what_is_held() -> None:
    """A mark that is set back to a value after a row that was refused is still held by that row."""
    found = reading()
    found.look([(50,), (100,)], 1)
    found.unsettle(1)
    moved = found.moved()
    assert moved is not None
    assert moved.set_back(80).first(OPTIONS) == 50
    assert moved.set_back(20).first(OPTIONS) == 20
