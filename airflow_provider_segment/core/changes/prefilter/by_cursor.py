"""Reading from a cursor's high-water mark on: the rows before it were settled, and are not read again.

The mark passes no row that is not settled, none in the future, and none without a value in the cursor's column: those
are read in each run. It is moved by a run that ends whole and by no other. The rows at the mark itself are read again,
and the state keeps them from being sent twice; so rows with one and the same value are neither lost nor doubled.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from airflow_provider_segment.calls import Call
from airflow_provider_segment.core.changes import high_water
from airflow_provider_segment.core.changes.prefilter.cursor_mark import Mark, read_mark
from airflow_provider_segment.core.changes.prefilter.store import FilterStore, Record
from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.core.mapping.readers import Row
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.rows.columns import Columns
from airflow_provider_segment.core.rows.cursor_query import CursorQuery
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.core.rows.unreadable import Unreadable


def cursor_filter(
    query: CursorQuery | None,
    record: Record | None,
    store: FilterStore,
    calls: Sequence[Call],
    columns: Columns,
    options: Options,
) -> CursorFilter | None:
    """Return what reads from the mark on; None where there is no cursor.

    :param query: of the source, where there is one.
    :param record: that the last run has left.
    :param store: of the sync.
    :param calls: that are turned on.
    :param columns: what the query returned.
    :param options: of the sync.
    :raises SettingError: if rows would be read whose keys were forgotten.
    """
    mark = read_mark(record.cursor_mark if record is not None else None)
    if query is None:
        if mark is not None:
            mark.check_known(None, "without the cursor")
        return None
    place, names = columns.index(query.column, "cursor"), [call.identity for call in calls]
    return CursorFilter(query, place, options, names, mark, store.now())


class CursorFilter:
    """Reads the rows from the mark on.

    :param query: of the source.
    :param place: of the cursor's column in a row.
    :param options: of the sync.
    :param calls: the identities of those that are turned on.
    :param mark: of the last run that ended whole.
    :param now: seconds since 1970, by the clock of the state's database.
    :ivar maker: what made it, for the record and the log.
    """

    is_whole = False

    def __init__(
        self, query: CursorQuery, place: int, options: Options, calls: Sequence[str], mark: Mark | None, now: float
    ) -> None:
        self._query, self._place, self._options, self._calls = query, place, options, tuple(calls)
        self._mark, self._now = mark, now
        self.maker = f"by the cursor {options.cursor}"
        self._ahead = 0  # rows in the future so far
        self._kind = ""
        self._high: high_water.Value = None
        self._held: list[high_water.Value] = []
        self._stays = False
        self._page: list[high_water.Value] = []
        # The least value of each page, for rows that are refused after their page has gone.
        self._firsts: list[int] = []
        self._lows: list[high_water.Value] = []

    def why_all(self) -> str:
        """Return why all rows are read; empty where they are not."""
        if self._mark is None:
            return "there is no mark yet"
        if self._mark.column != self._query.column:
            return f"the mark is one of the column {self._mark.column!r}"
        if new := [name for name in self._calls if name not in self._mark.calls]:
            return f"no run has gone to its end with {', '.join(new)}"
        return ""

    def open(self, log: Any) -> Pages:
        """Return the rows to look at, and say which they are.

        :param log: of the run.
        :raises SettingError: if there are such whose keys were forgotten.
        """
        reason, first = self.why_all(), None
        read = "Every row is read: " if reason else "Rows from its mark on, and those without a value, are read"
        log.info("The cursor is %s. %s%s", self._options.cursor, read, reason)
        if self._mark is not None:
            first = None if reason else self._mark.first(self._options)
            self._mark.check_known(first, reason or "lookback or keep_days has grown")
        return self._query.read(first)

    def look(self, page: Sequence[Row], first: int) -> Sequence[int]:
        """Return the places of all rows, and take their values.

        :param page: some rows.
        :param first: the number of the first.
        """
        self._page = [row[self._place] for row in page]
        placed = [value for value in self._page if value is not None and type(value) is not Unreadable]
        if placed and isinstance(placed[0], dt.datetime) and placed[0].tzinfo is not None:
            # Python compares two times of one zone by what its clocks show, which repeat an hour in autumn.
            self._page = [value.astimezone(dt.UTC) if isinstance(value, dt.datetime) else value for value in self._page]
            placed = [value for value in self._page if value is not None and type(value) is not Unreadable]
        self._firsts.append(first)
        self._lows.append(None)
        if placed:
            low, high = self._bounds(placed, first)
            self._lows[-1] = low
            if high_water.is_ahead(high, self._now, self._options.zone):
                passed = [v for v in placed if not high_water.is_ahead(v, self._now, self._options.zone)]
                self._ahead += len(placed) - len(passed)
                high = max(passed, default=None)
            if high is not None and (self._high is None or high > self._high):
                self._high = high
        return range(len(page))

    def _bounds(self, values: Sequence[high_water.Value], first: int) -> tuple[high_water.Value, high_water.Value]:
        """Return the least and the largest value, if all are of one kind, which is that of the mark."""
        where = f"cursor: column {self._query.column}"
        types = {type(value): value for value in values}
        # Texts and decimals of one column may be of several kinds.
        judged = types.values() if types.keys().isdisjoint((str, Decimal)) else values
        try:
            kinds = {self._kind} - {""} | set(map(high_water.kind_of, judged))
            bounds = min(values), max(values)
            high_water.back(bounds[1], self._options.lookback)
        except (ArithmeticError, TypeError, ValueError) as error:
            reason = str(error) if isinstance(error, SettingError) else "found values that cannot be compared"
            raise SettingError(f"{where}, rows from {first:,} on: {reason}; cast it in the query") from None
        known = self._mark.kind if self._mark is not None and not self.why_all() else ""
        if len(kinds | {known} - {""}) > 1:
            raise SettingError(
                f"{where}, rows from {first:,} on: found {' and '.join(sorted(kinds))}"
                f"{f', where the mark is a {known}' if known else ''}; expected one kind: cast the column in the query"
            )
        (self._kind,) = kinds
        if self._options.keep_days is not None and high_water.day_of(bounds[0]) is None:
            raise SettingError(f"keep_days: expected a cursor of timestamps or dates, found {self._kind}")
        return bounds

    def days(self, numbers: Sequence[int]) -> dict[int, int]:
        """Return the days of the page that was looked at last, by the number of the key; none without ``keep_days``.

        :param numbers: of the keys of its rows; 0 where there is none.
        """
        if self._options.keep_days is None:
            return {}
        days = (None if type(value) is Unreadable else high_water.day_of(value) for value in self._page)
        return {number: day for number, day in zip(numbers, days, strict=True) if number and day is not None}

    def unsettle(self, row: int) -> None:
        """Let the mark pass a row no more.

        :param row: its number.
        """
        at = bisect_right(self._firsts, row) - 1
        if at < 0:
            return
        is_here = at == len(self._firsts) - 1
        value = self._page[row - self._firsts[at]] if is_here else self._lows[at]
        if type(value) is Unreadable:
            self._stays = True
        elif value is not None:
            self._held = [min([value, *self._held])]

    def moved(self) -> Mark | None:
        """Return the mark for the next run; None where there is none."""
        mark = None if self.why_all() else self._mark
        is_text = self._kind == "text"
        if self._high is None or self._stays or (is_text and self._held):
            # The database's order of texts need not be Python's: of some it is not known which lie before a held one.
            return mark
        high = self._high
        if mark is not None and not is_text:
            high = max(high, high_water.read(mark.kind, mark.high))
        held = high_water.written(self._held[0]) if self._held else None
        moved = Mark(self._query.column, self._kind, high_water.written(high), held, self._calls)
        days = [self._mark.forgotten if self._mark is not None else None, moved.oldest_kept(self._options)]
        return moved._replace(forgotten=max((day for day in days if day is not None), default=None))

    def follow(self, mark: Mark, store: FilterStore, log: Any) -> None:
        """Forget keys that lie long before a mark, and say what keeps it back.

        :param mark: that has been left for the next run.
        :param store: of the sync.
        :param log: of the run.
        """
        kept = mark.oldest_kept(self._options)
        if kept is not None and (number := store.forget_days(kept)):
            log.info("%s keys of rows more than keep_days before the mark are forgotten", f"{number:,}")
        if self._held or self._stays:
            log.warning(
                "cursor: rows were refused, and the mark of %s stays before them: all from there on are read in each "
                "run until they are mended, or left out in the query",
                self._options.cursor,
            )
        if self._ahead:
            log.warning(
                "cursor: %s rows have a %s in the future, or it is not known whether they do, since it has no zone "
                "and timezone is not set; they are sent, and the mark stays before them",
                f"{self._ahead:,}",
                self._options.cursor,
            )

    def remember(self, numbers: Sequence[int]) -> None:
        """Keep nothing: the state has the keys."""

    def missing(self) -> Iterator[Sequence[int]] | None:
        """Return None: of rows that are not read nobody can tell whether they are gone."""
        return None

    def passed_over(self) -> Iterator[Sequence[int]]:
        """Yield nothing: calls on "deleted" are refused with a cursor."""
        return iter(())

    def repeated(self, keys: Sequence[int]) -> set[int]:
        """Return nothing: rows before the mark are not known."""
        return set()

    def write(self, mark: str, unsettled: Sequence[int], watched: frozenset[int], ghosts: Sequence[int]) -> None:
        """Do nothing: the mark goes into the record."""
