"""When a filter may be used, what makes a row settled, and what a run leaves for the next one.

A filter tells which rows need no look, because this very row was settled before. It may only err by letting a row
through: the state stays the judge. A row is settled when each call that it asks for ended as accepted or unchanged.

A filter carries the number of the run that left it, a fingerprint of the mapping, and a random mark, written last. It
is used only by the very next run, after one that ended whole, with the same fingerprint. All else, such as a reset, a
run that was killed or a changed mapping, costs one full read, which leaves a new filter. No filter is ever mended.

A cursor stands in a filter's place where the user asked for one: by_cursor.py says what its mark promises.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

import orjson

from airflow_provider_segment.calls import Call
from airflow_provider_segment.core.changes.dry_state import DryState
from airflow_provider_segment.core.changes.mapping_changes import describe
from airflow_provider_segment.core.changes.prefilter.arrival import ArrivalFilter
from airflow_provider_segment.core.changes.prefilter.by_cursor import cursor_filter
from airflow_provider_segment.core.changes.prefilter.in_warehouse import WarehouseFilter
from airflow_provider_segment.core.changes.prefilter.mapping import fingerprint_of, mapped_places
from airflow_provider_segment.core.changes.prefilter.row_filter import RowFilter
from airflow_provider_segment.core.changes.prefilter.store import Record
from airflow_provider_segment.core.changes.samples import Sample
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.errors import SourceError
from airflow_provider_segment.core.mapping.readers import Row
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.rows.columns import Columns
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.core.rows.row_hashes import hashes_of_columns

# Keys of which rows differ from each other are refused; more of them than these say that the key is none.
MOST_WATCHED = 10_000
# Of so many rows at least, so large a share looked at and found unchanged is worth a word.
NEARLY_ALL, LEAST_ROWS = 0.9, 100


class Prefilter:
    """The filter of one run.

    :param calls: that are turned on.
    :param columns: what the query returned.
    :param options: of the sync.
    :param state: of the sync.
    :param rows: of the query: its warehouse lays out those which may have changed, or a cursor tells where they begin;
        otherwise it is left to the client.
    :ivar reason: why it is not used; empty where it is.
    :ivar fingerprint: of the mapping.
    :ivar watched: the numbers of keys of which the run before found rows with different contents.
    :ivar mapping: what the mapping is.
    :ivar mapping_before: what it was in the run before that ended whole; None where that is not known.
    :ivar unmade: the calls that no row made in the run before.
    :ivar skipped: rows that were passed over so far.
    """

    def __init__(
        self,
        calls: Sequence[Call],
        columns: Columns,
        options: Options,
        state: State | DryState,
        rows: Pages,
    ) -> None:
        self._store = state.filters
        self._log = state.log
        self._run, self._generation = state.run, state.generation
        self._places = mapped_places(calls, columns, options.key_columns)
        self._names = [columns.names[place] for place in self._places]
        self._key = options.key_columns
        self.fingerprint = fingerprint_of(calls, self._names, options)
        self._skipped_elsewhere = 0 if rows.warehouse is None else rows.warehouse.skipped_elsewhere
        self._record = record = self._store.record()
        self._cursor = cursor_filter(rows.cursor, record, self._store, calls, columns, options)
        self.maker = ArrivalFilter.maker if rows.warehouse is None else rows.warehouse.name
        self.reason = self._why_not(record, state)
        self.watched = frozenset(record.watched if record is not None else ())
        self.mapping = describe(calls, options)
        self.mapping_before = record.mapping if record is not None else None
        self.unmade = frozenset(record.unmade if record is not None else ())
        self._filter: RowFilter
        if self._cursor is not None:
            self._filter, self.maker, self.reason = self._cursor, self._cursor.maker, self._cursor.why_all()
        elif rows.warehouse is None:
            was_whole = record is not None and record.is_whole
            hashes = hashes_of_columns(self._places, len(columns.names))
            self._filter = ArrivalFilter(self._store, hashes, is_used=not self.reason, was_whole=was_whole)
        else:
            self._filter = WarehouseFilter(rows.warehouse)
        self._sample = Sample(record.sample if record is not None else None, frozenset(self._names))
        self.skipped = 0
        self._unsettled: list[int] = []
        self._contested: set[int] = set()

    def open(self, rows: Pages) -> Pages:
        """Return the rows that come here, and say in the log which filter is used, or why none is.

        :param rows: of the query.
        """
        if self._cursor is not None:
            return self._cursor.open(self._log)
        if isinstance(self._filter, WarehouseFilter):
            mark = None if self.reason or self._record is None else self._record.mark
            rows, self.skipped = self._filter.open(
                self._names, self._key, self._generation, self._run, mark, is_dry=not self._store.is_kept
            )
            if self._filter.is_planned:
                return rows
            if self._filter.is_full and not self.reason:
                self.reason = "its tables are not those of the run before, or a column has another type"
        if self.reason:
            self._log.info("Every row is looked at, and the filter %s made anew: %s", self.maker, self.reason)
        else:
            self._log.info("Rows that run %d of the sync has settled are passed over, %s", self._run - 1, self.maker)
        return rows

    def _why_not(self, record: Record | None, state: State | DryState) -> str:
        """Return why the filter that is there may not be used; nothing where it may."""
        if record is None:
            return "there is none yet"
        if record.maker != self.maker:
            return f"the run before had it {record.maker}"
        if record.fingerprint != self.fingerprint:
            return "the mapping, the columns or the version of this package changed"
        if record.run != state.run - 1 or state.is_recovering:
            return "the run before did not go to its end, or reset keys"
        return ""

    @property
    def all_skipped(self) -> int:
        """Rows that were passed over so far, also by another task of this run."""
        return self.skipped + self._skipped_elsewhere

    def laid_out_keys(self) -> Iterator[Sequence[Row]]:
        """Yield the keys of all rows that were laid out, some at a time; nothing without a warehouse."""
        return self._filter.laid_out_keys() if isinstance(self._filter, WarehouseFilter) else iter(())

    def found(self) -> tuple[list[int], set[int]]:
        """Return the rows that are not settled, and the keys of which rows have different contents."""
        return self._unsettled, self._contested

    def look(self, page: Sequence[Row], first: int) -> Sequence[int]:
        """Return the places of the rows of a page that must be looked at.

        :param page: some rows.
        :param first: the number of the first.
        """
        places = self._filter.look(page, first)
        self.skipped += len(page) - len(places)
        return places

    def remember(self, numbers: Sequence[int], page: Sequence[Row]) -> None:
        """Keep what tells the next run which rows were looked at.

        :param numbers: of their keys.
        :param page: these rows.
        """
        self._filter.remember(numbers)
        if self._cursor is not None and self._store.is_kept:
            self._store.keep_days(self._cursor.days(numbers))
        for place in self._sample.wanted(numbers):
            values = {name: ascii(page[place][at]) for name, at in zip(self._names, self._places, strict=True)}
            self._sample.see(numbers[place], orjson.dumps(values))

    def unsettle(self, row: int) -> None:
        """Remember that a row is to be looked at again, since a call of it was refused.

        :param row: its number.
        """
        if row and self._cursor is not None:
            self._cursor.unsettle(row)
        elif row:
            self._unsettled.append(row)

    def contest(self, key: int) -> None:
        """Remember that rows of one key have different contents.

        :param key: its number.
        """
        if len(self._contested) < MOST_WATCHED:
            self._contested.add(key)

    @property
    def gone(self) -> int | None:
        """How many keys are gone, at most; None where that is not known before all rows are read."""
        return self._filter.gone if isinstance(self._filter, WarehouseFilter) else None

    def missing(self) -> Iterator[Sequence[int]] | None:
        """Yield the numbers of all keys that may be gone, some at a time; None where that cannot be told."""
        return self._filter.missing()

    def passed_over(self) -> Iterator[Sequence[int]]:
        """Yield the numbers of the keys of rows that were passed over, and perhaps of others, some at a time."""
        return self._filter.passed_over()

    def again(self, updated: Sequence[int]) -> int:
        """Count the keys that were sent since a row had changed, while another row with another content was no matter.

        :param updated: the numbers of keys that were sent.
        """
        repeated = self._filter.repeated(updated) - self._contested if updated and self._store.is_kept else set()
        for key in repeated:
            self.contest(key)
        return len(repeated)

    def write(self, unmade: Sequence[str], ghosts: Sequence[int]) -> None:
        """Leave the filter for the next run, after all else that this one leaves.

        :param unmade: the calls that no row made.
        :param ghosts: the numbers of keys that are gone, and of which Segment does not know it.
        """
        if not self._store.is_kept:
            return
        mark = uuid.uuid4().hex
        try:
            self._filter.write(mark, self._unsettled, frozenset(self._contested), ghosts)
        except SourceError as error:  # Segment has all, and the state knows it
            self._log.warning(
                "The filter %s was not written, so the next run looks at every row: %s", self.maker, error
            )
            return
        moved = None if self._cursor is None else self._cursor.moved()
        record = Record(
            maker=self.maker,
            run=self._run,
            mark=mark,
            fingerprint=self.fingerprint,
            is_whole=self._filter.is_whole,
            watched=tuple(sorted(self._contested)),
            unmade=tuple(unmade),
            sample=self._sample.kept(always=True),
            mapping=self.mapping,
            cursor_mark=None if moved is None else moved.written(),
        )
        self._store.keep_record(record)
        if self._cursor is not None and moved is not None:
            self._cursor.follow(moved, self._store, self._log)

    def keep(self) -> None:
        """Leave the filter of the run before for the next run, since this one has sent nothing."""
        if self._store.is_kept and self._record is not None and not self.reason:
            self._store.keep_record(self._record._replace(run=self._run))

    def suspicion(self, rows: int, looked_at: int, calls: int, unchanged: int) -> str:
        """Return what it means that nearly all rows were looked at, and nearly all were unchanged; empty where not so.

        :param rows: of the query.
        :param looked_at: of them.
        :param calls: that these asked for.
        :param unchanged: of them.
        """
        if (
            self._cursor is not None
            or self.reason
            or looked_at < max(LEAST_ROWS, NEARLY_ALL * rows)
            or unchanged < NEARLY_ALL * calls
        ):
            return ""
        if most := self._sample.most():
            return f"rows were looked at, and hardly any call was due: the column that differs most is {most}"
        return (
            "rows were looked at, and hardly any call was due: they come in another order in each run. With an ORDER "
            "BY on the key they are passed over, which takes a fraction of the time"
        )
