"""Dicts and tuples become pages of rows, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_segment.core.errors import ColumnError, SettingError
from airflow_provider_segment.core.rows.pages import pages_of

DICTS = st.lists(st.fixed_dictionaries({"a": st.integers()}, optional={"b": st.text(max_size=2)}), max_size=20)


@given(DICTS.filter(bool), st.integers(20, 30))
def test_dicts_become_rows(dicts: list[dict[str, Any]], size: int) -> None:
    """Each dict is a row of the columns that any of them has; what one lacks is null in it."""
    pages = pages_of(dicts, size=size)
    columns = pages.columns or []
    rows = [dict(zip(columns, row, strict=True)) for page in pages.pages for row in page]
    assert rows == [{name: row.get(name) for name in columns} for row in dicts]
    assert set(columns) == {name for row in dicts for name in row}


@given(st.lists(st.tuples(st.integers(), st.integers()), max_size=20), st.integers(1, 7))
def test_tuples_become_rows(rows: list[tuple[int, int]], size: int) -> None:
    """Sequences of one value a column become rows as they are, in pages of the size or less."""
    pages = [*pages_of([list(row) if row[0] % 2 else row for row in rows], ["a", "b"], size).pages]
    assert [row for page in pages for row in page] == rows
    assert all(0 < len(page) <= size for page in pages)


def test_rows_are_read_a_page_at_a_time() -> None:
    """An endless source is read no further than the page that is asked for."""
    read = 0

    def endless() -> Iterator[dict[str, int]]:
        nonlocal read
        while True:
            read += 1
            yield {"n": read}

    pages = iter(pages_of(endless(), size=10).pages)
    assert (next(pages)[0], next(pages)[-1], read) == ((1,), (20,), 20)


@pytest.mark.parametrize("rows", [None, 5, "rows", b"rows", {"a": 1}])
def test_rows_are_an_iterable_of_rows(rows: Any) -> None:
    """What is no iterable of rows is an error that says so; one dict or text is none."""
    with pytest.raises(SettingError, match=r"^rows: expected an iterable"):
        pages_of(rows)


@pytest.mark.parametrize("row", [None, 5, "row", (1,), [1]])
@pytest.mark.parametrize("place", [1, 4])
def test_each_row_is_a_dict(row: Any, place: int) -> None:
    """A row that is no dict is an error that names its number and type, in a later page too."""
    rows: list[Any] = [{"a": n} for n in range(5)]
    rows[place - 1] = row
    with pytest.raises(SettingError, match=f"row {place} is a {type(row).__name__}"):
        list(pages_of(rows, size=2).pages)


@pytest.mark.parametrize("row", [None, 5, "ab", {"a": 1, "b": 2}, (1,), (1, 2, 3)])
def test_each_row_has_a_value_a_column(row: Any) -> None:
    """With columns, a row that is no sequence of as many values is an error that names its number."""
    with pytest.raises(SettingError, match="row 2 "):
        list(pages_of([(1, 2), row], ["a", "b"]).pages)


def test_new_column_in_a_later_page_is_an_error() -> None:
    """A column that no row of the first page has would be lost, so it is an error that names row and column."""
    pages = pages_of([{"a": 1}, {"a": 2}, {"a": 3, "later": 4}], size=2)
    with pytest.raises(ColumnError, match="row 3 has later"):
        list(pages.pages)


def test_no_rows_are_no_pages() -> None:
    """Nothing becomes nothing, and where no dict names the columns nobody knows them."""
    assert ([*pages_of([]).pages], [*pages_of(iter(()), ["a"]).pages]) == ([], [])
    assert (pages_of([]).columns, pages_of([], ["a"]).columns) == (None, ["a"])
