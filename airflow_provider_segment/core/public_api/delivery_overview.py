"""Segment's Delivery Overview: what a source received, dropped at ingest and filtered in the minutes of a run."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from airflow_provider_segment.core.errors import EndpointError, SettingError
from airflow_provider_segment.core.public_api.client import PublicApi, count_of

# How fine a window may be counted: the step, the longest window, and how long ago it may start.
_GRANULARITIES = (
    ("MINUTE", dt.timedelta(minutes=1), dt.timedelta(hours=4), dt.timedelta(hours=48)),
    ("HOUR", dt.timedelta(hours=1), dt.timedelta(days=14), dt.timedelta(days=30)),
    ("DAY", dt.timedelta(days=1), dt.timedelta(days=30), dt.timedelta(days=30)),
)
KEPT_DAYS = 30
# An event is counted when Segment has handled it, which is not before it was acknowledged to us.
_MARGIN = dt.timedelta(minutes=1)
_INSTANT = dt.timedelta(seconds=1)
# A group of 4 hours by the minute takes 14 KB, and 1 MB of an answer is read.
_PAGE = {"pagination.count": "50"}
_LINES = 20
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Event(NamedTuple):
    """What Segment counts together: a type, and the name of a Track event where it tells one."""

    type: str
    name: str


@dataclass
class Arrived:
    """What Segment has counted, whoever sent it.

    :param received: by event, what it took in.
    :param failed: by event and reason, what it dropped at ingest.
    :param filtered: by event and reason, what a rule of the source dropped.
    """

    received: Counter[Event] = field(default_factory=Counter)
    failed: Counter[tuple[Event, str]] = field(default_factory=Counter)
    filtered: Counter[tuple[Event, str]] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """Return the sums as plain data, and those of each discard reason."""
        found: dict[str, Any] = {"received": self.received.total()}
        for name, counts in (("failed", self.failed), ("filtered", self.filtered)):
            reasons: Counter[str] = Counter()
            for (_, reason), number in counts.items():
                reasons[reason] += number
            found |= {name: counts.total(), f"{name}_by_reason": dict(reasons)}
        return found

    def table(self) -> str:
        """Return all that was counted, by event and discard reason, as a table for the log: the largest first."""
        lines = [(number, event, "received", "") for event, number in self.received.items()]
        lines += [(number, event, "failed at ingest", why) for (event, why), number in self.failed.items()]
        lines += [(number, event, "filtered at source", why) for (event, why), number in self.filtered.items()]
        lines.sort(key=lambda line: (line[2] == "received", -line[0], line[1]))
        rows = [("events", "type", "name", "what Segment did", "discard reason")]
        rows += [(f"{number:,}", *event, what, why) for number, event, what, why in lines[:_LINES]]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        shown = "".join(
            "\n  " + "  ".join([row[0].rjust(widths[0]), *map(str.ljust, row[1:], widths[1:])]).rstrip() for row in rows
        )
        rest = len(lines) - _LINES
        return shown + (f"\n  ... and {rest:,} lines more" if rest > 0 else "")


@dataclass(frozen=True)
class Window:
    """The minutes of a run.

    :param started: an aware time.
    :param ended: an aware time.
    """

    started: dt.datetime
    ended: dt.datetime

    def check(self, now: dt.datetime) -> None:
        """Say so when Segment does not keep counts of this time any more.

        :param now: an aware time.
        :raises SettingError: then.
        """
        if now - self.started > dt.timedelta(days=KEPT_DAYS):
            days = (now - self.started).days
            raise SettingError(
                f"report: the run started {days} days ago, and Delivery Overview tells of the last {KEPT_DAYS} days"
            )

    def query(self, now: dt.datetime) -> dict[str, str]:
        """Return the window as Segment wants it: in the finest steps that it allows, whole ones, none in the future.

        :param now: an aware time.
        :raises SettingError: if it started too long ago.
        """
        self.check(now)
        for granularity, step, longest, oldest in _GRANULARITIES:  # noqa: B007  its last value is used
            start, end = _floor(self.started, step), _floor(self.ended + _MARGIN, step) + step
            if end - start <= longest and now - start <= oldest:
                break
        else:
            start = max(start, now - oldest + _MARGIN)  # the first day of 30 is not whole any more
        times = {"startTime": start.isoformat(), "endTime": max(min(end, now), start + _INSTANT).isoformat()}
        return {**times, "granularity": granularity}

    def __str__(self) -> str:
        return f"{self.started:%Y-%m-%d %H:%M:%S} to {self.ended:%Y-%m-%d %H:%M:%S} UTC"


def ask(api: PublicApi, source_id: str, window: Window, now: dt.datetime) -> Arrived:
    """Return what Segment has counted of a window by now.

    :param api: whose token may read the source; the workspace needs a Team or Business plan.
    :param source_id: of the source.
    :param window: the minutes of a run.
    :param now: an aware time.
    :raises SegmentError: as :meth:`PublicApi.post`, and if an answer holds no counts.
    """
    query = {"sourceId": source_id, **window.query(now), **_PAGE}
    by_event = {**query, "groupBy.0": "eventName", "groupBy.1": "eventType"}
    by_reason = {**by_event, "groupBy.2": "discardReason"}
    received = _dataset(api.get("/delivery-overview/successfully-received", by_event))
    failed = _dataset(api.get("/delivery-overview/failed-on-ingest", by_reason))
    filtered = _dataset(api.get("/delivery-overview/filtered-at-source", by_reason))
    arrived = Arrived()
    for one in received:
        arrived.received[_event(one)] += count_of(one, "total")
    for counts, dataset in ((arrived.failed, failed), (arrived.filtered, filtered)):
        for one in dataset:
            if number := count_of(one, "total"):
                counts[_event(one), str(one.get("discardReason") or "no reason told")] += number
    return arrived


def _dataset(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = data.get("dataset")
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise EndpointError("Segment's Public API: Delivery Overview answers without a dataset")
    return found


def _event(one: Mapping[str, Any]) -> Event:
    return Event(str(one.get("eventType") or ""), str(one.get("eventName") or ""))


def _floor(time: dt.datetime, step: dt.timedelta) -> dt.datetime:
    return _EPOCH + (time - _EPOCH) // step * step
