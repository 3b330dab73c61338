"""Columns whose values all need the same work, done at once: one by one it takes longer than all else of a row.

What comes out is what values.to_json() makes of each value, or None where that has to look at each.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import orjson

UTC = dt.UTC
_ZONES_OF_UTC = ("UTC", "Etc/UTC")  # as zoneinfo calls it


def turned(values: Sequence[Any], zone: dt.tzinfo | None) -> Sequence[Any] | None:
    """Return values as orjson writes them exactly, where all are of one type of NEED_WORK, or null.

    :param values: of a column.
    :param zone: the zone of timestamps that carry none.
    """
    types = set(map(type, values)) - {type(None)}
    turn = NEED_WORK.get(types.pop()) if len(types) == 1 else None
    return None if turn is None else turn(values, zone)


def timestamps(values: Sequence[Any], zone: dt.tzinfo | None) -> Sequence[Any] | None:
    """Return datetimes as turned() does, and None for all else.

    :param values: of a column.
    :param zone: the zone of timestamps that carry none.
    """
    return _instants(values, zone) if set(map(type, values)) <= {dt.datetime, type(None)} else None


def _instants(values: Sequence[Any], zone: dt.tzinfo | None) -> Sequence[Any] | None:
    zones = {value.tzinfo for value in values if value is not None}
    if None in zones and not (zones == {None} and _is_utc(zone)):
        return None
    if None not in zones and not all(map(_is_utc, zones)):
        try:
            values = [value and value.astimezone(UTC) for value in values]
        except (OverflowError, ValueError):
            return None
    return _written(values, orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z)


def _written(values: Sequence[Any], options: int = 0) -> Sequence[Any]:
    """Return values as the texts that orjson writes: it is ten times as fast as Python's own methods."""
    texts: list[Any] = orjson.loads(orjson.dumps(values, option=options))
    return texts


def _exact(values: Sequence[Any]) -> Sequence[Any] | None:
    if type(None) in set(map(type, values)):  # `None in values` would compare it with each Decimal, in 0.6 us
        if not all(value is None or value.is_finite() for value in values):
            return None
        return [None if value is None else orjson.Fragment(str(value)) for value in values]
    return list(map(orjson.Fragment, map(str, values))) if all(map(Decimal.is_finite, values)) else None


def _is_utc(zone: dt.tzinfo | None) -> bool:
    return zone is UTC or getattr(zone, "key", None) in _ZONES_OF_UTC


# Types that drivers give for columns, and that orjson does not write, or not as they leave.
NEED_WORK: dict[type, Callable[[Sequence[Any], dt.tzinfo | None], Sequence[Any] | None]] = {
    dt.datetime: _instants,
    dt.date: lambda values, _: _written(values),
    Decimal: lambda values, _: _exact(values),
}
