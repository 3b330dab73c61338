"""The local Segment's Delivery Overview: what it received, dropped and filtered, counted by the minute."""

from __future__ import annotations

import datetime as dt
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

from airflow_provider_segment.testing.asked import ApiError, Asked, Found

Outcome = Literal["successfully-received", "failed-on-ingest", "filtered-at-source"]
_RECEIVED: Outcome
_FAILED: Outcome
_FILTERED: Outcome
_RECEIVED, _FAILED, _FILTERED = OUTCOMES = get_args(Outcome)

# How long the longest window is, and how long ago it may start.
_GRANULARITIES = {
    "MINUTE": (dt.timedelta(minutes=1), dt.timedelta(hours=4), dt.timedelta(hours=48)),
    "HOUR": (dt.timedelta(hours=1), dt.timedelta(days=14), dt.timedelta(days=30)),
    "DAY": (dt.timedelta(days=1), dt.timedelta(days=30), dt.timedelta(days=30)),
}
_NAMES = {"eventName": "event_name", "eventType": "event_type", "discardReason": "discard_reason"}


class _Counted(NamedTuple):
    """What is counted together."""

    minute: dt.datetime
    outcome: str
    event_name: str | None
    event_type: str
    discard_reason: str | None


class DeliveryOverview:
    """What became of events at this source, whoever sent them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[_Counted] = Counter()
        self._rules: list[tuple[Callable[[Any], bool], str]] = []
        self.as_text = False

    def add(
        self,
        outcome: Outcome,
        count: int = 1,
        *,
        event_type: str = "track",
        event_name: str | None = None,
        discard_reason: str | None = None,
        at: dt.datetime | None = None,
    ) -> None:
        """Count events that no request of this process brought: those of another sender, or of a late minute.

        :param outcome: what became of them.
        :param count: of the events.
        :param event_type: their type.
        :param event_name: of Track.
        :param discard_reason: why they were dropped or filtered.
        :param at: an aware time; default now.
        """
        minute = (at or dt.datetime.now(dt.UTC)).astimezone(dt.UTC).replace(second=0, microsecond=0)
        with self._lock:
            self._counts[_Counted(minute, outcome, event_name, event_type, discard_reason)] += count

    def filter(self, rule: Callable[[Any], bool], reason: str = "schema_violation") -> None:
        """Count the coming events for which a rule holds as filtered at the source, and not as received.

        :param rule: function of a message as on the wire.
        :param reason: the discard reason.
        """
        with self._lock:
            self._rules.append((rule, reason))

    def note(self, message: Any, code: str | None) -> None:
        """Count an event that came.

        :param message: as on the wire.
        :param code: why it was dropped at ingest; None where it was taken.
        """
        said = message if isinstance(message, dict) else {}
        event, kind = said.get("event"), str(said.get("type") or "unknown")
        reason, outcome = code, _FAILED
        if code is None:
            reason = next((reason for rule, reason in self._rules if rule(message)), None)
            outcome = _FILTERED if reason else _RECEIVED
        name = event if isinstance(event, str) else None
        self.add(outcome, event_type=kind, event_name=name, discard_reason=reason)

    def answer(self, outcome: str, asked: Asked) -> Found:
        """Return the counts of one kind.

        :param outcome: which.
        :param asked: the window, its granularity, and by what the counts are grouped.
        :raises ApiError: if Segment would not answer such a question.
        """
        start, end = (_time(asked.needed(name), name) for name in ("startTime", "endTime"))
        granularity = asked.needed("granularity")
        if granularity not in _GRANULARITIES:
            raise ApiError(422, "validation-error", "granularity")
        step, longest, oldest = _GRANULARITIES[granularity]
        if not start < end or end - start > longest:
            raise ApiError(422, "validation-error", "endTime")
        if start < dt.datetime.now(dt.UTC) - oldest:
            raise ApiError(422, "validation-error", "startTime")
        by = [value for name, value in asked.query.items() if name.startswith("groupBy.")]
        if unknown := set(by) - {*_NAMES, "appVersion"}:
            raise ApiError(422, "validation-error", f"groupBy.{min(unknown)}")
        groups: dict[tuple[str | None, ...], Counter[dt.datetime]] = {}
        with self._lock:
            counts = list(self._counts.items())
        for counted, number in counts:
            if counted.outcome == outcome and start <= counted.minute < end:
                group = tuple(getattr(counted, _NAMES[name]) if name in _NAMES else None for name in by)
                groups.setdefault(group, Counter())[start + (counted.minute - start) // step * step] += number
        dataset = [
            {name: value for name, value in zip(by, group, strict=True) if value is not None}
            | {
                "total": self._number(series.total()),
                "series": [{"time": at.isoformat(), "count": self._number(n)} for at, n in sorted(series.items())],
            }
            for group, series in groups.items()
        ]
        total = sum(series.total() for series in groups.values())
        return {"total": self._number(total)} | asked.page("dataset", dataset)

    def _number(self, number: int) -> int | str:
        return str(number) if self.as_text else number


def _time(text: str, name: str) -> dt.datetime:
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ApiError(422, "validation-error", name) from None
    if found.tzinfo is None:
        raise ApiError(422, "validation-error", name)
    return found.astimezone(dt.UTC)
