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

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.core.errors import Refused
from airflow_provider_segment.core.mapping import context, values, whole_columns
from airflow_provider_segment.core.mapping.compiler import CompiledCall
from airflow_provider_segment.core.mapping.encoding import encoder
from airflow_provider_segment.core.mapping.ids import Ids
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.rows.columns import Columns
from airflow_provider_segment.core.rows.keys import key_bytes
from airflow_provider_segment.core.rows.row_hashes import hashes_of

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


@given(st.lists(st.uuids(), min_size=1))
def test_a_uuid_is_its_text_to_keys_and_to_the_filter(found: list[UUID]) -> None:
    """Whether a driver gives UUIDs or their texts: the keys are the same, and the rows for the filter."""
    texts = list(map(str, found))
    assert key_bytes([found]) == key_bytes([texts])
    assert hashes_of([(1, one) for one in found]) == hashes_of([(1, one) for one in texts])


# pandas' way to say that nothing is there, told by its type's name alone.
NOTHING = type("NAType", (), {})()
PARTS = st.one_of(
    st.none(), st.text(max_size=2), st.integers(), st.floats(), st.booleans(), st.decimals(), st.just(NOTHING)
)
PATHS = ["context.ip", "context.network.wifi", "context.location.latitude", "context.app.version", "context.os.name"]


@given(st.lists(PARTS), st.sampled_from(PATHS))
def test_a_place_of_the_context_at_once_is_as_its_values_one_by_one(column: list[Any], path: str) -> None:
    """What has its type already passes, and all else is turned or refused as it would be alone."""
    known = context.known_at(path)
    assert known is not None
    one_by_one = each(lambda: [context.typed(value, known, path) for value in column])
    assert repr(each(lambda: context.all_typed(column, known, path))) == repr(one_by_one)


@given(st.lists(st.tuples(PARTS, PARTS, st.none() | st.dictionaries(st.text(max_size=1), st.none())), min_size=1))
def test_nulls_are_left_out_of_each_row_of_a_page(rows: list[tuple[Any, ...]]) -> None:
    """Whatever the other rows hold, a message has the traits that are there, and none where none is."""
    call = Identify({"constant": "u"}, traits={"a": "a", "b": "b", "in": {"c": "c"}})
    made = CompiledCall(call, Columns(["a", "b", "c"]), Options(nulls="omit")).messages(rows)
    for message, (a, b, c) in zip(made, rows, strict=True):
        inner = {} if c is None else {"in": {"c": c}}
        there = {name: value for name, value in {"a": a, "b": b}.items() if value is not None and value is not NOTHING}
        # A Decimal that stands alone in its column is turned to JSON by then.
        assert list(message.get("traits", {})) == list(there | inner)
