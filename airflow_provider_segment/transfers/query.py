"""One SQL query, its rows read in constant memory whatever the driver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from typing import Any

from airflow_provider_segment.compat import AirflowNotFoundException, BaseHook, send_sql_hook_lineage
from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.core.pages import Pages
from airflow_provider_segment.transfers import driver_values
from airflow_provider_segment.transfers.database_errors import PLAIN_SWITCH, Asked, calmly
from airflow_provider_segment.transfers.described_values import DescribedValues


@contextmanager
def open_query(
    conn_id: str,
    sql: str,
    parameters: Any = None,
    *,
    hook_params: Mapping[str, Any] | None = None,
    fetch_size: int = 2_500,
) -> Iterator[Pages]:
    """Run a query and lend its rows; the connection is closed at the end.

    :param conn_id: an Airflow connection with an SQL hook.
    :param sql: one statement that returns rows.
    :param parameters: for the driver; passed only where there are any, so that ``LIKE 'x%'`` works without.
    :param hook_params: for the hook, and ``streaming``: False for a plain cursor instead of a server-side one.
    :param fetch_size: rows to fetch at a time.
    :raises SettingError: if it is no SQL connection, or the query returns no result set.
    :raises SourceError: if the database fails.
    """
    params = dict(hook_params or {})
    streaming = params.pop("streaming", True)
    hook = sql_hook(conn_id, params)
    with closing(calmly(hook.get_conn, "connecting")) as connection:
        driver_values.prepare(connection)
        values = calmly(lambda: DescribedValues(connection), "connecting")
        cursor, kind = _cursor(connection, streaming=streaming)
        if kind == "server-side cursor":
            check_single_query(sql)
        # Only the connection is closed: closing a cursor of MySQL would read the rest of its rows first.
        asked = Asked(sql, parameters, cursor)
        calmly(lambda: cursor.execute(sql, parameters) if parameters else cursor.execute(sql), "the query", asked)
        values.look(cursor)
        # Not the parameters: they may be personal data. Nor a cursor that does not know yet how many rows there are.
        send_sql_hook_lineage(context=hook, sql=sql, cur=cursor if kind == "plain cursor" else None)
        if cursor.description is None and kind == "plain cursor":
            raise SettingError("sql: the query returns no result set; expected a SELECT")
        pages = _pages(driver_values.fetching(connection, cursor), fetch_size)
        first = next(pages)  # psycopg2 knows the columns of a server-side cursor only after the first fetch
        columns = [column[0] for column in cursor.description]
        total = _total(cursor) if kind == "plain cursor" else None
        read = calmly(lambda: values.pages(cursor, chain((first,), pages)), "reading the types of the columns")
        yield Pages(columns, read, f"{conn_id} ({hook.conn_type}, {kind})", total)
        if kind == "plain cursor":
            calmly(connection.commit, "the commit")  # the query may have changed data, such as INSERT ... RETURNING


def sql_hook(conn_id: str, hook_params: Mapping[str, Any]) -> Any:
    """Return the SQL hook of a connection.

    :param conn_id: of the connection.
    :param hook_params: for the hook.
    :raises SettingError: if there is no such connection, or it has no SQL hook.
    """
    from airflow.providers.common.sql.hooks.sql import DbApiHook

    try:
        connection: Any = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise SettingError(f"sql_conn_id: Airflow has no connection {conn_id!r}") from None
    try:
        hook = connection.get_hook(hook_params=dict(hook_params))
    except TypeError as error:
        raise SettingError(f"sql_hook_params: the hook of {conn_id!r} does not take them: {error}") from None
    except Exception as error:  # noqa: BLE001  Airflow 2 and 3 raise different ones for a type without a hook
        raise SettingError(
            f"sql_conn_id: no hook for {conn_id!r} of type {connection.conn_type!r}: install its provider "
            f"({type(error).__name__})"
        ) from None
    if not isinstance(hook, DbApiHook):
        raise SettingError(f"sql_conn_id: {conn_id!r} is of type {connection.conn_type!r}, which is no SQL connection")
    return hook


def check_single_query(sql: str) -> None:
    """Check that a server-side cursor can run it.

    :param sql: one statement.
    :raises SettingError: if it is not exactly one SELECT, WITH or VALUES.
    """
    from sqlparse import lexer, tokens

    wanted = f"sql: a server-side cursor takes one SELECT, WITH or VALUES; {PLAIN_SWITCH}"
    said: list[tuple[Any, str]] = [
        (kind, text)
        for kind, text in lexer.tokenize(sql)  # type: ignore[no-untyped-call]  # sqlparse has no annotations
        if kind not in tokens.Whitespace and kind not in tokens.Comment
    ]
    while said and said[-1][1] == ";":
        said.pop()
    first = next((text.upper() for _, text in said if text != "("), "")
    if first not in ("SELECT", "WITH", "VALUES"):
        raise SettingError(f"{wanted}. Found {first or 'no statement at all'}")
    if any(kind in tokens.Punctuation and text == ";" for kind, text in said):
        raise SettingError(f"{wanted}. Found more than one statement")


def _cursor(connection: Any, *, streaming: bool) -> tuple[Any, str]:
    """Return a cursor that does not fetch all rows at once, and what kind it is."""
    driver = type(connection).__module__.partition(".")[0]
    if streaming and driver == "psycopg2":
        from psycopg2.extensions import cursor

        return connection.cursor(name="airflow_provider_segment", cursor_factory=cursor), "server-side cursor"
    if streaming and driver == "psycopg":
        from psycopg.rows import tuple_row

        return connection.cursor(name="airflow_provider_segment", row_factory=tuple_row), "server-side cursor"
    if streaming and driver in ("MySQLdb", "pymysql"):
        cursors = __import__(f"{driver}.cursors", fromlist=["SSCursor"])
        return connection.cursor(cursors.SSCursor), "streaming cursor"
    return connection.cursor(), "plain cursor"


def _total(cursor: Any) -> int | None:
    """Return how many rows a query has, where the driver has them all already; others count what was fetched so far."""
    known = type(cursor).__module__.partition(".")[0] in ("psycopg", "psycopg2", "MySQLdb", "pymysql")
    return cursor.rowcount if known and cursor.rowcount >= 0 else None


def _pages(fetch: driver_values.Fetch, size: int) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield the rows, some at a time, the first page even when it is empty."""
    read = 0
    page = calmly(lambda: fetch(size), "fetching row 1", rows=range(1, size + 1))
    while True:
        # A connection's own cursor settings may give dicts; ours are tuples.
        yield [tuple(row.values()) for row in page] if page and isinstance(page[0], Mapping) else page
        read += len(page)
        if not page:
            return
        del page  # not two pages at once
        numbers = range(read + 1, read + size + 1)
        page = calmly(lambda: fetch(size), f"fetching the rows after {read:,}", rows=numbers)
