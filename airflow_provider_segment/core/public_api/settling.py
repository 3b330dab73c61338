"""Have a run's events arrived: judged look by look, until the numbers stand still."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from airflow_provider_segment.core.errors import NotArrivedError, SettingError
from airflow_provider_segment.core.public_api.client import PublicApi
from airflow_provider_segment.core.public_api.delivery_overview import Arrived, Window, ask
from airflow_provider_segment.core.report import utc_text

UNKNOWN = (
    "What cannot be known: the numbers are of all senders of the source; Segment may still count late minutes, and "
    "removes repeats; it does not say whether what was filtered is among what was received"
)


class Verdict(Enum):
    """What the last look means."""

    WAIT = "look again"
    ARRIVED = "two looks have found that enough was received"
    MISSING = "too little was received, and the numbers stand still"


@dataclass(frozen=True)
class Sent:
    """What a run's report says was accepted, and when.

    :param accepted: calls that were acknowledged.
    :param window: the minutes of the run.
    :param tolerance: the share of the accepted calls that need not be received.
    :param by_call: the accepted ones by call, as far as the report tells.
    """

    accepted: int
    window: Window
    tolerance: float
    by_call: Mapping[str, int] = field(default_factory=dict)

    def is_enough(self, arrived: Arrived | None) -> bool:
        """Tell whether all was received that must be.

        :param arrived: what Segment has counted; None where it has not answered.
        """
        # Rounded: 10 * (1 - 0.7) is a little more than 3.
        return arrived is not None and arrived.received.total() >= round(self.accepted * (1 - self.tolerance), 6)

    def as_report(self) -> dict[str, Any]:
        """Return what a report says of it, as plain data."""
        times = {"started": self.window.started.isoformat(), "ended": self.window.ended.isoformat()}
        return {
            "accepted": self.accepted,
            "by_call": {call: {"accepted": n} for call, n in self.by_call.items()},
            **times,
        }

    def result(self, arrived: Arrived) -> dict[str, Any]:
        """Return the sums as plain data, for XCom.

        :param arrived: what Segment has counted.
        """
        return {"accepted": self.accepted, **arrived.as_dict()}

    def said(self, arrived: Arrived) -> str:
        """Return what was sent and received in a line, and the table.

        :param arrived: what Segment has counted.
        """
        sums = arrived.as_dict()
        others = sums["received"] - self.accepted
        more = f" ({others:,} more than were accepted: other senders of the source, too)" if others > 0 else ""
        return (
            f"{self.accepted:,} accepted, {sums['received']:,} received{more}, {sums['failed']:,} failed at ingest, "
            f"{sums['filtered']:,} filtered at source, from {self.window}{self._calls()}:{arrived.table()}"
        )

    def _calls(self) -> str:
        said = ", ".join(f"{call} {number:,}" for call, number in self.by_call.items())
        return f"; accepted by call: {said}" if said else ""

    def missing(self, arrived: Arrived | None) -> NotArrivedError:
        """Return the error for what is missing.

        :param arrived: what Segment has counted; None where it has not answered.
        """
        if arrived is None:
            return NotArrivedError("Segment's Public API has not told what arrived; the log says why")
        allowed = f" (tolerance {self.tolerance:g})" if self.tolerance else ""
        return NotArrivedError(
            f"Segment received fewer events than it accepted{allowed}: {self.said(arrived)}\n{UNKNOWN}"
        )


class Settling:
    """The looks at one run's events.

    :param api: of the workspace.
    :param source_id: of the source.
    :param sent: what was sent to it.
    :param settle_seconds: for so long the numbers must not have moved, where they are too small.
    :ivar sent: as given.
    :ivar last: what the last look found; None before one.
    """

    def __init__(self, api: PublicApi, source_id: str, sent: Sent, settle_seconds: float) -> None:
        self._api, self._source_id = api, source_id
        self.sent, self._settle_seconds = sent, settle_seconds
        self._since = 0.0
        self.last: Arrived | None = None

    def look(self) -> Verdict:
        """Ask Segment once, and return what that means after the looks before it.

        :raises SegmentError: if Segment does not answer, or refuses.
        """
        arrived = ask(self._api, self._source_id, self.sent.window, dt.datetime.now(dt.UTC))
        return self.judge(arrived, time.monotonic())

    def judge(self, arrived: Arrived, now: float) -> Verdict:
        """Return what a look means after those before it.

        :param arrived: what Segment has counted.
        :param now: seconds of a clock that only goes on.
        """
        before, self.last = self.last, arrived
        if arrived != before:
            self._since = now
        if self.sent.is_enough(arrived):  # what others send at the same time may move the numbers for long
            return Verdict.ARRIVED if self.sent.is_enough(before) else Verdict.WAIT
        return Verdict.MISSING if now - self._since >= self._settle_seconds and before is not None else Verdict.WAIT


def sent_of(report: Any, tolerance: float) -> Sent:
    """Return what a report says was sent, or the reports of mapped tasks together.

    :param report: of a run, as plain data; or a sequence of them.
    :param tolerance: a share from 0 to below 1.
    :raises SettingError: if it is no report of a run.
    """
    wanted = "report: expected what a sync returns, such as sync.output, or its XCom 'report' where it failed"
    is_several = isinstance(report, Sequence) and not isinstance(report, str)
    reports = list(report) if is_several else [report]
    if not reports or not all(isinstance(one, Mapping) for one in reports):
        raise SettingError(f"{wanted}; found a {type(report).__name__}")
    counts = [one.get("accepted") for one in reports]
    if not all(isinstance(count, int) and not isinstance(count, bool) for count in counts):
        raise SettingError(f"{wanted}; found none of its counts")
    if not all(one.get("started") for one in reports):
        raise SettingError("report: it does not say when its run started; run the sync again with this version")
    started = min(_time(one["started"]) for one in reports)
    ended = max(_time(one.get("ended") or utc_text()) for one in reports)
    accepted, by_call = sum(map(_accepted, reports)), Counter[str]()
    for one in reports:
        by_call.update({call: of_call["accepted"] for call, of_call in (one.get("by_call") or {}).items()})
    if by_call.total() != accepted:  # which call it was is known of the last try alone
        by_call.clear()
    return Sent(accepted, Window(started, ended), tolerance, by_call)


def _accepted(report: Mapping[str, Any]) -> int:
    """Return what all tries of a run had accepted: the time of the report begins with the first of them.

    With "all" what an earlier try had accepted counts as unchanged; a run that was cleared repeats its ids, of which
    Segment counts each once. With "changes" each try has accepted other calls.
    """
    if any("all" in kinds for kinds in (report.get("planned") or {}).values()):
        return int(report["accepted"]) + int(report.get("unchanged") or 0)
    return int((report.get("all_tries") or report)["accepted"])


def _time(text: Any) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(text).astimezone(dt.UTC)
    except (TypeError, ValueError):
        raise SettingError("report: started, ended: expected times as ISO 8601 text") from None
