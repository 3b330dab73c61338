"""What looks wrong in the rows of a run: said early where it costs money, and counted when the run ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_segment.core.job import SyncJob
from airflow_provider_segment.core.mapping.route import Route
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.core.stages import Stage

if TYPE_CHECKING:
    from airflow_provider_segment.core.changes.comparison import Changes


class RunWarnings:
    """Watches what a run does.

    :param routes: of its calls.
    :param job: is told of what is said early.
    :param report: is told of the rest.
    :param changes: where only changes are sent.
    """

    def __init__(self, routes: Sequence[Route], job: SyncJob, report: Report, changes: Changes | None) -> None:
        self._routes = routes
        self._job = job
        self._report = report
        self._changes = changes
        self._said: set[str] = set()
        of_rows = [route for route in routes if route.is_of_rows]
        self._may_make_none = bool(of_rows) and all(route.call.wants for route in of_rows)
        self._made_none = 0

    def see(self, rows: int, wanted: Sequence[Sequence[int]]) -> None:
        """Count the rows of a page that make no call.

        :param rows: of the page.
        :param wanted: for each call the places of the rows that make it.
        """
        if self._may_make_none:
            of_rows = (places for route, places in zip(self._routes, wanted, strict=True) if route.is_of_rows)
            self._made_none += rows - len(set().union(*of_rows))

    def say_early(self) -> None:
        """Say at once that nearly all is updated: the run may be long, and each call is billed."""
        for identity, number, reason in self._changes.suspicions() if self._changes is not None else ():
            if identity not in self._said:
                self._said.add(identity)
                self._job.on_warning(f"{identity}: so far {number:,} {reason}")

    def finish(self) -> None:
        """Say what looked wrong in the rows that were read."""
        reads_rows = self._job.stage in (Stage.WHOLE, Stage.SEND)
        for route in self._routes:
            is_unmade = reads_rows and (self._changes is None or self._changes.is_unmade(route.call.identity))
            route.warn(self._report, is_unmade=is_unmade)
        if self._made_none:
            reason = "rows made no call: the `when` of none fits them"
            self._report.warn("rows", "made_no_call", reason, self._made_none)
        if self._changes is not None:
            self._changes.warn(self._report)
