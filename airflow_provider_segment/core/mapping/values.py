"""One SQL value becomes one JSON value, or is refused with a reason; docs/mapping.md shows the table."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import orjson

from airflow_provider_segment.core.errors import Refused, SettingError
from airflow_provider_segment.core.mapping import timestamps
from airflow_provider_segment.core.rows.kinds import from_numpy, is_missing, is_numpy, named_row
from airflow_provider_segment.core.rows.numbers import exact, finite, is_finite, is_whole, kind_of_nan, whole
from airflow_provider_segment.core.rows.unreadable import Unreadable

UTC = dt.UTC
# As deep as orjson goes.
MAX_DEPTH = 252
_LOB = (
    ", which only points to its content: set fetch_lobs to false in the extra of Oracle's connection, or cast it in "
    "the query, such as TO_CHAR({column})"
)


class MissingTimezone(SettingError):
    """A timestamp carries no zone, and the run was given none: guessing would shift every event."""


def to_json(value: Any, zone: dt.tzinfo | None, path: str = "", depth: int = 0) -> Any:
    """Return the value as something that orjson writes exactly.

    :param value: what a driver, or a DAG author, gave.
    :param zone: the zone of timestamps that carry none; without it such a timestamp stops the run.
    :param path: where in the message the value stands, for the reason of a refusal.
    :param depth: how deep in other values it stands.
    :raises Refused: if there is no rule for the value.
    :raises MissingTimezone: if it is a timestamp without a zone, and there is no zone to give it.
    """
    if (often := _OFTEN.get(type(value))) is not None:
        return often(value, zone, path)
    if value is None or value is True or value is False:
        return value
    if isinstance(value, Enum):
        return to_json(value.value, zone, path, depth + 1)
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int):
        return whole(value)
    if isinstance(value, float):
        return finite(float(value), path)
    if depth > MAX_DEPTH:
        raise Refused("nested_too_deep", f"expected at most {MAX_DEPTH} levels of objects and lists", path)
    if isinstance(value, Mapping):
        return {_name(k, path): to_json(v, zone, f"{path}.{k}", depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return _items(value, zone, path, depth)
    return _rarer(value, zone, path, depth)


def _items(value: Sequence[Any], zone: dt.tzinfo | None, path: str, depth: int) -> Any:
    """Return an array, or the object that a row with names is."""
    if (named := named_row(value)) is not None:
        return to_json(named, zone, path, depth)
    return [to_json(item, zone, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]


def _rarer(value: Any, zone: dt.tzinfo | None, path: str, depth: int) -> Any:
    """Return the value of a type that drivers give for a column's own SQL type."""
    if is_missing(value):
        return None
    for types, convert in _TYPES:
        if isinstance(value, types):
            return convert(value)
    if isinstance(value, dt.date):
        return instant(value, zone, path) if isinstance(value, dt.datetime) else value.isoformat()
    if isinstance(value, Decimal):
        return exact(value, path)
    return _compound(value, zone, path, depth)


def _compound(value: Any, zone: dt.tzinfo | None, path: str, depth: int) -> Any:
    """Return the value of a type that holds others."""
    if isinstance(value, Unreadable):
        raise value.refused(path)
    if all(hasattr(value, name) for name in ("lower_inc", "upper_inc", "isempty")):
        return _range(value, zone, path, depth)
    if is_numpy(value):
        return to_json(from_numpy(value), zone, path, depth + 1)
    if isinstance(value, (set, frozenset)):
        return sorted((to_json(item, zone, path, depth + 1) for item in value), key=orjson.dumps)
    if isinstance(value, Sequence):  # a multirange, an array type of some driver
        return [to_json(item, zone, path, depth + 1) for item in value]
    if "lob" in _type(value).lower():  # of Oracle's drivers; each would be read by a round trip of its own
        raise Refused("type_not_known", f"found a {_type(value)}{_LOB}", path)
    raise Refused("type_not_known", f"no rule turns a {_type(value)} into JSON: cast the column in the query", path)


def instant(value: dt.datetime, zone: dt.tzinfo | None, path: str) -> str:
    """Return a point in time in UTC: sessions with other time zones must not make other messages.

    :raises MissingTimezone: if it carries no zone, and there is no zone to give it.
    """
    if value.tzinfo is None:
        value = value.replace(tzinfo=_known(zone, path))
    try:
        return (value if value.tzinfo is UTC else value.astimezone(UTC)).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError):
        raise Refused("timestamp_out_of_range", "found a datetime that UTC has no year for", path) from None


def timestamp(value: Any, zone: dt.tzinfo | None, path: str = "timestamp") -> str | None:
    """Return a message's timestamp as ISO 8601 in UTC, or None where there is none.

    :raises Refused: if it is neither a date nor a text that says one as ISO 8601.
    :raises MissingTimezone: if it carries no zone, and there is no zone to give it.
    """
    if isinstance(value, str):
        return _instant_of_text(value, zone, path) if value else None
    if is_missing(value):
        return None
    if isinstance(value, dt.datetime):
        return instant(value, zone, path)
    if isinstance(value, dt.date):
        return instant(dt.datetime(value.year, value.month, value.day), zone, path)  # noqa: DTZ001  instant() knows
    if is_numpy(value):
        return timestamp(from_numpy(value), zone, path)
    if isinstance(value, Unreadable):
        raise value.refused(path)
    is_number = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) and is_finite(value)
    hint = timestamps.what_number(value) if is_number else ""
    found = f"found a {_type(value)}{f' {hint}' if hint else '; expected a timestamp or ISO 8601 text'}"
    raise Refused("timestamp_not_iso8601", found, path)


def _instant_of_text(value: str, zone: dt.tzinfo | None, path: str) -> str:
    """Return a point in time in UTC with all digits of its fraction; Python's own have six."""
    if timestamps.is_canonical(value):
        return str(value)
    try:
        moment, fraction = timestamps.read(value)
    except ValueError:
        hint = timestamps.what_number(value) or "that is not ISO 8601, such as 2026-01-31T09:30:00Z"
        raise Refused("timestamp_not_iso8601", f"found a text of {len(value)} characters {hint}", path) from None
    text = instant(moment, zone, path)
    return f"{text[:-1]}.{fraction}Z" if fraction else text


def to_id(value: Any, path: str) -> str | None:
    """Return an id as text, or None where there is none; Segment drops ids that are not text.

    :raises Refused: if it is no id: blank, not a whole number, a truth value, an object.
    """
    if isinstance(value, Enum):
        value = value.value
    if is_numpy(value):
        value = from_numpy(value)
    if is_missing(value) or value == "":
        return None
    if isinstance(value, str):
        if not value.strip():
            raise Refused("id_not_string", f"found a text of {len(value)} blank characters", path)
        return _text(value, path)
    if isinstance(value, UUID) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    if isinstance(value, (float, Decimal)) and is_whole(value):
        return str(int(value))
    raise Refused("id_not_string", f"found {_article(value)}; expected text, a whole number or a UUID", path)


def _known(zone: dt.tzinfo | None, path: str) -> dt.tzinfo:
    if zone is None:
        raise MissingTimezone(
            f"{path}: found a timestamp without a time zone, and a guess would shift it; set timezone='UTC' (or the "
            "zone that the warehouse means), or cast the column in the query"
        )
    return zone


def _text(value: str, path: str) -> str:
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise Refused("text_not_unicode", f"found half a character in a text of {len(value)} characters", path)
    return str(value)


def to_names(value: Mapping[Any, Any], path: str = "") -> dict[str, Any]:
    """Return an object with its names as text, and its values as they are.

    :param value: a dict.
    :param path: where in the message it stands.
    :raises Refused: if a name is neither text nor a whole number or UUID.
    """
    return {_name(key, path): part for key, part in value.items()}


def _name(key: Any, path: str) -> str:
    if isinstance(key, str):
        return _text(key, path)
    if isinstance(key, (int, UUID)) and not isinstance(key, bool):
        return str(key)
    raise Refused("name_not_text", f"found {_article(key)} as a name in an object; expected text", path)


def _seconds(value: dt.timedelta) -> int | float:
    seconds = value.total_seconds()
    return int(seconds) if seconds == int(seconds) else seconds


def _range(value: Any, zone: dt.tzinfo | None, path: str, depth: int) -> dict[str, Any]:
    """Return a range of PostgreSQL as an object, for psycopg2 and psycopg alike."""
    if value.isempty:
        return {"empty": True}
    bounds = ("[" if value.lower_inc else "(") + ("]" if value.upper_inc else ")")
    lower, upper = (to_json(end, zone, path, depth + 1) for end in (value.lower, value.upper))
    return {"lower": lower, "upper": upper, "bounds": bounds}


# What drivers give so often that it does not wait for its turn, which takes a microsecond.
_OFTEN: dict[type, Callable[[Any, dt.tzinfo | None, str], Any]] = {
    dt.datetime: instant,
    Decimal: lambda value, _, path: exact(value, path),
    orjson.Fragment: lambda value, *_: value,  # is JSON already
}
# Types whose rule needs nothing but the value; a datetime is a date too, so it stands apart.
_TYPES: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    ((UUID, ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network), str),
    ((bytes, bytearray, memoryview), lambda value: base64.b64encode(value).decode()),
    (dt.timedelta, _seconds),
    (dt.time, dt.time.isoformat),
)


def _type(value: Any) -> str:
    return type(value).__name__


def _article(value: Any) -> str:
    return f"a {_type(value)}" if is_finite(value) else f"a value that is {kind_of_nan(value)}"
