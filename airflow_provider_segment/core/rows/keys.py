"""A row's key: its bytes, which ids and hashes are made of, and its number, under which the state knows it.

A whole number is one key whatever its type, as for ids: ``1``, ``1.0`` and ``Decimal("1.00")``; so is any other number
by its value. Text stays text, since ``007`` is not ``7``; a state that knows the key as a number is told of it too.
"""

from __future__ import annotations

import datetime as dt
import re
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from typing import Any
from uuid import UUID

import orjson

from airflow_provider_segment.core.rows.kinds import is_numpy
from airflow_provider_segment.core.rows.numbers import LARGEST_EXACT_FLOAT, LONGEST, plain_number
from airflow_provider_segment.core.rows.row_bytes import bytes_of

_EMPTY = blake2b(digest_size=8)  # a copy is cheaper than a new one
# Types of which each value has bytes of its own.
_PLAIN = frozenset({int, str, bool, UUID, dt.date, dt.datetime, bytes, type(None)})
_WHOLE = re.compile(r"0|-?[1-9][0-9]*")


def key_bytes(columns: Sequence[Sequence[Any]]) -> list[bytes | None]:
    """Return the bytes of rows' keys, a JSON list each; None where a key has a null.

    :param columns: the values of each column of the key.
    """
    if len(columns) == 1 and (found := _of_one_type(columns[0])) is not None:
        return [*found]
    alike = [_column(values) for values in columns]
    if len(alike) == 1 and alike[0] is not columns[0] and (found := _of_one_type(alike[0])) is not None:
        return [*found]
    return [_encoded(values) for values in zip(*alike, strict=True)]


def numbers_of(keys: Sequence[bytes]) -> list[int]:
    """Return keys as 64-bit integers: themselves where they are such, which keeps neighbours together, else hashes.

    :param keys: as key_bytes() gives them.
    """
    texts = [key[1:-1] for key in keys]  # of a list of one value in JSON
    with suppress(ValueError):
        numbers = list(map(int, texts))
        if max(map(abs, numbers), default=0) < 2**63:
            return numbers
    pairs = zip(texts, hashes(keys), strict=True)
    return [hashed if text.startswith(b'"') or not _is_64_bit_integer(text) else int(text) for text, hashed in pairs]


def other_forms(values: Sequence[Any]) -> list[bytes]:
    """Return the bytes under which a state may know a key that a query gave in another type when it was saved.

    :param values: of the key, as the driver gave them.
    """
    if all(type(value) in _PLAIN and _whole(value) is None for value in values):
        return []
    alike = [_alike(value) for value in values]
    choices = [_choices(value, one) for value, one in zip(values, alike, strict=True)]
    # All columns may be of another type, or one of them.
    forms = [[choice[min(n, len(choice) - 1)] for choice in choices] for n in range(3)]
    forms += [[*alike[:n], one, *alike[n + 1 :]] for n, choice in enumerate(choices) for one in choice]
    # Before numbers were compared by value, each type had bytes of its own: those of Decimals were text.
    forms.append([*values])
    ours = bytes_of(alike)
    return [form for form in dict.fromkeys(map(bytes_of, forms)) if form != ours]


def hashes(parts: Iterable[bytes]) -> list[int]:
    """Return 64-bit hashes.

    :param parts: what to hash.
    """
    new, digests = _EMPTY.copy, []
    for part in parts:
        digest = new()
        digest.update(part)
        digests.append(digest.digest())
    return list(struct.unpack(f">{len(digests)}q", b"".join(digests)))


def _column(values: Sequence[Any]) -> Sequence[Any]:
    types = set(map(type, values))
    return values if types <= _PLAIN else [_alike(value) for value in values]


def _alike(value: Any) -> Any:
    """Return a value in the form that is the same for all types that say the same."""
    if isinstance(value, Enum):
        value = value.value
    if is_numpy(value):
        value = value.tolist()
    if isinstance(value, float):
        if value.is_integer() and abs(value) <= LARGEST_EXACT_FLOAT:
            return int(value)
        return _number(repr(value)) if value - value == 0 else value
    if isinstance(value, Decimal) and value.is_finite():
        return _number(str(value))
    return value


def _number(text: str) -> int | str:
    plain = plain_number(text)
    return int(plain) if len(plain) <= LONGEST and _WHOLE.fullmatch(plain) else plain


def _whole(value: Any) -> int | None:
    """Return a whole number that is one already, or is written as text; None for all else."""
    if type(value) is int:
        return value
    if isinstance(value, str) and len(value) <= LONGEST and _WHOLE.fullmatch(value):
        return int(value)
    return None


def _choices(value: Any, alike: Any) -> list[Any]:
    """Return what one value of a key may have been in other types."""
    if isinstance(alike, str) and isinstance(value, (float, Decimal)):
        return [alike, float(alike)]
    if (whole := _whole(alike)) is None:
        return [alike]
    return [whole, str(whole), *([float(whole)] if abs(whole) <= LARGEST_EXACT_FLOAT else [])]


def _of_one_type(values: Sequence[Any]) -> list[bytes] | None:
    """Return what _encoded() does for columns of 64-bit integers, texts or UUIDs, as most keys are; None for others."""
    types = set(map(type, values))
    if types == {int} and max(map(abs, values)) < 2**63:
        return [b"[%d]" % value for value in values]
    if types in ({str}, {UUID}):
        with suppress(orjson.JSONEncodeError):  # half characters
            parts = orjson.dumps(values)[1:-1].split(b",")
            if len(parts) == len(values):  # nearly always: no key has a comma
                return [b"[%b]" % part for part in parts]
            return [b"%b" % orjson.dumps((value,)) for value in values]
    return None


def _encoded(values: Sequence[Any]) -> bytes | None:
    encoded = bytes_of([*values])
    # orjson keeps 4 KB for each result, however short; a copy is as long as it is.
    return None if b"null" in encoded and None in orjson.loads(encoded) else b"%b" % encoded


def _is_64_bit_integer(text: bytes) -> bool:
    return text.removeprefix(b"-").isdigit() and -(2**63) <= int(text) < 2**63
