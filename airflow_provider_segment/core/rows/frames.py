"""DataFrames and tables of pandas, polars and Arrow as columns, a slice at a time; none of the three is imported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

Slices: TypeAlias = Iterator[list[Sequence[Any]]]


def slices_of(frame: Any, size: int) -> tuple[list[str], Slices] | None:
    """Return the names of a frame's columns, and its values, so many rows at a time; None for what is no frame.

    :param frame: a DataFrame of pandas or polars, a Table or RecordBatch of Arrow; an index of pandas is no column.
    :param size: rows a slice.
    """
    if hasattr(frame, "iter_slices"):  # polars
        parts = frame.iter_slices(size)
        return list(frame.columns), ([column.to_list() for column in part.get_columns()] for part in parts)
    if hasattr(frame, "iloc") and hasattr(frame, "columns"):  # pandas
        return list(map(str, frame.columns)), _of_pandas(frame, size)
    if hasattr(frame, "to_pylist") and hasattr(frame, "schema"):  # Arrow
        return list(frame.schema.names), _of_arrow(frame, size)
    return None


def _of_pandas(frame: Any, size: int) -> Slices:
    for start in range(0, len(frame), size):
        part = frame.iloc[start : start + size]
        yield [part.iloc[:, place].tolist() for place in range(part.shape[1])]


def _of_arrow(table: Any, size: int) -> Slices:
    kinds = [str(column.type) for column in table.schema]
    for start in range(0, table.num_rows, size):
        part = table.slice(start, size)
        columns = [column.to_pylist() for column in part.columns]
        yield [_objects(c) if kind.startswith("map<") else c for c, kind in zip(columns, kinds, strict=True)]


def _objects(column: list[Any]) -> list[Any]:
    """Return Arrow's maps, which come as lists of pairs, as objects."""
    return [None if pairs is None else dict(pairs) for pairs in column]
