"""Events become batches: cut where a body would get too large, or hold too many of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from airflow_provider_segment.core.mapping.messages import TYPES

# Documented: 500 KB a body and 2,500 events (tracking API, "batch"); nobody says whether a KB is 1,000 or 1,024 bytes.
MAX_BODY_BYTES = 480_000
MAX_EVENTS = 2_500


@dataclass(slots=True)
class Batch:
    """The events of one request, with the rows, calls and keys that they came from, in parallel lists.

    :param in_flight: what to remember of each event when Segment has accepted it, where only changes are sent.
    """

    events: list[bytes] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    in_flight: list[Any] = field(default_factory=list)
    size: int = 0

    def __len__(self) -> int:
        return len(self.events)

    def is_quoted_by(self, text: str, part: range) -> bool:
        """Tell whether an answer repeats a value of some events: then it is as personal as their rows.

        :param text: of the answer.
        :param part: the places of the events.
        """
        events = self.events[part.start : part.stop] if text else []
        return any(value in text for event in events for value in _values_in(orjson.loads(event)))


class Batcher:
    """Cuts a stream of events into batches.

    :param max_bytes: of the events of one batch with the commas between them.
    :param max_events: of one batch.
    """

    def __init__(self, max_bytes: int, max_events: int = MAX_EVENTS) -> None:
        self._max_bytes = max_bytes
        self._max_events = max_events
        self._batch = Batch()

    def add(
        self,
        call: str,
        rows: Sequence[int],
        events: Sequence[bytes],
        keys: Sequence[bytes | None] | None = None,
        in_flight: Sequence[Any] = (),
    ) -> Iterator[Batch]:
        """Take the events of one call, and yield the batches that are full.

        :param call: the call's identity.
        :param rows: the number of the row of each event.
        :param events: encoded, with their ids.
        :param keys: of the rows, where the sync has a key.
        :param in_flight: what to remember of each, where only changes are sent.
        """
        keys = keys or [None] * len(events)
        start, size, room = 0, self._batch.size, self._max_events - len(self._batch)
        for position, event in enumerate(events):
            grown = size + len(event) + 1
            if grown > self._max_bytes or position - start >= room:
                part = slice(start, position)
                yield self._fill(call, rows[part], events[part], keys[part], in_flight[part], size)
                self._batch = Batch()
                start, grown, room = position, len(event) + 1, self._max_events
            size = grown
        self._fill(call, rows[start:], events[start:], keys[start:], in_flight[start:], size)

    def rest(self) -> Iterator[Batch]:
        """Yield the last batch, if anything is left."""
        if self._batch.events:
            yield self._batch
        self._batch = Batch()

    def _fill(
        self,
        call: str,
        rows: Sequence[int],
        events: Sequence[bytes],
        keys: Sequence[bytes | None],
        in_flight: Sequence[Any],
        size: int,
    ) -> Batch:
        batch = self._batch
        batch.events += events
        batch.rows += rows
        batch.calls += [call] * len(events)
        batch.keys += keys
        batch.in_flight += in_flight
        batch.size = size
        return batch


def _values_in(part: Any) -> Iterator[str]:
    """Yield the values, and the names of traits and properties, that are long enough to know them again."""
    if isinstance(part, dict):
        part = [*part, *part.values()] if part.get("type") not in TYPES else list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from _values_in(inner)
    elif isinstance(part, (str, int, float)) and len(str(part)) > 3 and part not in TYPES:
        yield str(part)
