"""The route of a row, from the query to Segment's acknowledgement: read this first.

A page of rows goes through each stage at once; where one of them is bad, the page goes again row by row. The module is
long since it names every stage.

 1. read      a page of rows comes from the source            rows.pages
 2. skip      with "changes": the very rows that the run      changes.prefilter
              before had settled
 3. tell      what tells the row from the others              mapping.message_ids.RowKeys, rows.keys
 4. map       each call makes its message from the row        events, mapping.route, compiler, readers
 5. encode    the bytes that are measured and sent            mapping.route, encoding.encoder
 6. compare   with "changes": is it due at all?               changes: comparison, fingerprints, state
 7. name      the id that a later try will repeat             mapping.message_ids.MessageIds
              and skip what an earlier try had acknowledged   changes.resume
 8. cut       batches, by bytes and by count                  delivery.batching
 9. show      the first messages, for a reader who asks       delivery.preview
10. hold      with a cap: nothing is sent until all that is   plan, caps, delivery.held_batches,
              due, the plan, is known to be allowed           changes.fresh_keys
11. deliver   a batch is posted, again where that may help    delivery: sender, pace, retries, transport
12. settle    acknowledged, refused, not sent: all counted,   accounting, report, delivery.rejects
              and what was accepted is remembered             changes: state, prefilter; resume

Where several tasks share a run (stages), one plans it, which is the way to 10 and sends nothing; others go all the way
with a part of the rows each; and one ends it, with the calls of keys that are gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_segment.calls import Call, named_columns
from airflow_provider_segment.core.accounting import Accounting
from airflow_provider_segment.core.changes.calls_of_page import CallsOfPage
from airflow_provider_segment.core.delivery.batching import Batch, Batcher
from airflow_provider_segment.core.delivery.preview import Preview
from airflow_provider_segment.core.delivery.sender import Delivery
from airflow_provider_segment.core.errors import (
    CapError,
    DeletionError,
    SegmentError,
    StateError,
    TooFewRowsError,
)
from airflow_provider_segment.core.events import Events
from airflow_provider_segment.core.job import SyncJob
from airflow_provider_segment.core.mapping.compiler import CompiledCall, WrittenMessages
from airflow_provider_segment.core.mapping.message_ids import RowKeys
from airflow_provider_segment.core.mapping.readers import Row
from airflow_provider_segment.core.mapping.route import Route
from airflow_provider_segment.core.plan import Plan
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.core.rows.columns import Columns
from airflow_provider_segment.core.rows.pages import Pages, at, read_ahead
from airflow_provider_segment.core.run_warnings import RunWarnings
from airflow_provider_segment.core.stages import Stage

if TYPE_CHECKING:
    from airflow_provider_segment.core.changes.comparison import Changes
    from airflow_provider_segment.core.changes.in_flight import DueCalls

# What ends a run on purpose before it sends anything.
STOPPED_BEFORE = (TooFewRowsError, CapError, DeletionError)
# Seconds for requests on their way when a run ends early; Airflow 3 kills a task 5 seconds after its SIGTERM.
GRACE = 3.0


def sync(rows: Pages, job: SyncJob, delivery: Delivery, report: Report) -> None:
    """Send the rows of a query as calls, and count what became of each.

    :param rows: with the names of their columns.
    :param job: what to do.
    :param delivery: takes the batches; its limits say how large they may be.
    :param report: is filled; it is right whatever is raised.
    :raises ColumnError: if the calls and the columns do not fit together; nothing was sent.
    :raises TooFewRowsError: if there are fewer rows than are expected at least; nothing was sent.
    :raises CapError: if more calls are due than a cap allows; nothing was sent.
    :raises RejectedError: if more calls were refused than is allowed; all good ones were sent.
    :raises SegmentError: if the run could not go on; requests on their way were waited for,
        for a few seconds, and counted.
    """
    run = _Run(rows, job, delivery, report)
    try:
        run.send(rows)
    except BaseException as error:
        # A task that is killed has seconds to end; otherwise requests on their way have the time that they need.
        in_a_hurry = delivery.is_stopped or not isinstance(error, Exception)
        delivery.stop()
        if in_a_hurry:
            run.accounting.hurry()
        run.accounting.settle(
            delivery.drain(GRACE if in_a_hurry else delivery.longest_request), are_all=True, failing=True
        )
        run.finish()
        run.leave(error)
        if isinstance(error, SegmentError):
            raise run.accounting.with_report(error) from None
        raise
    run.finish()
    run.accounting.judge()


class _Run:
    def __init__(self, rows: Pages, job: SyncJob, delivery: Delivery, report: Report) -> None:
        self._job = job
        self._delivery = delivery
        self._report = report
        calls = None if job.calls is None else [call for call in job.calls if call.enabled]
        options, key = job.options, job.options.key_columns
        # Without a row nothing tells the columns; what the calls name will do, since keys that are gone need no row.
        named = dict.fromkeys([*key, *(name for call in calls or () for name in named_columns(call))])
        columns = Columns(list(named) if rows.columns is None else rows.columns)
        self._columns = columns.names
        self._key = [columns.index(name, "key") for name in key]
        self._row_keys = RowKeys(self._key)
        compiled = [CompiledCall(call, columns, options) for call in calls or ()]
        makers: Sequence[CompiledCall | WrittenMessages] = [WrittenMessages(options)] if calls is None else compiled
        self._changes = _changes(job, list(zip(calls or (), compiled, strict=True)), columns, rows)
        self._last_row = 0
        self._numbers = rows.numbers
        self._is_dry = options.validate_only or job.stage is Stage.PLAN
        only_changes = job.state is not None
        self._routes = [Route(maker, job.namespace, options, only_changes=only_changes) for maker in makers]
        self._warnings = RunWarnings(self._routes, job, report, self._changes)
        self._resume = job.resume
        self.accounting = Accounting(job, report, self._changes)
        self._events = Events(report, self.accounting.refuse, self._key, self._columns)
        self._batcher = Batcher(delivery.max_bytes, delivery.max_events)
        self._preview = Preview(job.options.preview_path)
        self._plan = Plan(job, report, [maker.identity for maker in makers], self._changes)
        self._has_sent = job.stage in (Stage.SEND, Stage.FINALIZE)  # other tasks of the run have

    def send(self, rows: Pages) -> None:
        if self._changes is not None:
            rows = self._changes.prefilter.open(rows)
            self._report.rows = self._report.skipped = self._changes.prefilter.skipped
            self._numbers = rows.numbers
        self._plan.hold_where_needed(rows)
        for page in self._needed(rows):
            self._delivery.check()  # also where nothing of a page is due, or nothing is sent at all
            for batch in self._batches(page):
                self._post(batch)
            self._warnings.say_early()
            self._job.on_progress(self._report)
        for identity, due in self._changes.rest(self.accounting.refuse_change) if self._changes is not None else ():
            for batch in self._due(identity, due):
                self._post(batch)
        self._post_rest()
        if self._changes is not None and self._job.stage is not Stage.SEND:
            self._post_deletions(self._changes)
        self._plan.check()
        self._release()
        if self._changes is not None:
            names = [route.call.identity for route in self._routes if not route.is_made]
            self._changes.finish([identity for identity in names if self._changes.is_unmade(identity)], self._report)

    def _needed(self, rows: Pages) -> Iterator[Sequence[Row]]:
        """Return the pages; none where other tasks send them, and their number is enough to know that the caps hold."""
        pages = self._enough(rows)
        if self._job.stage is not Stage.PLAN or self._plan.must_read(rows):
            return pages
        self._report.rows += rows.total or 0
        if self._changes is not None:
            self._changes.deletions.is_unread = True
        return iter(())

    def _release(self) -> None:
        """Send what was held, now that it is known to be allowed."""
        is_deleting = False
        for batch in self._plan.released():
            if batch.rows[0] == 0 and not is_deleting:  # keys that are gone come last, when all else is acknowledged
                self.accounting.settle(self._delivery.drain(), are_all=True)
                is_deleting = True
            self._send(batch)
            self._job.on_progress(self._report)
        self.accounting.settle(self._delivery.drain(), are_all=True)

    def _enough(self, rows: Pages) -> Iterator[Sequence[Row]]:
        """Return the pages, once it is known that they have as many rows as are expected at least."""
        least = self._job.options.min_rows
        found, pages = read_ahead(rows, least - self._report.skipped)
        found += self._report.skipped
        if found < least:
            self._report.rows = found
            raise TooFewRowsError(
                f"min_rows: expected at least {least:,} rows, found {found:,}; nothing was sent and nothing deleted"
            )
        return pages

    def _post_rest(self) -> None:
        for batch in self._batcher.rest():
            self._post(batch)
        self.accounting.settle(self._delivery.drain(), are_all=True)

    def _post_deletions(self, changes: Changes) -> None:
        """Make the calls for keys that are gone, now that the query was read to its end and all else was posted."""
        try:
            for identity, due in changes.deletions.calls(self.accounting.refuse_change):
                self._report.ask(identity, len(due.rows))
                for batch in self._due(identity, due):
                    self._post(batch)
        except DeletionError as error:
            self._plan.check(error)
        for identity in changes.deletions.undeletable():
            reason = (
                "rows have a key that cannot be read, so that nobody can tell which keys are gone: this run deletes "
                "none; mend the rows, or leave them out in the query"
            )
            self._report.warn(identity, "nothing_deleted", reason, changes.deletions.unreadable)
        self._post_rest()

    def _batches(self, page: Sequence[Row]) -> Iterator[Batch]:
        """Turn a page of rows into events, call by call, and yield the batches that are full."""
        page, rows = self._to_look_at(page)
        if not page:
            return
        row_keys = self._row_keys.of(page)
        numbers = () if self._changes is None else self._changes.read(row_keys, page)
        wanted = [self._events.places(route, page, row_keys, rows) for route in self._routes]
        self._warnings.see(len(page), wanted)
        for route, made_by in zip(self._routes, wanted, strict=True):
            identity = route.call.identity
            places, events = self._events.made(route, made_by, page, row_keys, rows)
            of_rows, keys = at(places, rows), at(places, row_keys)
            if self._changes is None:
                if self._resume is not None and self._resume.known:
                    left = self._resume.due(events)
                    self._report.end(identity, "unchanged", len(events) - len(left))
                    of_rows, events, keys = (at(left, values) for values in (of_rows, events, keys))
                self._plan.count(identity, len(events))
                yield from self._batcher.add(identity, of_rows, events, keys if self._key else None)
            else:
                found = CallsOfPage(of_rows, events, keys, at(places, numbers), at(places, page))
                due = self._changes.due(identity, found, partial(self.accounting.refuse_change, identity=identity))
                yield from self._due(identity, due)

    def _to_look_at(self, page: Sequence[Row]) -> tuple[Sequence[Row], Sequence[int]]:
        """Return the rows of a page that the filter lets through, and their numbers in the query's result."""
        first = self._last_row + 1
        self._last_row += len(page)
        self._report.rows += len(page)
        rows = range(first, first + len(page)) if self._numbers is None else self._numbers()
        if self._changes is None or not page:
            return page, rows
        places = self._changes.prefilter.look(page, first)
        self._report.skipped += len(page) - len(places)
        return at(places, page), at(places, rows)

    def _due(self, identity: str, due: DueCalls) -> Iterator[Batch]:
        """Count what is due, and yield the batches that are full."""
        self._report.end(identity, "unchanged", due.unchanged)
        self._plan.count_changes(identity, due.kinds)
        yield from self._batcher.add(identity, due.rows, due.events, due.keys, due.in_flight)

    def _post(self, batch: Batch) -> None:
        self._preview.take(batch.events)
        if self._is_dry:
            # So that a later row of the same key is counted as it would be.
            self.accounting.remember(batch.in_flight, batch.in_flight)
        elif not self._plan.holds(batch):
            self._send(batch)

    def _send(self, batch: Batch) -> None:
        self.accounting.settle(self._delivery.make_room())
        self._has_sent = True
        if self._changes is not None:
            self._changes.posted.mark(batch.in_flight)
        self._delivery.submit(batch)

    def leave(self, error: BaseException) -> None:
        """Let go of what was held; a run that was stopped before it sent anything leaves the state as it was.

        :param error: that ends the run.
        """
        self._plan.drop()
        if self._changes is not None and not self._has_sent and isinstance(error, STOPPED_BEFORE):
            with suppress(StateError):  # then the next run looks at every row
                self._changes.leave_as_it_was()

    def finish(self) -> None:
        """Say what looked wrong in the rows that were read, and count what had no other end."""
        self._warnings.finish()
        self.accounting.close()


def _changes(job: SyncJob, calls: Sequence[tuple[Call, CompiledCall]], columns: Columns, rows: Pages) -> Changes | None:
    if job.state is None:
        return None
    # Imported here: they bring SQLAlchemy, which sync_mode="all" does without.
    from airflow_provider_segment.core.changes.comparison import Changes
    from airflow_provider_segment.core.changes.dry_state import DryState

    is_plan = job.stage is Stage.PLAN
    state = DryState(job.state, is_plan=is_plan) if job.options.validate_only or is_plan else job.state
    return Changes(calls, columns, job.options, state, rows, job.stage)
