"""Rows in pages, with the names of their columns: what a query gives, and what dicts are turned into."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from airflow_provider_segment.core.errors import ColumnError, SettingError


@dataclass(frozen=True)
class Pages:
    """Rows, some at a time, so that memory is bounded.

    :param columns: their names.
    :param pages: lists of rows; a row is a tuple in the order of the columns.
    :param source: where they come from, for the log.
    """

    columns: Sequence[str]
    pages: Iterable[Sequence[Sequence[Any]]]
    source: str


def pages_of(rows: Iterable[Mapping[str, Any]], size: int = 2_500) -> Pages:
    """Return rows that are dicts as pages; a column that a row lacks is null in it.

    :param rows: any iterable of dicts; it is read once, a page at a time.
    :param size: rows a page. The columns are those of the first page.
    :raises SettingError: if a row is no dict.
    :raises ColumnError: if a later row has a column that no row of the first page had.
    """
    remaining = enumerate(rows, 1)
    first = _page(remaining, size)
    columns = list(dict.fromkeys(name for _, row in first for name in row))

    def pages() -> Iterator[Sequence[Sequence[Any]]]:
        page, known = first, set(columns)
        while page:
            for number, row in page:
                if new := sorted(str(name) for name in row.keys() - known):
                    raise ColumnError(
                        f"row {number} has the columns {', '.join(new)}, which the first {size:,} rows lack"
                    )
            yield [tuple(row.get(name) for name in columns) for _, row in page]
            page = _page(remaining, size)

    return Pages(columns, pages(), "rows")


def _page(rows: Iterator[tuple[int, Mapping[str, Any]]], size: int) -> list[tuple[int, Mapping[str, Any]]]:
    page = list(islice(rows, size))
    for number, row in page:
        if not isinstance(row, Mapping):
            raise SettingError(f"rows: expected dicts, found a {type(row).__name__} as row {number}")
    return page
