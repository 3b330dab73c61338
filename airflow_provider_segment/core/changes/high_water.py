"""The high-water mark of a cursor: a value of its column, as text and back, and how far back and ahead it may go."""

from __future__ import annotations

import datetime as dt
import math
import re
from decimal import Decimal
from typing import Any, TypeAlias

from airflow_provider_segment.core.errors import SettingError

Value: TypeAlias = Any  # a timestamp, a date, a whole number or a text

TIME_AS_TEXT = "timestamp as text"
SUPPORTED = "timestamps, dates, whole numbers or texts that sort"
# Where it is not known which zone a timestamp belongs to, it is surely over when it is over here.
_LAST_ZONE = dt.timezone(dt.timedelta(hours=-12))
_DAY = dt.timedelta(days=1)
# UUIDs that do not grow with time (RFC 9562): those of versions 6 and 7 do.
_RANDOM_UUID = re.compile(r"[\da-f]{8}-[\da-f]{4}-[1-5][\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}", re.IGNORECASE)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?.*)?\Z")


def kind_of(value: Value) -> str:
    """Return which kind of cursor a value belongs to.

    :param value: of the column, never null.
    :raises SettingError: if it is none that has an order.
    """
    if isinstance(value, dt.datetime):
        return "timestamp without a zone" if value.tzinfo is None else "timestamp"
    if isinstance(value, dt.date):
        return "date"
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool) and value == int(value):
        return "whole number"
    if isinstance(value, str):
        if _RANDOM_UUID.fullmatch(value):
            raise SettingError(
                f"found UUIDs of version {value[14]}, among which new ones come anywhere; expected {SUPPORTED}"
            )
        return TIME_AS_TEXT if _moment(value) is not None else "text"
    raise SettingError(f"found a {type(value).__name__}; expected {SUPPORTED}")


def written(value: Value) -> str:
    """Return a value as text, for the state.

    :param value: of the column.
    """
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def read(kind: str, text: str) -> Value:
    """Return the value that written() has written.

    :param kind: of the value.
    :param text: of it.
    """
    if kind.startswith("timestamp") and kind != TIME_AS_TEXT:
        return dt.datetime.fromisoformat(text)
    if kind == "date":
        return dt.date.fromisoformat(text)
    return int(Decimal(text)) if kind == "whole number" else text


def back(value: Value, lookback: dt.timedelta | float) -> Value:
    """Return the value that lies before another one.

    :param value: of the column.
    :param lookback: how far: seconds or a timedelta; for whole numbers a number.
    :raises SettingError: if there is no such.
    """
    if not lookback:
        return value
    kind = kind_of(value)
    span = lookback if isinstance(lookback, dt.timedelta) else dt.timedelta(seconds=lookback)
    if isinstance(value, dt.datetime):
        return value - span
    if kind == "date":
        return value - math.ceil(span / _DAY) * _DAY
    if kind == "whole number" and not isinstance(lookback, dt.timedelta):
        return value - math.ceil(lookback)
    moment = _moment(value) if kind == TIME_AS_TEXT else None
    if moment is None:
        raise SettingError(
            f"lookback: expected a column of timestamps or dates, or a number for one of whole numbers; found {kind}"
        )
    # Cut after the seconds: such a text sorts before all others of that second, whatever follows in them.
    text = (moment - span).strftime("%Y-%m-%d %H:%M:%S")
    return text[:10] if len(value) == 10 else f"{text[:10]}{value[10]}{text[11:]}"


def day_of(value: Value) -> int | None:
    """Return the day of a value, as a number; None where it has none.

    :param value: of the column.
    """
    moment = _moment(value)
    if moment is not None and moment.tzinfo is not None:
        moment = moment.astimezone(dt.UTC)
    return None if moment is None else moment.toordinal()


def is_ahead(value: Value, now: float, zone: dt.tzinfo | None) -> bool:
    """Tell whether a value lies in the future, or perhaps does.

    :param value: of the column.
    :param now: seconds since 1970.
    :param zone: of timestamps that carry none; None where that is not known.
    """
    moment = _moment(value)
    if moment is None:
        return False
    here = dt.datetime.fromtimestamp(now, zone or _LAST_ZONE)
    return moment > (here if moment.tzinfo is not None else here.replace(tzinfo=None))


def _moment(value: Value) -> dt.datetime | None:
    """Return a value as a timestamp, where it is one, also one that is written as text."""
    if isinstance(value, dt.datetime):
        return value
    if isinstance(value, dt.date):
        return dt.datetime.combine(value, dt.time())
    if isinstance(value, str) and _MOMENT.match(value):
        try:
            return dt.datetime.fromisoformat(value)
        except ValueError:
            return None
    return None
