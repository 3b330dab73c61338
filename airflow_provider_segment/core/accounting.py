"""What became of each call: counted, written down, remembered, and judged when the run ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import orjson

from airflow_provider_segment.core.delivery.answers import Response
from airflow_provider_segment.core.delivery.batching import Batch
from airflow_provider_segment.core.delivery.outcome import Outcome
from airflow_provider_segment.core.delivery.rejects import NoRejects, line_of
from airflow_provider_segment.core.errors import (
    CredentialsError,
    Refused,
    RejectedError,
    RejectsError,
    SegmentError,
    StateError,
)
from airflow_provider_segment.core.job import SyncJob
from airflow_provider_segment.core.mapping.messages import Message
from airflow_provider_segment.core.report import Rejection, Report
from airflow_provider_segment.core.stages import Stage

if TYPE_CHECKING:
    from airflow_provider_segment.core.changes.comparison import Changes
    from airflow_provider_segment.core.changes.in_flight import InFlight

# A part of a run may be some refused rows and nothing else, while other tasks have theirs accepted.
FEW_OF_PART = 100


class Accounting:
    """Counts what became of the calls of a run.

    :param job: what the run is to do.
    :param report: is filled.
    :param changes: remembers what was accepted, where only changes are sent.
    """

    def __init__(self, job: SyncJob, report: Report, changes: Changes | None) -> None:
        self._job = job
        self._report = report
        self._changes = changes
        self._rejects = job.rejects
        self._key_columns = job.options.key_columns
        self._broken: SegmentError | None = None

    def settle(self, outcomes: Iterable[Outcome], *, are_all: bool = False, failing: bool = False) -> None:
        """Count what became of batches; then say why the run cannot go on, if it cannot.

        :param outcomes: of batches that have ended.
        :param are_all: whether no more are on their way.
        :param failing: whether the run ends early already, for another reason.
        :raises SegmentError: the first reason.
        """
        errors: list[BaseException] = []
        for outcome in outcomes:
            self._count(outcome)
            if outcome.error is not None:
                errors.append(outcome.error)
        if are_all and self._changes is not None:
            self._save(self._changes.posted.save)
        if self._broken is not None:
            errors.append(self._broken)
        if errors and not failing:
            raise errors[0]

    def _count(self, outcome: Outcome) -> None:
        """Count what became of a batch, and write it down; what a time-out cuts off comes again and goes on here."""
        batch = outcome.batch
        telling = FEW_OF_PART if self._job.stage is Stage.SEND else 1
        if len(outcome.rejected) == len(batch) > telling and outcome.error is None and self._is_first():
            outcome.error = CredentialsError("Segment refused each event of the first batch alone: check the write key")
        if self._job.resume is not None and outcome.accepted:  # to note it twice does no harm
            parts = (batch.events[part.start : part.stop] for part in outcome.accepted)
            self._job.resume.accepted(chain.from_iterable(parts))
        if not outcome.is_counted:
            outcome.is_counted = True
            self._add_up(outcome)
        while outcome.rejected:
            self._refuse_sent(batch, *outcome.rejected.pop(0))
        self._save_where_due()

    def _add_up(self, outcome: Outcome) -> None:
        report, batch = self._report, outcome.batch
        for part in outcome.accepted:
            for call, calls in Counter(batch.calls[part.start : part.stop]).items():
                report.end(call, "accepted", calls)
        report.batches += outcome.count() > 0
        report.requests += outcome.requests
        report.retries += outcome.retries
        report.bytes += outcome.bytes
        taken = [one for part in outcome.accepted for one in batch.in_flight[part.start : part.stop]]
        self._remember(taken, batch.in_flight)

    def _refuse_sent(self, batch: Batch, place: int, answer: Response) -> None:
        row, call = batch.rows[place], batch.calls[place]
        said = "" if batch.is_quoted_by(answer.message, range(place, place + 1)) else answer.message
        reason = said or "Segment gave no reason that can be shown; it refused this message alone"
        rejection = Rejection(row, call, "delivery", "", f"http_{answer.status}", reason, answer.status)
        number = self._changes.key_of(batch.in_flight[place]) if self._changes is not None else None
        self.refuse(rejection, batch.keys[place], batch.events[place], number)

    def _is_first(self) -> bool:
        """Tell whether nothing was accepted yet, as far as is known."""
        state, resume = self._job.state, self._job.resume
        if self._report.accepted or (resume is not None and resume.known):
            return False
        try:
            return not (state is not None and state.has_accepted())
        except StateError:
            return False

    def remember(self, accepted: Sequence[InFlight], in_flight: Sequence[InFlight]) -> None:
        """Save what was accepted, now that it is acknowledged, and count it by the kind of the change.

        :param accepted: those that were.
        :param in_flight: all that were on their way with them.
        """
        self._remember(accepted, in_flight)
        self._save_where_due()

    def hurry(self) -> None:
        """Have seconds for the state's database from now on: the task is about to end."""
        if self._changes is not None:
            self._changes.posted.hurry()

    def _remember(self, accepted: Sequence[InFlight], in_flight: Sequence[InFlight]) -> None:
        if self._changes is None:
            return
        for kind, number in self._changes.kinds_of(accepted).items():
            setattr(self._report, kind, getattr(self._report, kind) + number)
        self._changes.posted.ended(in_flight, accepted)

    def _save_where_due(self) -> None:
        if self._changes is not None:
            self._save(self._changes.posted.save_where_due)

    def _save(self, save: Callable[[], None]) -> None:
        try:
            save()
        except StateError as error:
            self._broken = self._broken or error  # the next run sends these again, under the same ids

    def refuse_change(self, row: int, key: bytes, refused: Refused, *, identity: str) -> None:
        """Refuse a call that the state, not the mapping, found wrong.

        :param row: its number; 0 where the row is gone.
        :param key: of the row.
        :param refused: why.
        :param identity: of the call.
        """
        if row == 0:
            self._report.ask(identity)  # no row asked for it: its key is gone
        self.refuse(Rejection(row, identity, "mapping", refused.field, refused.code, refused.text()), key, None)

    def refuse(
        self, rejection: Rejection, key: bytes | None, message: Message | bytes | None, number: int | None = None
    ) -> None:
        """Count a refused call, and write it down where the user asked for it.

        :param rejection: the call and the reason.
        :param key: of its row.
        :param message: as far as it was made.
        :param number: of the key in the state, where it is known.
        """
        self._report.refuse(rejection)
        if self._changes is not None:
            self._changes.refused(rejection, key, number)
        columns = self._key_columns
        named = dict(zip(columns, orjson.loads(key), strict=True)) if key and columns else None
        try:
            self._rejects.write(line_of(rejection, named, message))
        except RejectsError as error:
            self._rejects = NoRejects()
            self._broken = self._broken or error  # settle() raises it, when all that came back is counted

    def judge(self) -> None:
        """Say so when too many calls were refused.

        :raises RejectedError: then.
        """
        check_refused(self._report, self._job.options.max_rejected)

    def with_report(self, error: SegmentError) -> SegmentError:
        """Return an error with what had happened until then: the counts and the commonest reasons, never a value."""
        return with_report(error, self._report)

    def close(self) -> None:
        """Count what had no other end as not sent."""
        self._report.close()


def check_refused(report: Report, allowed: float, before: str = "") -> None:
    """Say so when too many calls were refused.

    :param report: of a run.
    :param allowed: a count, or below 1 a share of all calls.
    :param before: what the error says first.
    :raises RejectedError: if there are more.
    """
    refused = report.invalid + report.rejected
    if refused > (allowed * report.calls if allowed < 1 else allowed):
        said = f"{before}{refused:,} of {report.calls:,} calls were refused, and max_rejected allows {allowed:g}"
        raise with_report(RejectedError(said), report)


def with_report(error: SegmentError, report: Report) -> SegmentError:
    """Return an error with what had happened until then: the counts and the commonest reasons, never a value.

    :param error: any of ours.
    :param report: of the run.
    """
    error.report = report
    error.args = (f"{error}. {report.summary()}{report.commonest()}",)
    return error
