"""Hashes of rows as the driver gave them: equal ones belong to rows that say the same to any mapping."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from decimal import Decimal
from hashlib import blake2b
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from operator import itemgetter
from typing import Any, TypeAlias
from uuid import UUID

import orjson

from airflow_provider_segment.core.rows.kinds import from_numpy, is_numpy

SIZE = 8
NO_HASH = bytes(SIZE)
_EMPTY = blake2b(digest_size=SIZE)  # a copy is cheaper than a new one
_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
# Types that JSON does not know, with the text that tells their values apart, in an object that no column holds.
_TEXTS: dict[type, Callable[[Any], str]] = {
    Decimal: str,
    dt.datetime: dt.datetime.isoformat,
    dt.date: dt.date.isoformat,
    dt.time: dt.time.isoformat,
    dt.timedelta: str,
    bytes: bytes.hex,
    bytearray: bytearray.hex,
    memoryview: memoryview.hex,
    **dict.fromkeys((IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network), str),
}
_TAGGED = {kind: (f"\0{kind.__name__}", text) for kind, text in _TEXTS.items()}
# Types whose ascii() tells their values apart.
_PLAIN = frozenset({str, int, float, bool, type(None), Decimal, UUID, bytes, dt.datetime, dt.date, dt.time})

Hashes: TypeAlias = Callable[[Sequence[Sequence[Any]]], bytes]


def hashes_of(rows: Sequence[Sequence[Any]]) -> bytes:
    """Return the hashes of rows, ``SIZE`` bytes each; zeros for a row with a value whose text may not show it all.

    :param rows: some; types count, so that ``1``, ``1.0``, ``"1"`` and ``True`` differ.
    """
    new, digests = _EMPTY.copy, []
    for row in rows:
        # Each text is hashed at once: orjson keeps 4 KB for a text that is kept.
        try:
            text = orjson.dumps(row, _tagged, _OPTIONS)
        except TypeError:  # integers of more than 64 bits, half characters, types that nobody knows
            text = _plain_text(row)
        else:
            # orjson writes NaN and the infinities as null.
            if b"null" in text and text.count(b"null") != row.count(None) and not _is_finite(row):
                text = _plain_text(row)
        if not text:
            digests.append(NO_HASH)
            continue
        digest = new()
        digest.update(text)
        digests.append(digest.digest())
    return b"".join(digests)


def hashes_of_columns(places: Sequence[int], width: int) -> Hashes:
    """Return what hashes some columns of rows.

    :param places: of the columns in a row, in order.
    :param width: of a row.
    """
    if len(places) == width:
        return lambda rows: hashes_of(rows if type(rows[0]) in (tuple, list) else [tuple(row) for row in rows])
    if len(places) == 1:
        (place,) = places
        return lambda rows: hashes_of([(row[place],) for row in rows])
    pick = itemgetter(*places)
    return lambda rows: hashes_of(list(map(pick, rows)))


def _tagged(value: Any) -> dict[str, str]:
    """Return a value that JSON does not know as an object that no column holds."""
    if (known := _TAGGED.get(type(value))) is not None:
        tag, text = known
        return {tag: text(value)}
    if is_numpy(value):
        return {f"\0{type(value).__name__} {value.dtype}": ascii(from_numpy(value))}
    raise TypeError


def _plain_text(row: Sequence[Any]) -> bytes:
    return ascii(row).encode() if _PLAIN.issuperset(map(type, row)) else b""


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return value - value == 0
    if isinstance(value, (list, tuple)):
        return all(map(_is_finite, value))
    return all(map(_is_finite, value.values())) if isinstance(value, dict) else True
