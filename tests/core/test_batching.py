"""Messages are encoded once, measured as they are sent, and cut into batches that lose and reorder nothing."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_segment.core.delivery.batching import MAX_BODY_BYTES, MAX_EVENTS, Batch, Batcher
from airflow_provider_segment.core.errors import Refused
from airflow_provider_segment.core.mapping.encoding import encoder
from airflow_provider_segment.core.mapping.message_ids import Namespace, with_id
from airflow_provider_segment.core.mapping.messages import MAX_EVENT_BYTES, Message
from airflow_provider_segment.testing import ingest

encode = encoder(dt.UTC, with_id=True)


def test_limits_are_on_the_safe_side() -> None:
    """Our limits lie below Segment's, whether its KB is 1,000 or 1,024 bytes."""
    assert (MAX_EVENT_BYTES, MAX_BODY_BYTES, MAX_EVENTS) == (32_000, 480_000, 2_500)
    assert MAX_EVENT_BYTES <= ingest.MAX_EVENT_BYTES
    assert MAX_BODY_BYTES <= ingest.MAX_BATCH_BYTES
    assert MAX_EVENTS <= ingest.MAX_BATCH_EVENTS


# Cutting

SIZES = st.lists(st.integers(1, 60), max_size=40)


def cut(pages: list[list[int]], max_bytes: int, max_events: int) -> tuple[list[Batch], list[tuple[str, int, bytes]]]:
    """Batches of events of these sizes, given page by page; and the events as they were given."""
    batcher, batches, given_events = Batcher(max_bytes, max_events), [], []
    number = 0
    for page in pages:
        rows = [*range(number, number + len(page))]
        events = [b"%d" % row + b"x" * (size - len(b"%d" % row)) for row, size in zip(rows, page, strict=True)]
        call = f"call {len(page) % 2}"
        given_events += [(call, row, event) for row, event in zip(rows, events, strict=True)]
        batches += batcher.add(call, rows, events)
        number += len(page)
    return [*batches, *batcher.rest()], given_events


@given(pages=st.lists(SIZES, max_size=6), max_bytes=st.integers(61, 300), max_events=st.integers(1, 12))
def test_batches_hold_every_event_once_in_order(pages: list[list[int]], max_bytes: int, max_events: int) -> None:
    """Nothing is lost, doubled or reordered on the way into batches, and each event keeps its row and its call."""
    batches, events = cut(pages, max_bytes, max_events)
    cut_up = [entry for batch in batches for entry in zip(batch.calls, batch.rows, batch.events, strict=True)]
    assert cut_up == events


@given(pages=st.lists(SIZES, max_size=6), max_bytes=st.integers(61, 300), max_events=st.integers(1, 12))
def test_batches_keep_both_limits_and_are_full(pages: list[list[int]], max_bytes: int, max_events: int) -> None:
    """No batch is above a limit, commas counted, none is empty, and none could have taken the next event."""
    batches, _ = cut(pages, max_bytes, max_events)
    for batch in batches:
        assert 1 <= len(batch) <= max_events
        assert len(b",".join(batch.events)) < batch.size <= max_bytes
    for batch, following in pairwise(batches):
        grown = len(b",".join([*batch.events, following.events[0]])) + 1  # each event has its comma
        assert grown > max_bytes or len(batch) == max_events


def test_rest_is_given_once() -> None:
    """What was taken is not given again."""
    batcher = Batcher(100)
    assert [*batcher.rest()] == []
    assert [*batcher.add("c", [1], [b"x"])] == []
    assert [batch.rows for batch in batcher.rest()] == [[1]]
    assert [*batcher.rest()] == []


# Encoding


def sized(size: int, *, char: str = "x", **first: Any) -> dict[str, Any]:
    """A message of exactly so many bytes."""
    message: dict[str, Any] = {**first, "type": "identify", "userId": "u", "traits": {"t": ""}}
    room = size - len(orjson.dumps(message))
    message["traits"] = {"t": char * (room // len(char.encode())) + "x" * (room % len(char.encode()))}
    assert len(orjson.dumps(message)) == size
    return message


@pytest.mark.parametrize("char", ["x", "é", "日", "😀"])
def test_message_at_the_limit_is_taken_one_byte_above_it_refused(char: str) -> None:
    """The limit of an event is checked on its bytes, exactly, not on its characters."""
    assert len(encode(sized(MAX_EVENT_BYTES, char=char, messageId="m"))) == MAX_EVENT_BYTES
    with pytest.raises(Refused, match="found 32,001 bytes") as caught:
        encode(sized(MAX_EVENT_BYTES + 1, char=char, messageId="m"))
    assert (caught.value.code, caught.value.field) == ("message_too_large", "")


@pytest.mark.parametrize("encode_for_id", [encode, encoder(dt.UTC, with_id=False)])
def test_room_for_the_id_is_counted(encode_for_id: Callable[[Message], bytes]) -> None:
    """A message that gets its id later is measured with it, exactly, and the refusal counts it too."""
    message_id = Namespace("x").maker("y").make(b"", b"")
    room = len(with_id(b"{}", message_id)) - len(b"{}")
    assert len(with_id(encode_for_id(sized(MAX_EVENT_BYTES - room)), message_id)) == MAX_EVENT_BYTES
    with pytest.raises(Refused, match="found 32,001 bytes"):
        encode_for_id(sized(MAX_EVENT_BYTES - room + 1))


def test_id_is_put_into_the_message() -> None:
    """A message with its id put in reads as the message and its id."""
    message = {"type": "identify", "userId": "}", "traits": {"a": {}}}
    assert json.loads(with_id(encoder(None, with_id=False)(message), b"0f")) == {**message, "messageId": "0f"}


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"traits": {"a": {"b": [1, {"c": math.nan}]}}}, "traits.a.b[1].c"),
        ({"traits": {"a": (1, math.inf)}}, "traits.a[1]"),
        ({"properties": {"a": None, "b": -math.inf}}, "properties.b"),
        ({"context": {"a": "null", "b": math.nan}}, "context.b"),
        ({"traits": {"a": [[], {}, math.nan]}}, "traits.a[2]"),
        ({"event": math.nan}, "event"),
    ],
)
def test_not_a_number_is_refused_with_its_place(message: dict[str, Any], field: str) -> None:
    """A NaN or infinity, which would silently become null, is refused with its place however deep it is."""
    assert b"null" in orjson.dumps(message)
    with pytest.raises(Refused) as caught:
        encode(message)
    assert (caught.value.code, caught.value.field) == ("number_not_finite", field)


FINITE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.sampled_from(["null", "NaN", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["null", "a", "b"]), inner),
    max_leaves=10,
)


def finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return all(map(finite, value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()))


@given(FINITE)
def test_nulls_are_sent_and_only_what_is_not_finite_is_refused(value: Any) -> None:
    """Nulls, and texts that say null, go out as they are; NaN never does, wherever it hides."""
    message = {"traits": {"x": value}}
    if finite(value):
        assert json.loads(encode(message)) == message
    else:
        with pytest.raises(Refused, match="number_not_finite"):
            encode(message)
