"""One SQL query, its rows read in constant memory whatever the driver."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeVar

from airflow_provider_segment.compat import send_sql_hook_lineage
from airflow_provider_segment.core.errors import SettingError, SourceError
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.transfers import driver_values
from airflow_provider_segment.transfers.cursors import Session
from airflow_provider_segment.transfers.database_errors import PLAIN_SWITCH, Query, call_driver
from airflow_provider_segment.transfers.described_values import DescribedValues
from airflow_provider_segment.transfers.sql_hook import sql_hook
from airflow_provider_segment.transfers.statements import check_one, check_streamed

_Closable = TypeVar("_Closable", bound=Any)


@contextmanager
def open_query(
    conn_id: str,
    sql: str,
    parameters: Any = None,
    *,
    hook_params: Mapping[str, Any] | None = None,
    fetch_size: int = 2_500,
    lineage_sql: str | None = None,
) -> Iterator[Pages]:
    """Run a query and lend its rows; the connection is closed at the end.

    :param conn_id: an Airflow connection with an SQL hook.
    :param sql: one statement that returns rows.
    :param parameters: for the driver; passed only where there are any, so that ``LIKE 'x%'`` works without.
    :param hook_params: for the hook, and ``streaming``: False for a plain cursor instead of a server-side one.
    :param fetch_size: rows to fetch at a time.
    :param lineage_sql: what Airflow's lineage is told instead of the query.
    :raises SettingError: if it is no SQL connection, or the query returns no result set.
    :raises QueryError: if the database does not take the query.
    :raises SourceError: if the database fails.
    """
    check_one(sql)
    params = dict(hook_params or {})
    streaming = params.pop("streaming", True)
    hook = sql_hook(conn_id, params)
    with ExitStack() as stack:
        connection = stack.enter_context(_closed_at_the_end(call_driver(hook.get_conn, "connecting")))
        driver_values.prepare(connection)
        values = call_driver(lambda: DescribedValues(connection), "connecting")
        session = stack.enter_context(_closed_at_the_end(Session(hook, connection, sql, streaming=streaming)))
        if session.is_server_side:
            check_streamed(sql, PLAIN_SWITCH)
        # Only the connection is closed: closing a cursor of MySQL would read the rest of its rows first.
        call_driver(lambda: session.execute(sql, parameters), "the query", Query(sql, parameters, session.cursor))
        values.look(session.cursor)
        # psycopg2 describes a server-side cursor at its first fetch, and Druid's driver a result at its first row.
        if not (session.cursor.description or session.is_server_side or session.only_reads):
            raise SettingError("sql: the query returns no result set; expected a SELECT")
        first = call_driver(lambda: session.fetch_first(fetch_size), "fetching row 1", rows=range(1, fetch_size + 1))
        described, total = session.cursor.description, session.total
        # Not the parameters: they may be personal data. Nor the cursor's own count: it may be of what was fetched so
        # far, and Druid's driver would read all rows to count them.
        send_sql_hook_lineage(
            context=hook, sql=lineage_sql or sql, cur=session.cursor, row_count=-1 if total is None else total
        )
        if first and not described:
            raise SourceError("The source database's driver does not tell the names of the columns")
        columns = [column[0] for column in described] if described else None
        reading = _Reading(session, fetch_size, total)
        rows = call_driver(
            lambda: values.pages(session.cursor, reading.pages(first)), "reading the types of the columns"
        )
        yield Pages(columns, rows, f"{conn_id} ({hook.conn_type}, {session.kind})", total, reading.commit)


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
            page = call_driver(
                lambda: self._session.fetch(self._size),
                f"fetching the rows after {read:,}, for which it had waited {waited:,.1f} s while the rows before were "
                f"sent to Segment ({kept:,.1f} s in all)",
                rows=range(read + 1, read + self._size + 1),
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
            call_driver(self._session.commit, f"the commit, {waited:,.1f} s after it gave its last rows")
        except SourceError as error:
            if self._session.only_reads:
                return f"{error}. The query changed nothing, so nothing is lost"
            raise SourceError(
                f"{error}. Segment has the rows, but what the query changed is rolled back: they come again, in this "
                "task's next try under the same message ids"
            ) from None
        return ""
