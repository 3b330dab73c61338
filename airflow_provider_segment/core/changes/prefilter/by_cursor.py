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
from typing import NamedTuple

import orjson

from airflow_provider_segment.core.changes import high_water
from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.core.mapping.readers import Row
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.rows.cursor_query import CursorQuery
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.core.rows.unreadable import Unreadable


class Mark(NamedTuple):
    """How far a sync has come.

    :param column: of the cursor.
    :param kind: of its values.
    :param high: the largest value of a settled row.
    :param held: the least value of a row that is not settled; None where all are.
    :param calls: for which this is so.
    :param forgotten: the first day whose keys are still known, where ``keep_days`` has forgotten those before.
    """

    column: str
    kind: str
    high: str
    held: str | None
    calls: tuple[str, ...]
    forgotten: int | None = None

    def check_known(self, first: high_water.Value, reason: str) -> None:
        """Refuse to read rows whose keys were forgotten: they would be sent again.

        :param first: the value from which on rows are read; None means all.
        :param reason: why.
        :raises SettingError: if there are such.
        """
        if self.forgotten is None or (first is not None and (high_water.day_of(first) or 0) >= self.forgotten):
            return
        raise SettingError(
            f"keep_days: keys of old rows were forgotten, and this run would read those rows ({reason}) and send them "
            "again. Leave cursor, lookback and calls as they were, and give a new call a sync_id of its own; to send "
            "all rows again on purpose, start over with SegmentHook.reset"
        )

    def first(self, options: Options) -> high_water.Value:
        """Return the value from which on rows are read.

        :param options: of the sync.
        """
        first = high_water.back(high_water.read(self.kind, self.high), options.lookback)
        return first if self.held is None else min(first, high_water.read(self.kind, self.held))

    def oldest_kept(self, options: Options) -> int | None:
        """Return the first day whose keys are still kept; None where all are.

        :param options: of the sync.
        """
        high, first = high_water.day_of(high_water.read(self.kind, self.high)), high_water.day_of(self.first(options))
        if high is None or first is None or options.keep_days is None:
            return None
        return min(first, high - options.keep_days)

    def set_back(self, value: high_water.Value) -> Mark:
        """Return the mark at an earlier value.

        :param value: of the column.
        :raises SettingError: if it is of another kind, or not earlier.
        """
        kind = high_water.kind_of(value)
        if kind != self.kind:
            raise SettingError(f"cursor: expected a {self.kind}, as the mark is, found a {kind}")
        high = high_water.read(self.kind, self.high)
        if value > high:
            raise SettingError("cursor: the mark can only be set back, since rows before it are not read")
        self.check_known(value, "the mark is set back")
        return self._replace(high=high_water.written(value))  # a row that is held may lie before it

    def written(self) -> str:
        """Return it as text, for the state."""
        return orjson.dumps(self._asdict()).decode()


def read_mark(text: str | None) -> Mark | None:
    """Return the mark that Mark.written() has written; None where there is none.

    :param text: from the state.
    """
    if not text:
        return None
    found = orjson.loads(text)
    return Mark(**found | {"calls": tuple(found["calls"])})


class CursorFilter:
    """Reads the rows from the mark on.

    :param query: of the source.
    :param place: of the cursor's column in a row.
    :param options: of the sync.
    :param calls: the identities of those that are turned on.
    :param mark: of the last run that ended whole.
    :param now: seconds since 1970, by the clock of the state's database.
    :ivar ahead: rows in the future so far.
    """

    is_whole = False

    def __init__(
        self, query: CursorQuery, place: int, options: Options, calls: Sequence[str], mark: Mark | None, now: float
    ) -> None:
        self._query, self._place, self._options, self._calls = query, place, options, tuple(calls)
        self._mark, self._now = mark, now
        self.ahead = 0
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

    def open(self) -> Pages:
        """Return the rows to look at.

        :raises SettingError: if there are such whose keys were forgotten.
        """
        reason, first = self.why_all(), None
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
                self.ahead += len(placed) - len(passed)
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

    def days(self) -> list[int | None]:
        """Return the days of the values of the page that was looked at last."""
        return [None if type(value) is Unreadable else high_water.day_of(value) for value in self._page]

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

    @property
    def is_held(self) -> bool:
        """Whether a row that is not settled keeps the mark."""
        return bool(self._held or self._stays)

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
