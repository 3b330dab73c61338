"""Bytes that are the same for equal values in every process, whatever their types: what hashes of rows are made of."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import orjson

from airflow_provider_segment.core.rows.kinds import is_missing, is_numpy
from airflow_provider_segment.core.rows.unreadable import Unreadable

# Datetimes come to our own rule: two sessions may give one point in time in two zones.
_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME


def bytes_of(content: Any) -> bytes:
    """Return the bytes of a row's values, or of a message that a user wrote.

    :param content: of any types; those that JSON does not know are told apart by their text.
    """
    try:
        return orjson.dumps(content, default=_any_value, option=_OPTIONS)
    except orjson.JSONEncodeError:  # very long integers, half characters, names that are tuples, great depth
        return orjson.dumps(_spelled(content))


def _any_value(value: Any) -> Any:
    """Tell values apart that JSON does not know; a type without a text of its own counts as equal to its likes."""
    if is_missing(value) or isinstance(value, Unreadable):
        return None  # a key with it is no key, as with a null
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return str(value.astimezone(dt.UTC))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if is_numpy(value):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    text = str(value)
    return type(value).__name__ if " object at 0x" in text else text


def _spelled(value: Any, depth: int = 0) -> Any:
    """Return a value that orjson refuses as texts and lists of them."""
    if value is None or depth > 200:
        return None if value is None else type(value).__name__
    if isinstance(value, Mapping):
        return [[_spelled(name, depth + 1), _spelled(part, depth + 1)] for name, part in value.items()]
    if isinstance(value, (list, tuple)):
        return [_spelled(part, depth + 1) for part in value]
    return str(_any_value(value)).encode("utf-8", "backslashreplace").decode()
