"""Rows in pages, with the names of their columns: what a query gives, and what dicts are turned into."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any

from airflow_provider_segment.core.errors import ColumnError, SettingError


@dataclass(frozen=True)
class Pages:
    """Rows, some at a time, so that memory is bounded.

    :param columns: their names; None where there are no rows to tell them.
    :param pages: lists of rows; a row is a tuple in the order of the columns.
    :param source: where they come from, for the log.
    :param total: how many rows there are, where that is known without counting.
    :param commit: is called when Segment has acknowledged all that came of them: what reading them changed at the
        source may stay. It returns why that failed, where nothing is lost by it.
    """

    columns: Sequence[str] | None
    pages: Iterable[Sequence[Sequence[Any]]]
    source: str
    total: int | None = None
    commit: Callable[[], str] = lambda: ""


def pages_of(rows: Iterable[Any], columns: Sequence[str] | None = None, size: int = 2_500) -> Pages:
    """Return rows that are dicts, or sequences of a value a column, as pages.

    :param rows: any iterable; it is read once, a page at a time.
    :param columns: of rows that are sequences; for dicts they are those of the first page, and a column that a row
        lacks is null in it.
    :param size: rows a page.
    :raises SettingError: if a row is neither.
    :raises ColumnError: if a later dict has a column that none of the first page had.
    """
    if isinstance(rows, (str, bytes, Mapping)) or not isinstance(rows, Iterable):
        raise SettingError(f"rows: expected an iterable of rows, found a {type(rows).__name__}")
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
    tuples = ([_tuple(n, row, width) for n, row in page] for page in _pages(first, remaining, size))
    return Pages(columns, tuples, "rows", total)


def _pages(first: list[Any], remaining: Iterator[Any], size: int) -> Iterator[list[tuple[int, Any]]]:
    page = first
    while page:
        yield page
        page = list(islice(remaining, size))


def _from_dicts(page: list[tuple[int, Any]], names: list[str], known: set[str]) -> list[tuple[Any, ...]]:
    for number, row in page:
        if new := _dict(number, row).keys() - known:
            raise ColumnError(
                f"row {number} has {', '.join(sorted(map(str, new)))}, which no row of the first page has"
            )
    return [tuple(row.get(name) for name in names) for _, row in page]


def _dict(number: int, row: Any) -> Mapping[str, Any]:
    if not isinstance(row, Mapping):
        raise SettingError(f"rows: row {number} is a {type(row).__name__}; expected a dict, or give columns=[...]")
    return row


def _tuple(number: int, row: Any, width: int) -> tuple[Any, ...]:
    if isinstance(row, (str, bytes, Mapping)) or not isinstance(row, Sequence):
        raise SettingError(f"rows: row {number} is a {type(row).__name__}; with columns, expected a tuple or a list")
    if len(row) != width:
        raise SettingError(f"rows: row {number} has {len(row)} values, and there are {width} columns")
    return tuple(row)
