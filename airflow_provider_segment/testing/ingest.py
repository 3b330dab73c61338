"""What Segment makes of one request body and of one message in it: pure, knows no HTTP and keeps nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

BATCH = "batch"
TYPES = ("identify", "track", "page", "screen", "group", "alias")
ENDPOINTS = {f"/v1/{kind}": kind for kind in (BATCH, *TYPES)} | {"/v1/import": BATCH}

# Segment says 32KB, 500KB and 2,500. Nobody says what a KB is; the body takes the stricter reading and the event the
# one that both official SDKs use.
MAX_EVENT_BYTES = 32_768
MAX_BATCH_BYTES = 500_000
MAX_BATCH_EVENTS = 2_500
MESSAGE_ID_LENGTH = 100
MIN_WRITE_KEY_LENGTH = 8  # Segment refuses "abc123"; every longer key, right or wrong, is answered 200

# Segment documents that it drops these events, but no code for it: the four names are ours.
TOO_LARGE = "message_too_large"
TOO_MANY = "batch_too_many_events"
TYPE_NOT_VALID = "type_not_valid"
MESSAGE_ID_TOO_LONG = "message_id_too_long"

_OBJECT_FIELD = {
    "identify": ("traits", "traits_not_object"),
    "group": ("traits", "traits_not_object"),
    "track": ("properties", "properties_not_object"),
    "page": ("properties", "properties_not_object"),
    "screen": ("properties", "properties_not_object"),
}
_USER_IDS = {"userId", "anonymousId"}
_REQUIRED_IDS = {"group": ("groupId",), "alias": ("previousId", "userId")}
_ID_FIELDS = {kind: tuple(_USER_IDS.union(_REQUIRED_IDS.get(kind, ()))) for kind in TYPES}
_SPACE = re.compile(r"[ \t\n\r]*")
_scan = json.JSONDecoder().raw_decode


class Reading(NamedTuple):
    """A body as it was understood: its messages and write key, and the `error` that Segment answers 400 with."""

    messages: list[Any]
    write_key: str = ""
    error: str | None = None
    too_large: frozenset[int] = frozenset()  # positions of the messages over 32 KB


def read(kind: str, body: bytes, basic_user: str = "") -> Reading:
    """Understand one body, however bad it is.

    :param kind: the endpoint: "batch" or one of the six types.
    :param body: the decompressed bytes.
    :param basic_user: the user name of HTTP Basic, which stands in for a body without `writeKey`; default none.
    """
    if len(body) > (MAX_BATCH_BYTES if kind == BATCH else MAX_EVENT_BYTES):
        return Reading([], error="Exceeded payload limit")
    try:
        envelope = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Reading([], error="Malformed JSON")
    if not isinstance(envelope, dict):
        return Reading([], error="Malformed JSON: not an object")
    named = envelope.pop("writeKey", None)
    write_key = named if named and isinstance(named, str) else basic_user
    error = None if len(write_key) >= MIN_WRITE_KEY_LENGTH else "An invalid write key was provided"
    if kind != BATCH:
        return Reading([{**envelope, "type": kind}], write_key, error)
    batch = envelope.get("batch") or []
    if not isinstance(batch, list):
        return Reading([], write_key, error or "Malformed JSON: batch is not an array")
    too_large = _too_large(body, batch)  # before merging: what counts is what was sent
    return Reading(_merged(batch, envelope), write_key, error, too_large)


def _merged(batch: list[Any], envelope: dict[str, Any]) -> list[Any]:
    """Lay the batch's own context and integrations below those of each message, whose keys win."""
    for name in ("context", "integrations"):
        shared = envelope.get(name)
        if not shared or not isinstance(shared, dict):
            continue
        for message in batch:
            if isinstance(message, dict) and isinstance(own := message.get(name) or {}, dict):
                message[name] = {**shared, **own}
    return batch


def judge_all(reading: Reading) -> list[str | None]:
    """Give each message of a body its ingest code, or None where Segment takes it.

    :param reading: what `read` made of the body.
    """
    codes = [judge(message) for message in reading.messages[:MAX_BATCH_EVENTS]]
    codes += [TOO_MANY] * (len(reading.messages) - len(codes))
    for position in reading.too_large:
        codes[position] = TOO_LARGE
    return codes


def judge(message: Any) -> str | None:
    """Give one message its ingest code, or None where Segment takes it.

    :param message: the message as on the wire, with its `type`. A null counts as absent: Segment's Python SDK sends
        `"anonymousId": null` and `"name": null` with every call.
    """
    if not isinstance(message, dict) or message.get("type") not in TYPES:
        return TYPE_NOT_VALID
    kind: str = message["type"]
    message_id = message.get("messageId")
    if message_id is not None and not (isinstance(message_id, str) and len(message_id) < MESSAGE_ID_LENGTH):
        return MESSAGE_ID_TOO_LONG
    return _judge_ids(kind, message) or _judge_names(kind, message) or _judge_object(kind, message)


def _judge_ids(kind: str, message: dict[str, Any]) -> str | None:
    missing = set()
    for field in _ID_FIELDS[kind]:
        value = message.get(field)
        if value is None:
            missing.add(field)
        elif not (value and isinstance(value, str)):
            return "id_not_string"
    if not missing.isdisjoint(_REQUIRED_IDS.get(kind, ())):
        return "id_required"
    return "no_user_anon_id" if missing >= _USER_IDS else None


def _judge_names(kind: str, message: dict[str, Any]) -> str | None:
    if kind == "track":
        event = message.get("event")
        if event is None:
            return "event_not_defined"
        return None if event and isinstance(event, str) else "event_not_string"
    if kind in ("page", "screen"):
        for field in ("name", "category"):
            value = message.get(field)
            if value is not None and not (value and isinstance(value, str)):
                return f"{field}_not_string"
    return None


def _judge_object(kind: str, message: dict[str, Any]) -> str | None:
    field, code = _OBJECT_FIELD.get(kind, ("", ""))
    value = message.get(field)
    return None if value is None or isinstance(value, dict) else code


def event_sizes(kind: str, body: bytes) -> list[int]:
    """Measure each event in the bytes that were sent; none for a body that is not JSON.

    :param kind: the endpoint: "batch" or one of the six types; an event of the latter is the whole body.
    :param body: the decompressed bytes.
    """
    try:
        envelope = orjson.loads(body)
    except orjson.JSONDecodeError:
        return []
    if kind != BATCH:
        return [len(body)]
    return _batch_sizes(body) if isinstance(envelope, dict) else []


def _batch_sizes(body: bytes) -> list[int]:
    text = body.decode("latin-1")  # one character a byte, so positions in the text count bytes
    try:
        return [end - start for start, end in _batch_items(text)]
    except RecursionError:  # the scanner gives up on nesting that orjson still reads
        return []


def _too_large(body: bytes, messages: list[Any]) -> frozenset[int]:
    """Find the events of a batch that are over the limit as sent.

    The exact measurement takes three times as long as the parsing, so it is spared where no event can be too large:
    compact JSON is the least an event takes, and all that the body has beyond it could sit in one event.
    """
    if len(body) <= MAX_EVENT_BYTES:
        return frozenset()
    try:
        compact = [len(orjson.dumps(message)) for message in messages]
    except orjson.JSONEncodeError:  # it reads deeper nesting than it writes
        compact = [len(body)]
    if max(compact, default=0) + max(0, len(body) - sum(compact)) <= MAX_EVENT_BYTES:
        return frozenset()
    sizes = _batch_sizes(body)[: len(messages)]
    return frozenset(position for position, size in enumerate(sizes) if size > MAX_EVENT_BYTES)


def _batch_items(text: str) -> Iterator[tuple[int, int]]:
    """Find where each item of the top-level "batch" array starts and ends."""
    at = _skip(text, text.index("{") + 1)
    while text[at] == '"':
        key, at = _scan(text, at)
        at = _skip(text, _skip(text, at) + 1)
        if key == BATCH and text[at] == "[":
            yield from _items(text, at)
            return
        at = _skip(text, _scan(text, at)[1])
        if text[at] == ",":
            at = _skip(text, at + 1)


def _items(text: str, at: int) -> Iterator[tuple[int, int]]:
    at = _skip(text, at + 1)
    while text[at] != "]":
        end = _scan(text, at)[1]
        yield at, end
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
