"""Rows in pages, with the names of their columns: what a query gives, and what rows of Python are turned into."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from airflow_provider_segment.core.errors import ColumnError, SettingError
from airflow_provider_segment.core.rows.frames import slices_of
from airflow_provider_segment.core.rows.kinds import named_row

if TYPE_CHECKING:
    from airflow_provider_segment.core.rows.cursor_query import CursorQuery
    from airflow_provider_segment.core.rows.warehouse import Warehouse


@dataclass(frozen=True)
class Pages:
    """Rows, some at a time, so that memory is bounded.

    :param columns: their names; None where there are no rows to tell them.
    :param pages: lists of rows; a row is a tuple in the order of the columns.
    :param source: where they come from, for the log.
    :param total: how many rows there are, where that is known without counting.
    :param commit: is called when Segment has acknowledged all that came of them: what reading them changed at the
        source may stay. It returns why that failed, where nothing is lost by it.
    :param warehouse: lays out the rows that are to be read, when the run has begun; ``pages`` has none then.
    :param cursor: the same for rows that are read from a mark on.
    :param numbers: tells the numbers of the rows of the page that was read last; None where they are 1, 2, 3 ...
    """

    columns: Sequence[str] | None
    pages: Iterable[Sequence[Sequence[Any]]]
    source: str
    total: int | None = None
    commit: Callable[[], str] = lambda: ""
    warehouse: Warehouse | None = None
    cursor: CursorQuery | None = None
    numbers: Callable[[], Sequence[int]] | None = None


def pages_of(rows: Any, columns: Sequence[str] | None = None, size: int = 2_500) -> Pages:
    """Return rows that Python holds as pages; in them NaN is null, since that is how pandas writes a missing number.

    :param rows: any iterable of dicts, of rows that know their names (named tuples, Spark's Row), or with ``columns``
        of sequences; or a DataFrame of pandas or polars, or a table of Arrow. It is read once, a page at a time.
    :param columns: of rows that are sequences; for dicts they are those of the first page, and a column that a row
        lacks is null in it.
    :param size: rows a page.
    :raises SettingError: if a row is neither.
    :raises ColumnError: if a later dict has a column that none of the first page had.
    """
    if (frame := slices_of(rows, size)) is not None:
        if columns is not None:
            raise SettingError(f"columns: a {type(rows).__name__} names its own; leave it out")
        names, slices = frame
        return Pages(names, map(_rows, slices), "rows", len(rows))
    if isinstance(rows, (str, bytes, Mapping)) or not isinstance(rows, Iterable):
        hint = "; collect() it first" if hasattr(rows, "collect") else ""
        raise SettingError(f"rows: expected an iterable of rows, found a {type(rows).__name__}{hint}")
    total = len(rows) if isinstance(rows, Sized) else None
    remaining = enumerate(rows, 1)
    first = list(islice(remaining, size))
    if columns is None and not first:
        return Pages(None, (), "rows")
    if columns is None:
        names = list(dict.fromkeys(name for number, row in first for name in _dict(number, row)))
        known = set(names)
        dicts = (_from_dicts(page, names, known) for page in _pages(first, remaining, size))
        return Pages(names, dicts, "rows", total)
    width = len(columns)
    pages = _pages(first, remaining, size)
    tuples = (_rows(list(zip(*(_tuple(n, row, width) for n, row in page), strict=True))) for page in pages)
    return Pages(columns, tuples, "rows", total)


def read_ahead(rows: Pages, number: int) -> tuple[int, Iterator[Sequence[Sequence[Any]]]]:
    """Return how many rows there are, up to some number of them or more, and their pages.

    :param rows: pages are read ahead, and held, until the rows are as many; none is where the source tells its total.
    :param number: of rows; 0 reads none ahead.
    """
    pages, held = iter(rows.pages), deque[Sequence[Sequence[Any]]]()
    found = rows.total or 0
    while rows.total is None and found < number and (page := next(pages, None)) is not None:
        held.append(page)
        found += len(page)
    return found, chain((held.popleft() for _ in range(len(held))), pages)


def at(places: Sequence[int], values: Sequence[Any]) -> Sequence[Any]:
    """Return the values at some places, which are mostly all.

    :param places: in order.
    :param values: to choose from.
    """
    return values if len(places) == len(values) else [values[place] for place in places]


def _pages(first: list[Any], remaining: Iterator[Any], size: int) -> Iterator[list[tuple[int, Any]]]:
    page = first
    while page:
        yield page
        page = list(islice(remaining, size))


def _from_dicts(page: list[tuple[int, Any]], names: list[str], known: set[str]) -> list[tuple[Any, ...]]:
    dicts = [_dict(number, row) for number, row in page]
    for (number, _), row in zip(page, dicts, strict=True):
        if new := row.keys() - known:
            raise ColumnError(
                f"row {number} has {', '.join(sorted(map(str, new)))}, which no row of the first page has"
            )
    return _rows([[row.get(name) for row in dicts] for name in names]) if names else [()] * len(page)


def _rows(columns: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    return list(zip(*map(_without_nan, columns), strict=True))


def _without_nan(column: Sequence[Any]) -> Sequence[Any]:
    """Return a column with null for NaN, which alone differs from itself."""
    if not any(issubclass(kind, float) for kind in set(map(type, column))):
        return column
    return [None if isinstance(value, float) and value != value else value for value in column]


def _dict(number: int, row: Any) -> Mapping[str, Any]:
    found = row if isinstance(row, Mapping) else named_row(row)
    if found is None:
        raise SettingError(f"rows: row {number} is a {type(row).__name__}; expected a dict, or give columns=[...]")
    return found


def _tuple(number: int, row: Any, width: int) -> Sequence[Any]:
    if isinstance(row, (str, bytes, Mapping)) or not isinstance(row, Sequence):
        raise SettingError(f"rows: row {number} is a {type(row).__name__}; with columns, expected a tuple or a list")
    if len(row) != width:
        raise SettingError(f"rows: row {number} has {len(row)} values, and there are {width} columns")
    return row
