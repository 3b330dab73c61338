"""One SQL query, its rows read in constant memory whatever the driver."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_segment.core.errors import SettingError, SourceError
from airflow_provider_segment.core.pages import Pages
from airflow_provider_segment.transfers.cursors import Session
from airflow_provider_segment.transfers.statements import check_one, check_streamed

_Closable = TypeVar("_Closable", bound=Any)
_PLAIN_SWITCH = "sql_hook_params={'streaming': False} reads with a plain cursor instead"


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
    check_one(sql)
    params = dict(hook_params or {})
    streaming = params.pop("streaming", True)
    hook = sql_hook(conn_id, params)
    from airflow.providers.common.sql.hooks.lineage import send_sql_hook_lineage

    with (
        _closed_at_the_end(_calmly(hook.get_conn, "connecting")) as connection,
        _closed_at_the_end(Session(hook, connection, sql, streaming=streaming)) as session,
    ):
        if session.is_server_side:
            check_streamed(sql, _PLAIN_SWITCH)
        # Only the connection is closed: closing a cursor of MySQL would read the rest of its rows first.
        _calmly(lambda: session.execute(sql, parameters), "the query")
        # psycopg2 describes a server-side cursor at its first fetch, and Druid's driver a result at its first row.
        if not (session.cursor.description or session.is_server_side or session.only_reads):
            raise SettingError("sql: the query returns no result set; expected a SELECT")
        first = _calmly(lambda: session.fetch_first(fetch_size), "fetching row 1")
        described, total = session.cursor.description, session.total
        # Not the parameters: they may be personal data. Nor the cursor's own count: it may be of what was fetched so
        # far, and Druid's driver would read all rows to count them.
        send_sql_hook_lineage(context=hook, sql=sql, cur=session.cursor, row_count=-1 if total is None else total)
        if first and not described:
            raise SourceError("The source database's driver does not tell the names of the columns")
        columns = [column[0] for column in described] if described else None
        reading = _Reading(session, fetch_size, total)
        yield Pages(
            columns, reading.pages(first), f"{conn_id} ({hook.conn_type}, {session.kind})", total, reading.commit
        )


@contextmanager
def _closed_at_the_end(lent: _Closable) -> Iterator[_Closable]:
    """Lend what is to be closed; a session that is gone by then says so, and that is no failure of the run."""
    try:
        yield lent
    finally:
        with suppress(Exception):
            lent.close()


class _Reading:
    """The rows of a query as they are read, and how long the source waited for them to be sent."""

    def __init__(self, session: Session, size: int, total: int | None) -> None:
        self._session = session
        self._size = size
        self._total = total
        self._fetched = time.monotonic()

    def pages(self, page: Sequence[Any]) -> Iterator[Sequence[Sequence[Any]]]:
        """Yield the rows, some at a time.

        :param page: the first of them.
        :raises SourceError: if they cannot be read to their end.
        """
        read, kept = 0, 0.0
        while page:
            read += len(page)
            self._fetched = time.monotonic()
            # A connection's own cursor settings may give dicts; ours are tuples.
            yield [tuple(row.values()) for row in page] if isinstance(page[0], Mapping) else page
            del page  # not two pages at once
            waited = time.monotonic() - self._fetched
            kept += waited
            page = _calmly(
                lambda: self._session.fetch(self._size),
                f"fetching the rows after {read:,}, for which it had waited {waited:,.1f} s while the rows before were "
                f"sent to Segment ({kept:,.1f} s in all)",
            )
        if self._total is not None and read < self._total:
            raise SourceError(f"The source database's rows ended after {read:,} of {self._total:,}")
        self._session.note_changes()

    def commit(self) -> str:
        """Keep what the query changed, and return why that failed where it changed nothing.

        :raises SourceError: if it failed and the query changed something.
        """
        waited = time.monotonic() - self._fetched
        try:
            _calmly(self._session.commit, f"the commit, {waited:,.1f} s after it gave its last rows")
        except SourceError as error:
            if self._session.only_reads:
                return f"{error}. The query changed nothing, so nothing is lost"
            raise SourceError(
                f"{error}. Segment has the rows, but what the query changed is rolled back: they come again, in this "
                "task's next try under the same message ids"
            ) from None
        return ""


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


def _calmly(call: Any, what: str) -> Any:
    """Call the driver; its error is told without its text, which may quote rows or a password."""
    failure = ""
    try:
        return call()
    except Exception as error:  # noqa: BLE001  every driver has its own error tree
        failure = _described(error)
    raise SourceError(f"The source database failed at {what}: {failure}")


def _described(error: Exception) -> str:
    """Name a driver's error: class and SQLSTATE, and its text where that can only quote the query."""
    state = next((code for name in ("sqlstate", "pgcode") if (code := getattr(error, name, None))), "")
    number = next((part for part in error.args[:1] if isinstance(part, int)), None)  # MySQL's and others' own
    named = f"{type(error).__module__}.{type(error).__name__}"
    named += f", SQLSTATE {state}" if state else f", error {number}" if number is not None else ""
    if state == "0A000":
        return f"{named}; if the query changes data, {_PLAIN_SWITCH}"
    text = ""
    if state.startswith("42"):  # syntax error or access rule violation: about names in the query, never about rows
        text = getattr(getattr(error, "diag", None), "message_primary", None) or ""
    elif getattr(error, "sqlite_errorname", "") == "SQLITE_ERROR":  # the same of SQLite
        text = str(error)
    return f"{named}: {text}" if text else f"{named}; run the query by hand to see the database's own words"
