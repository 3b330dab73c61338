"""The plan of a run: what is due is counted by call and kind, and held where a cap might not allow it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_provider_segment.calls import CHANGE_KINDS
from airflow_provider_segment.core.caps import Caps
from airflow_provider_segment.core.delivery.batching import Batch
from airflow_provider_segment.core.delivery.held_batches import HeldBatches
from airflow_provider_segment.core.errors import SegmentError
from airflow_provider_segment.core.job import SyncJob
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.core.stages import Stage

if TYPE_CHECKING:
    from airflow_provider_segment.core.changes.comparison import Changes


class Plan:
    """Counts what is due, and keeps it until all of it is known to be allowed.

    :param job: what the run is to do.
    :param report: its ``planned`` is filled.
    :param identities: of the calls.
    :param changes: know how many keys there were, where only changes are sent.
    """

    def __init__(self, job: SyncJob, report: Report, identities: Sequence[str], changes: Changes | None) -> None:
        self._job = job
        self._report = report
        self._changes = changes
        kinds = ("all",) if changes is None else CHANGE_KINDS
        report.planned = {identity: dict.fromkeys(kinds, 0) for identity in identities}
        known = dict.fromkeys(identities, 0) if changes is None else changes.deletions.known
        self._caps = Caps(job.options, known)
        self._held: HeldBatches | None = None

    def hold_where_needed(self, rows: Pages) -> None:
        """Hold what is due until all rows were read, if there is a cap that might not hold.

        :param rows: of the query.
        """
        options, changes = self._job.options, self._changes
        may_delete_too_many = options.max_deleted is not None and options.most_deleted != 1.0 and self._gone > 0
        is_dry = options.validate_only or self._job.stage is Stage.PLAN
        if is_dry or not (may_delete_too_many or self.must_read(rows)):
            return
        self._held = HeldBatches() if changes is None else changes.hold()

    def must_read(self, rows: Pages) -> bool:
        """Tell whether rows must be read to know that the caps hold; otherwise their number is enough.

        :param rows: of the query.
        """
        return self._caps.are_set and (rows.total is None or not self._caps.hold_for(rows.total, self._gone))

    @property
    def _gone(self) -> int:
        return 0 if self._changes is None else self._changes.deletions.most_gone

    def count(self, identity: str, calls: int) -> None:
        """Count calls that are due, where all are sent.

        :param identity: of the call.
        :param calls: that are due.
        """
        self._report.planned[identity]["all"] += calls

    def count_changes(self, identity: str, kinds: Mapping[str, int]) -> None:
        """Count calls that are due, by the kind of the change.

        :param identity: of the call.
        :param kinds: how many there are of each kind.
        """
        planned = self._report.planned[identity]
        for kind, calls in kinds.items():
            planned[kind] += calls

    def holds(self, batch: Batch) -> bool:
        """Hold a batch, and tell whether it is held; once a cap is broken the rest is only counted.

        :param batch: that is full, or the last one.
        """
        if self._held is None:
            return False
        if not self._caps.broken(self._report.planned):
            self._held.add(batch)
        return True

    def check(self, other: SegmentError | None = None) -> None:
        """Say so when a cap is broken; see Caps.check.

        :param other: what was found wrong besides.
        :raises CapError: if one is broken.
        """
        self._caps.check(self._report.planned, other)

    def released(self) -> Iterator[Batch]:
        """Yield what was held, now that it is known to be allowed."""
        held, self._held = self._held, None
        if held is None:
            return
        self._job.on_planned(self._report, held.bytes)
        if self._changes is not None:
            self._changes.deletions.forget()
        try:
            yield from held.batches()
        finally:
            held.close()

    def drop(self) -> None:
        """Let go of what is held."""
        if self._held is not None:
            self._held.close()
