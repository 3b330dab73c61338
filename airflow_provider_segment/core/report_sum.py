"""One report of a run that several tasks did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_segment.core.report import ADD_UP, Report

_NUMBERS = (
    "rows", "skipped", "calls", "unchanged", "invalid", "accepted", "rejected", "not_sent",
    "added", "updated", "deleted", "batches", "requests", "retries", "bytes",
)  # fmt: skip
# A call that makes no row of one part may make those of another.
_IN_ALL = ": made_by_no_row"


def summed(reports: Sequence[Mapping[str, Any]], seconds: float) -> Report:
    """Return the sum of the reports of tasks of one run.

    :param reports: as plain data.
    :param seconds: that the run took from its plan to its end.
    """
    total = Report(seconds=round(seconds, 3))
    for name in _NUMBERS:
        setattr(total, name, sum(report[name] for report in reports))
    total.started = min((report["started"] for report in reports), default=total.started)
    total.ended = max((report["ended"] for report in reports if report["ended"]), default=None)
    for report in reports:
        for call, kinds in report["planned"].items():
            known = total.planned.setdefault(call, dict.fromkeys(kinds, 0))
            for kind, number in kinds.items():
                known[kind] += number
        for call, counts in report["by_call"].items():
            ends = total.by_call.setdefault(call, {})
            ends |= {name: ends.get(name, 0) + number for name, number in counts.items() if name != "not_sent"}
        for name, number in report.get("warnings", {}).items():
            total.warnings[name] = total.warnings.get(name, 0) + number
    if tried := [report for report in reports if "all_tries" in report]:
        total.earlier = [_earlier(tried)]
    senders = [report for report in reports if report["calls"]]
    for name in [name for name in total.warnings if name.endswith(_IN_ALL)]:
        if not all(name in report.get("warnings", {}) for report in senders):
            del total.warnings[name]
    return total


def _earlier(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what earlier tries of the tasks did together; their seconds are within those of the run."""
    names = [name for name in ADD_UP if name != "seconds"]
    sums = {name: sum(report["all_tries"][name] - report[name] for report in reports) for name in names}
    return sums | {"tries": max(report["all_tries"]["tries"] for report in reports) - 1}
