"""A message becomes its JSON bytes: those that are measured, hashed and sent; one that is too large is refused."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

import orjson

from airflow_provider_segment.core.errors import Refused
from airflow_provider_segment.core.mapping import values
from airflow_provider_segment.core.mapping.message_ids import MessageIds, with_id
from airflow_provider_segment.core.mapping.messages import MAX_EVENT_BYTES, Message

# Datetimes come to our own rule, since orjson would write one without a zone; so does whatever is not plain data.
_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS
_NULL = re.compile(b"null")  # a search takes 0.14 us an event, `in` 0.24
_HARMLESS = frozenset({str, int, bool, type(None), orjson.Fragment})  # most values; the others are looked at
_OWN_ID = b'{"messageId":'
_ID_ROOM = len(b',"messageId":"0123456789abcdef0123456789abcdef"')


class TooLarge(Refused):
    """A message has more bytes than Segment takes.

    :param size: in bytes.
    :param sizes: of the largest field, of the largest one within it, and so on, by their paths in the message.
    """

    def __init__(self, size: int, sizes: dict[str, int]) -> None:
        super().__init__("message_too_large", f"found {size:,} bytes; Segment drops events above {MAX_EVENT_BYTES:,}")
        self.sizes = sizes


def encoder(
    zone: dt.tzinfo | None, *, with_id: bool, in_order: bool = False, is_finite: bool = False
) -> Callable[[Message], bytes]:
    """Return the function that turns a message into its JSON bytes.

    orjson 3.13 keeps 4 KB for each result, however short: who keeps many keeps copies, which are as long as they are.

    :param zone: the zone of timestamps that carry none.
    :param with_id: whether messages may have their own id; room is kept for one of ours in the others.
    :param in_order: whether names are sorted: in another order the same content would look changed.
    :param is_finite: whether the messages are known to hold neither NaN nor an infinity, which need not be looked for.
    """
    options = _OPTIONS | orjson.OPT_SORT_KEYS if in_order else _OPTIONS
    dumps, careful, has_null = orjson.dumps, values.to_json, _NULL.search
    room = MAX_EVENT_BYTES - _ID_ROOM

    def default(value: Any) -> Any:
        return careful(value, zone)

    def encode(message: Message) -> bytes:
        own = message.pop("messageId", None) if with_id else None
        try:
            encoded = dumps(message, default, options)
            if not is_finite and has_null(encoded):
                _refuse_non_finite(message)  # orjson writes NaN as null without a word
        except orjson.JSONEncodeError:
            encoded = _dumps_carefully(message, zone, options)  # the slow way knows which value it was
        if own is not None:
            encoded = _OWN_ID + dumps(values.to_json(own, None, "messageId")) + b"," + encoded[1:]
        if len(encoded) > room and (size := len(encoded) + (_ID_ROOM if own is None else 0)) > MAX_EVENT_BYTES:
            raise TooLarge(size, _sizes(encoded))
        return encoded

    return encode


def has_own_id(encoded: bytes) -> bool:
    """Tell whether a message's bytes have an id that we did not make.

    :param encoded: by encoder().
    """
    return encoded.startswith(_OWN_ID)


def named(contents: Iterable[bytes], row_keys: Iterable[bytes], ids: MessageIds, *, has_own_ids: bool) -> list[bytes]:
    """Return messages with ids; one that has an id of the user's own keeps it.

    :param contents: the messages' bytes.
    :param row_keys: what tells their rows from the others.
    :param ids: makes the ids.
    :param has_own_ids: whether a message may have its own.
    """
    if not has_own_ids:
        return ids.named(contents, row_keys)
    pairs, id_of = zip(contents, row_keys, strict=True), ids.make
    return [b"%b" % c if has_own_id(c) else with_id(c, id_of(row_key, c)) for c, row_key in pairs]


def _dumps_carefully(message: Message, zone: dt.tzinfo | None, options: int) -> bytes:
    plain = {name: values.to_json(value, zone, name) for name, value in message.items()}
    return orjson.dumps(plain, option=options)


def _sizes(encoded: bytes) -> dict[str, int]:
    """Return the bytes of the largest field, of the largest one within it, and so on, by their paths."""
    sizes: dict[str, int] = {}
    path, part = "", orjson.loads(encoded)
    while isinstance(part, dict) and part:
        inner = {name: len(orjson.dumps(value)) for name, value in part.items()}
        name = max(inner, key=inner.__getitem__)
        path, part = f"{path}.{name}" if path else name, part[name]
        sizes[path] = inner[name]
    return sizes


def _refuse_non_finite(value: Any) -> None:
    """Find floats that JSON does not know; the slow way then names the first."""
    for found in value.values() if isinstance(value, dict) else value:
        kind = type(found)
        if kind in _HARMLESS:
            continue
        if kind is dict or kind is list:
            _refuse_non_finite(found)
            continue
        part = found.value if isinstance(found, Enum) else found
        if isinstance(part, float):
            if not math.isfinite(part):
                raise orjson.JSONEncodeError("not finite")
        elif isinstance(part, (dict, list, tuple)):
            _refuse_non_finite(part)
