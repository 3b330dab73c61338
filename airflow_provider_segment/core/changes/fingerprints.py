"""What makes two contents equal: their bytes; or else what they say, with numbers by value and no nulls of columns."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate
from typing import Any

import orjson

from airflow_provider_segment.core.changes.tables import FORGOTTEN, GONE
from airflow_provider_segment.core.mapping import encoding
from airflow_provider_segment.core.rows.keys import hashes
from airflow_provider_segment.core.rows.numbers import plain_number

# What may be written in more than one way: nulls, spare zeros, exponents. Each pattern begins with what is found fast.
_NULL, _SPARE, _SHORT, _SHORT_TOO = [
    re.compile(pattern) for pattern in (rb"null", rb"\.[0-9]*0[,}\]]", rb"E[-+]?[0-9]+[,}\]]", rb"e[-+]?[0-9]+[,}\]]")
]
# No exponent stands where no digit is before an "e"; that is seen in half the time of trying each "e".
_DIGITS, _EXPONENT = bytes.maketrans(b"123456789E", b"000000000e"), b"0e"
# orjson reads floats, which would lose digits of numbers this long; json is several times as slow.
_AS_ZEROS, _LONG = bytes.maketrans(b"123456789.", b"0000000000"), b"0" * 16
# Nulls that were left out, and those that a new column brought, are two things: who sets nulls="send" wants them sent.
_OMITTED = b"nulls omitted"
# The types of JSON's values that may say the same in two ways.
_LOOSE: frozenset[type] = frozenset({type(None), float, dict, list})


class Fingerprints:
    """The hashes of one call's messages.

    Keys are hashed too, so that two contents with one hash are sent again, never skipped.

    :param columns: the paths of the fields that are made of a column, such as "traits.plan".
    :param omits_nulls: whether nulls are left out of the messages.
    :param has_own_ids: whether messages may have ids of the user's own, which are no content.
    """

    def __init__(self, columns: Collection[str], *, omits_nulls: bool, has_own_ids: bool) -> None:
        self._columns = columns
        self._end = _OMITTED if omits_nulls else b""
        self._has_own_ids = has_own_ids

    def of(self, keys: Sequence[bytes], contents: Sequence[bytes]) -> list[int]:
        """Return the hashes of messages as they are sent.

        :param keys: of the rows.
        :param contents: the encoded messages.
        """
        if self._has_own_ids:
            contents = [_without_own_id(content) for content in contents]
        return _hashes(map(bytes.__add__, keys, contents))

    def by_value(self, keys: Sequence[bytes], contents: Sequence[bytes], found: Sequence[int]) -> list[int]:
        """Return the hashes of what messages say; most can be written in one way only, and have that of their bytes.

        :param keys: of the rows.
        :param contents: the encoded messages.
        :param found: their hashes as they are sent.
        """
        if self._has_own_ids:
            contents = [_without_own_id(content) for content in contents]
        others = {place: self.said(contents[place]) for place in _loosely_written(contents)}
        if self._end:
            pairs = enumerate(zip(keys, contents, strict=True))
            return _hashes(key + others.get(place, content) + self._end for place, (key, content) in pairs)
        by_value, hashed = list(found), _hashes(keys[place] + said for place, said in others.items())
        for place, number in zip(others, hashed, strict=True):
            by_value[place] = number
        return by_value

    def said(self, content: bytes) -> bytes:
        """Return a message in the one way of writing that all with the same meaning share.

        :param content: the encoded message.
        """
        if self._has_own_ids:
            content = _without_own_id(content)
        has_exponent = _SHORT.search(content) or _SHORT_TOO.search(content)
        if not (has_exponent or _NULL.search(content) or _SPARE.search(content)):
            return content
        if has_exponent or _LONG in content.translate(_AS_ZEROS):
            tree = json.loads(content, parse_float=_fragment, parse_int=_fragment)
        else:
            tree = orjson.loads(content)
        return orjson.dumps(self._settled(tree, ""))

    def _settled(self, part: dict[str, Any], path: str) -> dict[str, Any]:
        """Return an object, changed in its place: without the nulls of columns, with whole numbers as such."""
        for name, value in [item for item in part.items() if type(item[1]) in _LOOSE]:
            if value is None:
                if path + name in self._columns:
                    del part[name]
            elif type(value) is not dict or not value or path + name in self._columns:
                part[name] = _whole(value)  # what stands in a column's own JSON keeps its nulls
            elif not self._settled(value, f"{path}{name}."):
                del part[name]
        return part


def is_same(content: int | None, meaning: int | None, found: int, by_value: int) -> bool:
    """Tell whether a message says what is remembered; see Entry.

    :param content: the remembered hash of a message; None where there is none.
    :param meaning: what is remembered of its meaning; None in states of before, where a message may have been plain.
    :param found: the hash of the message.
    :param by_value: the hash of what it says.
    """
    if content is None or content in (FORGOTTEN, GONE):
        return False
    return content in (found, by_value) if meaning is None else content == found or content ^ meaning == by_value


def _whole(value: Any) -> Any:
    """Return a value of JSON with its whole numbers as such."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, list):
        return [_whole(part) for part in value]
    return {name: _whole(part) for name, part in value.items()} if isinstance(value, dict) else value


def _fragment(text: str) -> orjson.Fragment:
    return orjson.Fragment(plain_number(text))


def _loosely_written(contents: Sequence[bytes]) -> list[int]:
    """Return the places of messages that may be written in more than one way; a page at once, since most are not."""
    page = b"\n".join(contents)
    exponents = (_SHORT, _SHORT_TOO) if _EXPONENT in page.translate(_DIGITS) else ()
    starts = [match.start() for pattern in (_NULL, _SPARE, *exponents) for match in pattern.finditer(page)]
    if not starts:
        return []
    ends = list(accumulate(len(content) + 1 for content in contents))
    return sorted({bisect_right(ends, start) for start in starts})


def _hashes(parts: Iterable[bytes]) -> list[int]:
    return [number if number not in (FORGOTTEN, GONE) else 2 for number in hashes(parts)]


def _without_own_id(content: bytes) -> bytes:
    if not encoding.has_own_id(content):
        return content
    own = len(orjson.dumps({"messageId": orjson.loads(content)["messageId"]})) - 1
    return b"{" + content[own + 1 :]
