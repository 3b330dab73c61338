"""One SQL value becomes one JSON value, or is refused with a reason; docs/mapping.md shows the table."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import orjson

from airflow_provider_segment.core.errors import Refused, SettingError
from airflow_provider_segment.core.unreadable import Unreadable

UTC = dt.UTC
# Floats hold every whole number up to here; above it an id could be another customer's.
LARGEST_EXACT_FLOAT = 2**53
# As deep as orjson goes.
MAX_DEPTH = 252


class ZoneMissing(SettingError):
    """A timestamp carries no zone, and the run was given none: guessing would shift every event."""


def to_json(value: Any, zone: dt.tzinfo | None, path: str = "", depth: int = 0) -> Any:
    """Return the value as something that orjson writes exactly.

    :param value: what a driver, or a DAG author, gave.
    :param zone: the zone of timestamps that carry none; without it such a timestamp stops the run.
    :param path: where in the message the value stands, for the reason of a refusal.
    :param depth: how deep in other values it stands.
    :raises Refused: if there is no rule for the value.
    :raises ZoneMissing: if it is a timestamp without a zone, and there is no zone to give it.
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
        return int(value) if -(2**63) <= value < 2**64 else orjson.Fragment(str(int(value)))
    if isinstance(value, float):
        return _finite(float(value), path)
    if depth > MAX_DEPTH:
        raise Refused("nested_too_deep", f"expected at most {MAX_DEPTH} levels of objects and lists", path)
    if isinstance(value, Mapping):
        return {_name(k, path): to_json(v, zone, f"{path}.{k}", depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item, zone, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    return _rarer(value, zone, path, depth)


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
        return _exact(value, path)
    return _compound(value, zone, path, depth)


def _compound(value: Any, zone: dt.tzinfo | None, path: str, depth: int) -> Any:
    """Return the value of a type that holds others."""
    if isinstance(value, Unreadable):
        raise value.refused(path)
    if all(hasattr(value, name) for name in ("lower_inc", "upper_inc", "isempty")):
        return _range(value, zone, path, depth)
    if is_numpy(value):
        return to_json(_from_numpy(value), zone, path, depth + 1)
    if isinstance(value, (set, frozenset)):
        return sorted((to_json(item, zone, path, depth + 1) for item in value), key=orjson.dumps)
    if isinstance(value, Sequence):  # a multirange, an array type of some driver
        return [to_json(item, zone, path, depth + 1) for item in value]
    raise Refused("type_not_known", f"no rule turns a {_type(value)} into JSON: cast the column in the query", path)


def instant(value: dt.datetime, zone: dt.tzinfo | None, path: str) -> str:
    """Return a point in time in UTC: sessions with other time zones must not make other messages.

    :raises ZoneMissing: if it carries no zone, and there is no zone to give it.
    """
    if value.tzinfo is None:
        value = value.replace(tzinfo=_known(zone, path))
    try:
        return (value if value.tzinfo is UTC else value.astimezone(UTC)).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError):
        raise Refused("timestamp_out_of_range", "found a datetime that UTC has no year for", path) from None


def timestamp(value: Any, zone: dt.tzinfo | None, path: str = "timestamp") -> str | None:
    """Return a message's timestamp as ISO 8601 with a zone, or None where there is none.

    :raises Refused: if it is neither a date nor a text that says one as ISO 8601.
    :raises ZoneMissing: if it carries no zone, and there is no zone to give it.
    """
    if is_missing(value) or value == "":
        return None
    if isinstance(value, dt.datetime):
        return instant(value, zone, path)
    if isinstance(value, dt.date):
        return instant(dt.datetime(value.year, value.month, value.day), zone, path)  # noqa: DTZ001  instant() knows
    if is_numpy(value):
        return timestamp(_from_numpy(value), zone, path)
    if not isinstance(value, str):
        raise Refused("timestamp_not_iso8601", f"found a {_type(value)}; expected a timestamp or ISO 8601 text", path)
    try:
        moment = dt.datetime.fromisoformat(value)
    except ValueError:
        reason = f"found a text of {len(value)} characters that is not ISO 8601, such as 2026-01-31T09:30:00Z"
        raise Refused("timestamp_not_iso8601", reason, path) from None
    return instant(moment, zone, path) if moment.tzinfo is None else value


def to_id(value: Any, path: str) -> str | None:
    """Return an id as text, or None where there is none; Segment drops ids that are not text.

    :raises Refused: if it is no id: blank, not a whole number, a truth value, an object.
    """
    if isinstance(value, Enum):
        value = value.value
    if is_numpy(value):
        value = _from_numpy(value)
    if is_missing(value) or value == "":
        return None
    if isinstance(value, str):
        if not value.strip():
            raise Refused("id_not_string", f"found a text of {len(value)} blank characters", path)
        return _text(value, path)
    if isinstance(value, UUID) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    if isinstance(value, (float, Decimal)) and _is_whole(value):
        return str(int(value))
    raise Refused("id_not_string", f"found {_article(value)}; expected text, a whole number or a UUID", path)


def is_missing(value: Any) -> bool:
    """Tell whether it is nothing: None, or pandas' NA and NaT, which are singletons of a type of their own."""
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def describe(value: Any) -> str:
    """Return the type and length of a value, which is all that a log may show of it."""
    return f"{_type(value)} of length {len(value)}" if hasattr(value, "__len__") else _type(value)


def is_numpy(value: Any) -> bool:
    """Tell whether it is one of numpy's scalars or arrays, without importing numpy."""
    return type(value).__module__.partition(".")[0] == "numpy"


def _known(zone: dt.tzinfo | None, path: str) -> dt.tzinfo:
    if zone is None:
        raise ZoneMissing(
            f"{path}: found a timestamp without a time zone, and a guess would shift it; set timezone='UTC' (or the "
            "zone that the warehouse means), or cast the column in the query"
        )
    return zone


def _text(value: str, path: str) -> str:
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise Refused("text_not_unicode", f"found half a character in a text of {len(value)} characters", path)
    return str(value)


def _exact(value: Decimal, path: str) -> orjson.Fragment:
    """Return all digits of a Decimal: as a float it would lose some."""
    if not value.is_finite():
        raise Refused("number_not_finite", f"found a Decimal that is {_kind_of_nan(value)}; JSON has none", path)
    return orjson.Fragment(str(value))


def _finite(value: float, path: str) -> float:
    if not math.isfinite(value):
        raise Refused("number_not_finite", f"found a float that is {_kind_of_nan(value)}; JSON has none", path)
    return value


def _kind_of_nan(value: float | Decimal) -> str:
    is_nan = value.is_nan() if isinstance(value, Decimal) else math.isnan(value)  # a signalling NaN is no float
    return "not a number" if is_nan else "infinite"


def _is_whole(value: float | Decimal) -> bool:
    if isinstance(value, Decimal):
        return value.is_finite() and value == int(value)
    return value.is_integer() and abs(value) <= LARGEST_EXACT_FLOAT


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


def _from_numpy(value: Any) -> Any:
    """Return numpy's value as Python's."""
    if (kind := type(value).__name__) in ("datetime64", "timedelta64"):
        value = value.astype(f"{kind}[us]")  # of nanoseconds it would come out as a number
    return value.tolist()


# What drivers give so often that it does not wait for its turn, which takes a microsecond.
_OFTEN: dict[type, Callable[[Any, dt.tzinfo | None, str], Any]] = {
    dt.datetime: instant,
    Decimal: lambda value, _, path: _exact(value, path),
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
    is_finite = (
        value.is_finite() if isinstance(value, Decimal) else not isinstance(value, float) or math.isfinite(value)
    )
    return f"a {_type(value)}" if is_finite else f"a value that is {_kind_of_nan(value)}"
