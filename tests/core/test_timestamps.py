"""Timestamps that databases write as text leave in one form; a number in their place is refused with the way."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_segment.core.errors import Refused
from airflow_provider_segment.core.mapping import values

UTC = dt.UTC
TEXTS = {
    "PostgreSQL": ("2026-01-02 03:04:05+00", "2026-01-02T03:04:05Z"),
    "PostgreSQL with minutes": ("2026-01-02 03:04:05.123456+05:30", "2026-01-01T21:34:05.123456Z"),
    "an offset of before 1900": ("1880-01-01 00:00:00+00:53:28", "1879-12-31T23:06:32Z"),
    "Snowflake": ("2026-01-02 03:04:05.000 -0800", "2026-01-02T11:04:05.000Z"),
    "Trino, BigQuery": ("2026-01-02 03:04:05.123 UTC", "2026-01-02T03:04:05.123Z"),
    "nanoseconds": ("2026-01-02 03:04:05.123456789+00", "2026-01-02T03:04:05.123456789Z"),
    "nanoseconds in another zone": ("2026-01-02T00:04:05.100000001+01:00", "2026-01-01T23:04:05.100000001Z"),
    "nanoseconds without a zone": ("2026-01-02 03:04:05.123456789", "2026-01-02T03:04:05.123456789Z"),
    "comma": ("2026-01-02T03:04:05,5Z", "2026-01-02T03:04:05.5Z"),
    "ISO 8601": ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
    "ISO 8601 of JavaScript": ("2026-01-02T03:04:05.250Z", "2026-01-02T03:04:05.250Z"),
    "ISO 8601 with an offset": ("2026-01-02T03:04:05+01:00", "2026-01-02T02:04:05Z"),
    "ISO 8601 of RFC 3339": ("2026-01-02t03:04:05z", "2026-01-02T03:04:05Z"),
    "basic": ("20260102T030405+0100", "2026-01-02T02:04:05Z"),
    "no seconds": ("2026-01-02T03:04Z", "2026-01-02T03:04:00Z"),
    "padded": ("2026-01-02 03:04:05+00   ", "2026-01-02T03:04:05Z"),
    "day": ("2026-01-02", "2026-01-02T00:00:00Z"),
    "day of a week": ("2026-W01-5", "2026-01-02T00:00:00Z"),
    "year 1": ("0001-01-01 00:00:00+00", "0001-01-01T00:00:00Z"),
}
SECONDS, MILLIS = 1_767_322_645, 1_767_322_645_123
NUMBERS: list[tuple[Any, str, str]] = [
    (SECONDS, "seconds", "TIMESTAMP_SECONDS(at)"),
    (float(SECONDS), "seconds", "to_timestamp(at)"),
    (Decimal(SECONDS), "seconds", "to_timestamp(at)"),
    (f"{SECONDS}", "seconds", "to_timestamp(at)"),
    (f"{SECONDS}.5", "seconds", "to_timestamp(at)"),
    (MILLIS, "milliseconds", "to_timestamp(at / 1000.0)"),
    (f"{MILLIS}", "milliseconds", "TIMESTAMP_MILLIS(at)"),
    ("1711123100000", "milliseconds", "TIMESTAMP_MILLIS(at)"),  # Python reads it as a day of 1711
    (MILLIS * 1000, "microseconds", "TIMESTAMP_MICROS(at)"),
    (MILLIS * 1_000_000, "nanoseconds", "TO_TIMESTAMP(at, 9)"),
    (20260131, "YYYYMMDD", "to_date(at::text"),
]


@pytest.mark.parametrize(("text", "leaves"), TEXTS.values(), ids=TEXTS)
def test_text_with_a_zone_leaves_in_the_one_form(text: str, leaves: str) -> None:
    """What a database writes for a point in time leaves as ISO 8601 in UTC, with all digits of its fraction."""
    assert values.timestamp(text, UTC) == leaves
    assert values.timestamp(leaves, None) == leaves  # the form itself stays as it is


@given(st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.timezones()))  # noqa: DTZ001  naive bounds
def test_every_datetime_as_text_is_the_same_point_in_time(at: dt.datetime) -> None:
    """Whatever zone and fraction a text has, what leaves is the point in time that it says."""
    left = values.timestamp(str(at), None)
    assert left is not None
    assert left.endswith("Z")
    assert dt.datetime.fromisoformat(left) == at.astimezone(UTC)


@pytest.mark.parametrize(("value", "unit", "cast"), NUMBERS)
def test_number_says_what_it_looks_like_and_how_to_cast_it(value: Any, unit: str, cast: str) -> None:
    """An epoch number is refused with its unit and the cast of the column, and never shown itself."""
    with pytest.raises(Refused) as caught:
        values.timestamp(value, UTC)
    reason = caught.value.text("at")
    assert caught.value.code == "timestamp_not_iso8601"
    assert reason.startswith("column at: found a ")
    assert f"looks like {unit} " in reason or f"({unit})" in reason
    assert cast in reason
    assert str(value) not in reason


@pytest.mark.parametrize("value", [5, 0, -1, 10**30, True, float("nan"), Decimal("sNaN"), Decimal("Infinity"), 10**400])
def test_other_numbers_are_refused_without_a_guess(value: Any) -> None:
    """A number that could be anything is refused, and nothing is said of it."""
    with pytest.raises(Refused) as caught:
        values.timestamp(value, UTC)
    assert caught.value.text() == f"found a {type(value).__name__}; expected a timestamp or ISO 8601 text"


NO_TIMES = [
    *("31.01.2026", "01/31/2026", "2026-13-01", "2026-01-31T25:00Z", "2026-01-31T09:30:00.Z", "2026-01-31-09.30.00"),
    *(
        "2026-01-31T09:30:00+1",
        "2026-01-31 09:30:00 CET",
        "2026-01-31T09:30:00ZZ",
        "now",
        " ",
        "20260131093000",
        "\ud800",
    ),
]


@pytest.mark.parametrize("text", NO_TIMES)
def test_other_texts_are_refused(text: str) -> None:
    """A text that does not clearly say a point in time, or one in a zone of more than one meaning, is refused."""
    with pytest.raises(Refused, match="timestamp_not_iso8601"):
        values.timestamp(text, UTC)
