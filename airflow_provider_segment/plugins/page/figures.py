"""What a run's counts say, in the numbers and words of the page."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import Any

from airflow_provider_segment.core.changes.overview import RunLine, SyncLine

NOTHING = "\u2013"
# The kinds of calls: what a report calls them, what the page calls them, and what that means.
KINDS = {
    "added": ("added", "accepted calls for rows that were new"),
    "updated": ("updated", "accepted calls for rows that had changed"),
    "deleted": ("deleted", "accepted calls for rows that had gone from the query"),
    "sent": ("sent", "accepted calls of a run with sync_mode='all', which sends each row"),
    "refused": ("refused", "calls that failed validation, and calls that Segment rejected"),
    "not_sent": ("not sent", "calls that were valid and were not acknowledged; the next run sends them"),
}
STATES = {
    "success": "It went to its end",
    "failed": "It ended with an error",
    "killed": "It was killed; what it had done is known up to a second before",
    "running": "It goes on",
    "silent": "It has not been heard of since its lease ran out: its process was probably killed. The next run goes on "
    "where it stood",
    "never": "No run is written down; runs are kept for 90 days unless history_days says otherwise",
}
# More counts of a report: what the page calls them, and what they mean.
COUNTS = {
    "rows": ("Rows", "Rows of the query"),
    "skipped": ("Passed over", "Rows that the run before had settled, so that they were not looked at"),
    "calls": ("Calls", "Calls that the rows which were looked at asked for, and the keys that are gone"),
    "unchanged": ("Unchanged", "Calls that were not due, because Segment had accepted their content before"),
    "invalid": ("Invalid", "Calls that failed validation here and were not sent"),
    "rejected": ("Rejected", "Calls that Segment refused"),
    "not_sent": ("Not sent", "Calls that were valid and were not acknowledged"),
    "requests": ("Requests", "HTTP requests to Segment"),
    "retries": ("Retries", "Requests that repeated an earlier one"),
    "bytes": ("Bytes", "Bytes of all requests"),
}
# What is known of a call and key.
MEANINGS = {
    "accepted": "Segment acknowledged it, which is no proof of delivery, or the last change asked for no call",
    "refused": "The last run that looked at it saw it refused; it is due until the row or the mapping is mended",
    "on its way": "It was posted when a run ended, and nobody knows whether it arrived; it is due",
    "remembered": "No call was sent: a baseline, or the call is not made on such a change",
    "gone": "The query does not return it any more",
    "reset": "It was made due again by hand",
    "never seen": "No run has seen it, as far as this state knows",
}
# A database's clock and ours may differ by so many seconds.
_CLOCKS = 60


@dataclass(frozen=True)
class Figures:
    """A run as the page shows it.

    :param line: of the run.
    :param state: one of STATES.
    """

    line: RunLine
    state: str

    def count(self, name: str) -> int | None:
        """Return a count of the report; None where it is not known.

        :param name: of the report.
        """
        found = self.line.report.get(name)
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    @property
    def accepted(self) -> int | None:
        """Calls that Segment acknowledged."""
        return self.count("accepted")

    @property
    def refused(self) -> int | None:
        """Calls that were refused here or there."""
        found = [self.count("invalid"), self.count("rejected")]
        return None if None in found else sum(one or 0 for one in found)

    @property
    def kinds(self) -> dict[str, int]:
        """The calls of each of KINDS."""
        done = {name: self.count(name) or 0 for name in ("added", "updated", "deleted")}
        sent = max(0, (self.accepted or 0) - sum(done.values()))
        return done | {"sent": sent, "refused": self.refused or 0, "not_sent": self.count("not_sent") or 0}

    @property
    def unchanged(self) -> float | None:
        """The share of what was asked for that needed no call: rows passed over, and calls whose content is known."""
        skipped, unchanged, calls = (self.count(name) or 0 for name in ("skipped", "unchanged", "calls"))
        return (skipped + unchanged) / (skipped + calls) if skipped + calls and self.line.mode != "all" else None

    @property
    def unchanged_words(self) -> str:
        """The same in words."""
        skipped, unchanged, calls = (number(self.count(name) or 0) for name in ("skipped", "unchanged", "calls"))
        if self.line.mode == "all":
            return "With sync_mode='all' each row is sent"
        return (
            f"{skipped} rows were passed over, and {unchanged} of {calls} calls said what Segment has accepted before"
        )

    @property
    def seconds(self) -> int | None:
        """How long it took, or takes so far."""
        if self.line.ended is None and self.state != "running":
            return None
        return max(0, (self.line.ended or int(time.time())) - self.line.started)

    @property
    def planned(self) -> dict[str, dict[str, int]]:
        """What was to be sent, by call and kind."""
        found = self.line.report.get("planned")
        return found if isinstance(found, dict) else {}

    @property
    def all_tries(self) -> dict[str, Any]:
        """What the tries of the task did together; empty where this was the first."""
        found = self.line.report.get("all_tries")
        return found if isinstance(found, dict) else {}


def figures(sync: SyncLine, lines: list[RunLine], newest: int | None = None) -> list[Figures]:
    """Return runs as the page shows them.

    :param sync: whose runs they are.
    :param lines: the newest first.
    :param newest: the number of the sync's last run; default: it is among these.
    """
    newest = newest if newest is not None else max((line.run for line in lines), default=0)
    is_silent = sync.expires + _CLOCKS < time.time()
    return [
        Figures(line, "silent" if _has_lease(line) and (is_silent or line.run < newest) else line.state)
        for line in lines
    ]


def _has_lease(line: RunLine) -> bool:
    return line.state == "running" and line.mode != "all"


def number(value: float | None) -> str:
    """Return a number with its thousands apart.

    :param value: None is not known.
    """
    return NOTHING if value is None else f"{value:,}"


def share(value: float | None) -> str:
    """Return a share in per cent; only all is 100 %, and only none is 0 %.

    :param value: between 0 and 1; None is not known.
    """
    if value is None:
        return NOTHING
    shown = f"{value * 100:.1f}"
    shown = "99.9" if shown == "100.0" and value < 1 else "0.1" if shown == "0.0" and value > 0 else shown
    return f"{shown.removesuffix('.0')} %"


def duration(seconds: int | None) -> str:
    """Return how long something took, in two units at most.

    :param seconds: None is not known.
    """
    if seconds is None:
        return NOTHING
    units = [("d", seconds // 86_400), ("h", seconds // 3_600 % 24), ("min", seconds // 60 % 60), ("s", seconds % 60)]
    first = next((place for place, (_, many) in enumerate(units) if many), 3)
    return " ".join(
        f"{many} {unit}" for unit, many in units[first : first + 2] if many or unit == "s" == units[first][0]
    )


def moment(when: float | dt.datetime) -> dt.datetime:
    """Return a time in UTC.

    :param when: seconds since 1970, or a time with a zone.
    """
    if isinstance(when, dt.datetime):
        return when.astimezone(dt.UTC)
    return dt.datetime.fromtimestamp(when, dt.UTC)
