"""A column that is turned at once is written as its values are one by one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_segment.core.errors import Refused
from airflow_provider_segment.core.mapping import values, whole_columns
from airflow_provider_segment.core.mapping.encoding import encoder
from airflow_provider_segment.core.mapping.ids import Ids
from airflow_provider_segment.core.rows.keys import key_bytes

ZONES = st.sampled_from(
    [None, dt.UTC, ZoneInfo("UTC"), ZoneInfo("Etc/UTC"), ZoneInfo("Europe/London"), dt.timezone(dt.timedelta(hours=-5))]
)
MOMENTS = st.datetimes(timezones=ZONES)
COLUMNS = st.one_of(
    *(
        st.lists(st.none() | one)
        for one in (MOMENTS, st.dates(), st.decimals(), st.datetimes(timezones=st.just(dt.UTC)), st.datetimes())
    ),
    st.lists(st.none() | MOMENTS | st.dates() | st.decimals()),
)
OF_NAIVE = st.sampled_from([None, dt.UTC, ZoneInfo("Europe/Berlin")])


def each(convert: Callable[[], Any]) -> Any:
    """Return what a conversion gives, or the type of its error."""
    try:
        return convert()
    except (Refused, values.MissingTimezone) as error:
        return type(error)


@given(COLUMNS, OF_NAIVE)
def test_a_column_at_once_is_as_its_values_one_by_one(column: list[Any], zone: dt.tzinfo | None) -> None:
    """Whatever can be turned at once is the same JSON; whatever is left alone is left to the rules of each value."""
    found = whole_columns.turned(column, zone)
    if found is not None:
        one_by_one = each(lambda: [values.to_json(value, zone) for value in column])
        assert orjson.dumps(found) == orjson.dumps(one_by_one)


@given(COLUMNS, OF_NAIVE)
def test_timestamps_at_once_are_as_one_by_one(column: list[Any], zone: dt.tzinfo | None) -> None:
    """The same for a message's timestamp, for which a date is midnight and so is not turned here."""
    found = whole_columns.timestamps(column, zone)
    if found is not None:
        assert found == each(lambda: [values.timestamp(value, zone) for value in column])


@pytest.mark.parametrize("value", [Decimal("1.50"), dt.date(2026, 1, 31), dt.datetime(2026, 1, 31, tzinfo=dt.UTC)])
def test_values_that_drivers_give_are_turned_at_once(value: Any) -> None:
    """A column of them, with nulls or without, does not go value by value."""
    assert whole_columns.turned([value, value], None) is not None
    assert whole_columns.turned([None, value], None) is not None


def test_a_turned_value_beside_one_that_orjson_refuses_is_sent_all_the_same() -> None:
    """An integer of more than 64 bits sends the message the slow way, and the Decimal keeps its digits there."""
    (amount,) = whole_columns.turned([Decimal("1.50")], None) or ()
    encoded = encoder(None, with_id=False)({"type": "track", "properties": {"a": amount, "b": 2**70}})
    assert encoded == b'{"type":"track","properties":{"a":1.50,"b":%d}}' % (2**70)


@given(st.lists(st.uuids(), min_size=1) | st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_keys_at_once_are_as_one_by_one(column: list[UUID] | list[str]) -> None:
    """A key has the same bytes beside others as alone, also one with commas and quotes."""
    assert key_bytes([column]) == [orjson.dumps([value]) for value in column]


@given(st.lists(st.uuids(), min_size=1))
def test_ids_that_are_uuids_are_texts(found: list[UUID]) -> None:
    """An id that the driver gives as a UUID leaves as its text."""
    assert Ids("userId").read(found) == list(map(str, found))
