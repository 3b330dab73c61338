"""A query that is read from a cursor's mark on: it stands within another one, and the mark is a parameter of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import Any

from airflow_provider_segment.core.errors import ColumnError, SettingError
from airflow_provider_segment.core.rows.columns import Columns
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.hooks import sigterm
from airflow_provider_segment.transfers.database_errors import Query, call_driver
from airflow_provider_segment.transfers.query import open_query
from airflow_provider_segment.transfers.sql_hook import sql_hook
from airflow_provider_segment.transfers.statements import check_only_reads, derived, is_limited

# The name of the parameter, where parameters have names.
NAME = "segment_cursor"
# By connection type; elsewhere names are quoted as standard SQL has it.
_BACKTICKS = {"mysql", "google_cloud_platform", "gcpbigquery", "databricks", "hiveserver2"}
# How drivers that do not say so themselves write a parameter.
_STYLES = {"google_cloud_platform": "pyformat", "gcpbigquery": "pyformat"}


@contextmanager
def open_from_mark(
    conn_id: str,
    sql: str,
    parameters: Any,
    *,
    column: str,
    hook_params: Mapping[str, Any] | None = None,
    fetch_size: int = 2_500,
) -> Iterator[Pages]:
    """Lend a query that is run when the mark is known.

    :param conn_id: an Airflow connection with an SQL hook.
    :param sql: one statement that returns rows and changes nothing.
    :param parameters: for the driver, as for open_query().
    :param column: of the cursor.
    :param hook_params: for the hook, as for open_query().
    :param fetch_size: rows to fetch at a time.
    :raises SettingError: if the query changes data.
    :raises ColumnError: if it has no such column.
    :raises QueryError: if the database does not take the query.
    :raises SourceError: if the database fails.
    """
    check_only_reads(sql, "a cursor")
    if is_limited(sql):
        raise SettingError("sql: with a cursor expected a query without LIMIT: rows beyond it would never be read")
    with ExitStack() as stack:
        reading: dict[str, Any] = {"hook_params": hook_params, "fetch_size": fetch_size}
        query = QueryFromMark(conn_id, sql, parameters, column, reading, stack)
        yield Pages(query.columns, (), query.source, cursor=query)


class QueryFromMark:
    """See CursorQuery.

    :param conn_id: an Airflow connection with an SQL hook; so are the others as for open_from_mark().
    :param sql: the query.
    :param parameters: for the driver.
    :param column: of the cursor.
    :param reading: how rows are read.
    :param stack: closes what is read from.
    """

    def __init__(
        self, conn_id: str, sql: str, parameters: Any, column: str, reading: dict[str, Any], stack: ExitStack
    ) -> None:
        self._conn_id, self._sql, self._parameters = conn_id, sql, parameters
        self._reading, self._stack = reading, stack
        params = {name: value for name, value in (reading["hook_params"] or {}).items() if name != "streaming"}
        hook = sql_hook(conn_id, params)
        self._kind = hook.conn_type
        with closing(call_driver(hook.get_conn, "connecting")) as connection:
            self._style = _STYLES.get(self._kind) or _style(connection)
            # It looks for its placeholders alone, and leaves percent signs as they are.
            self._is_literal = type(connection).__module__.startswith("mysql.connector")
            described = f"SELECT * FROM (\n{derived(sql)}\n) u WHERE 1 = 0"  # noqa: S608  the user's own query
            cursor = call_driver(connection.cursor, "connecting")
            arguments = (described, parameters) if parameters else (described,)
            call_driver(lambda: cursor.execute(*arguments), "the query", Query(described, parameters, cursor))
            self.columns = [found[0] for found in cursor.description]
        columns = Columns(self.columns)
        self.column = columns.names[columns.index(column, "cursor")]
        if any(mark in self.column for mark in '"`%?:\\'):
            raise ColumnError("cursor: the column's name has signs that SQL gives a meaning: rename it with AS")
        self.source = f"{conn_id} ({self._kind}, by the cursor {self.column})"

    def read(self, first: Any) -> Pages:
        """Return the rows from a value of the column on, and those where it is null; see CursorQuery."""
        sql, parameters = self._sql, self._parameters
        if first is not None:
            sql, parameters = self._from(first)
        with sigterm.waits():
            lent = open_query(self._conn_id, sql, parameters, lineage_sql=self._sql, **self._reading)
            pages = self._stack.enter_context(lent)
        return replace(pages, columns=self.columns, pages=sigterm.waited(pages.pages), source=self.source)

    def _from(self, first: Any) -> tuple[str, Any]:
        """Return the query from a value on, and its parameters."""
        query, parameters = derived(self._sql), self._parameters
        if self._style in ("format", "pyformat") and not parameters and not self._is_literal:
            query = query.replace("%", "%%")  # with parameters a percent sign is written twice
        style = "pyformat by name" if self._is_literal else self._style
        placeholder, parameters = bound(style, self._kind, parameters, first)
        quote = "`" if self._kind in _BACKTICKS else '"'
        column = f"u.{quote}{self.column}{quote}"
        where = f"{column} >= {placeholder} OR {column} IS NULL"
        return f"SELECT * FROM (\n{query}\n) u WHERE {where}", parameters  # noqa: S608  the user's own query


def bound(style: str, kind: str, parameters: Any, value: Any) -> tuple[str, Any]:
    """Return the placeholder of one more parameter, and all parameters.

    :param style: the driver's paramstyle (PEP 249).
    :param kind: the connection's type.
    :param parameters: that the query has.
    :param value: of the one more.
    """
    with_names = isinstance(parameters, Mapping) or style in ("named", "pyformat by name") or kind in _STYLES
    if not with_names or (parameters and not isinstance(parameters, Mapping)):
        more: Sequence[Any] = [*(parameters or ()), value]
        sign = {"qmark": "?", "numeric": f":{len(more)}", "named": f":{NAME}"}.get(style, "%s")
        return sign, more
    sign = f"%({NAME})s" if "format" in style else f"${NAME}" if kind == "duckdb" else f":{NAME}"
    return sign, {**(parameters or {}), NAME: value}


def _style(connection: Any) -> str:
    """Return how a connection's driver writes parameters: it says so in one of the modules that it comes from."""
    parts = type(connection).__module__.lstrip("_").split(".")
    for length in range(len(parts), 0, -1):
        style = getattr(sys.modules.get(".".join(parts[:length])), "paramstyle", None)
        if isinstance(style, str):
            return style
    return "format"
