"""Values as the cursor's description says them, where the driver itself gives something else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from airflow_provider_segment.transfers import bigquery_values, mysql_values, postgres_values

Convert: TypeAlias = Callable[[Any], Any]
Page: TypeAlias = Sequence[Sequence[Any]]


class DescribedValues:
    """Turns what a driver gives into what its columns' types say; most drivers do that themselves.

    :param connection: ours; a session of MySQL is set to UTC.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._module = type(connection).__module__
        self._driver = self._module.partition(".")[0]
        self._in_utc = self._driver in mysql_values.DRIVERS and mysql_values.set_to_utc(connection)
        self._early: Mapping[int, Convert] | None = None

    def look(self, cursor: Any) -> None:
        """Look at the columns before the first row is fetched, where fetching could fail at one of them.

        :param cursor: that has run the query.
        :raises SettingError: if a column cannot be read.
        """
        if "bigquery" in self._module:
            self._early = bigquery_values.converters(cursor)

    def pages(self, cursor: Any, pages: Iterator[Page]) -> Iterator[Page]:
        """Return pages with such values; as they are where there are none, which costs nothing.

        :param cursor: of the query; it knows the columns.
        :param pages: its rows.
        """
        found = self._converters(cursor)
        return (_converted(page, found) for page in pages) if found else pages

    def _converters(self, cursor: Any) -> Mapping[int, Convert]:
        if self._early is not None:
            return self._early
        if self._driver in postgres_values.DRIVERS:
            return postgres_values.converters(self._connection, cursor)
        if self._driver in mysql_values.DRIVERS:
            return mysql_values.converters(cursor.description or (), in_utc=self._in_utc)
        return {place: _object for place, column in enumerate(cursor.description or ()) if _is_map(column[1])}


def _converted(page: Page, converters: Mapping[int, Convert]) -> Page:
    columns: list[Sequence[Any]] = list(zip(*page, strict=True))
    if not columns:
        return page
    for place, convert in converters.items():
        columns[place] = [None if value is None else convert(value) for value in columns[place]]
    return list(zip(*columns, strict=True))


def _is_map(kind: Any) -> bool:
    """Tell whether a type is a map, such as Databricks' "map" and Trino's "map(varchar, integer)"."""
    return isinstance(kind, str) and kind.lower().startswith("map")


def _object(value: Any) -> Any:
    """Return the pairs of a map, which Databricks gives as a list, as an object."""
    is_pairs = isinstance(value, (list, tuple)) and all(isinstance(p, (list, tuple)) and len(p) == 2 for p in value)
    return dict(value) if is_pairs else value
