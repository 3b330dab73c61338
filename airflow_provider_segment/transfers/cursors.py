"""What each driver needs to read a query: its cursor, a transaction of ours, a session that lets the source wait."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import islice
from typing import Any

from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.transfers import driver_values
from airflow_provider_segment.transfers.statements import only_reads

HOLDS_ALL = ", which holds all rows in memory"
REDSHIFT_FETCH = 1_000

# Their cursors hold all rows once the query has run, unless they are asked to stream: so their sources say.
_HOLD_ALL = {
    *("psycopg", "psycopg2", "MySQLdb", "pymysql", "mysql"),
    *("redshift_connector", "clickhouse_connect", "clickhouse_driver", "prestodb", "pinotdb"),
}
# Their cursors know how many rows there are before the last is read; others count what was fetched so far, or guess.
_KNOW_TOTAL = {"psycopg", "psycopg2", "MySQLdb", "pymysql", "snowflake"}
# Databases in which a SELECT may call a function that changes rows.
_FUNCTIONS_WRITE = {"psycopg", "psycopg2", "MySQLdb", "pymysql", "mysql", "redshift_connector", "pyodbc", "jaydebeapi"}
_MYSQL = {"MySQLdb", "pymysql", "mysql"}

# What ends a transaction that waits for its client, set for this transaction alone. One statement that cannot fail
# where a server lacks one of them, because a statement that fails ends the transaction.
_POSTGRES_WAITS = (
    "SELECT set_config(name, '0', true) FROM pg_settings "
    "WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')"
)
_POSTGRES_CHANGED = "SELECT txid_current_if_assigned() IS NOT NULL"
# The same of MySQL and MariaDB, each where the server has it. The longest wait for Segment is a batch's deadline.
_DAY = 86_400
_MYSQL_WAITS = {
    "net_write_timeout": _DAY,
    "wait_timeout": _DAY,
    "idle_transaction_timeout": 0,
    "idle_readonly_transaction_timeout": 0,
    "idle_write_transaction_timeout": 0,
}
# These count the time in which a streamed query waits; where all rows are fetched first they do not.
_MYSQL_STREAM_WAITS = {"max_statement_time": 0, "max_execution_time": 0}


class Session:
    """A connection to a source, and the cursor that reads a query there, in a transaction that only we commit.

    :param hook: of the connection.
    :param connection: that it made.
    :param sql: the query that is to run.
    :param streaming: whether the rows shall stay at the server until they are fetched, where the driver can do that.
    :raises SettingError: if the driver has no cursors, or what the query changes would be kept before Segment took it.
    :ivar cursor: that reads the query.
    :ivar kind: of the cursor, for the log.
    :ivar only_reads: whether the query changes nothing, as far as that is known.
    """

    def __init__(self, hook: Any, connection: Any, sql: str, *, streaming: bool) -> None:
        self._hook = hook
        self._connection = connection
        self._streaming = streaming
        self._driver = type(connection).__module__.partition(".")[0].lstrip("_")
        self._ran: tuple[Any, ...] = ()
        self._rest: Iterator[Any] | None = None
        self._fetchmany: driver_values.Fetch
        self.cursor: Any
        self.kind = ""
        self._tells_changes = False
        # Redshift calls itself PostgreSQL 8.0.2. A cluster of one node fetches 1,000 rows at once, and no more.
        version = getattr(getattr(connection, "info", None), "server_version", None)
        self._max_fetch = REDSHIFT_FETCH if version == 80_002 else sys.maxsize
        self.only_reads = only_reads(sql)
        if not hasattr(connection, "cursor"):
            raise SettingError(
                f"sql_conn_id: {self._driver} has no cursors (PEP 249); use ODBC or JDBC to this database"
            )
        self._open()

    @property
    def is_server_side(self) -> bool:
        """Whether the query is declared as a cursor of the server, which takes only one SELECT, WITH or VALUES."""
        return self.kind == "server-side cursor"

    @property
    def total(self) -> int | None:
        """How many rows the query has, where the driver knows that before they are read."""
        rows = self.cursor.rowcount if self.kind.startswith("plain") and self._driver in _KNOW_TOTAL else None
        return rows if isinstance(rows, int) and rows >= 0 else None

    def execute(self, sql: str, parameters: Any) -> None:
        """Run the query.

        :param sql: the query.
        :param parameters: for the driver; passed only where there are any, so that ``LIKE 'x%'`` works without.
        """
        self._ran = (sql, parameters) if parameters else (sql,)
        self._run()

    def fetch_first(self, size: int) -> Sequence[Any]:
        """Return the first rows; where the server refuses so many at once, the query runs again for fewer.

        :param size: how many, at most.
        """
        try:
            return self.fetch(size)
        except Exception as error:
            if not self.cursor.description and type(error).__name__ == "ProgrammingError":
                return ()  # PEP 249's word for "no result set", and Drill's for a result without a row
            if f"exceeds the limit of {REDSHIFT_FETCH} " not in str(error):
                raise
        self._max_fetch = REDSHIFT_FETCH
        self._connection.rollback()
        self._open()
        self._run()
        return self.fetch(size)

    def fetch(self, size: int) -> Sequence[Any]:
        """Return the next rows; none at the end.

        :param size: how many, at most.
        """
        size = min(size, self._max_fetch)
        if self._rest is None and hasattr(self.cursor, "fetchmany"):
            with suppress(NotImplementedError):  # a driver may have the method and say so
                return self._fetchmany(size) or ()
        if self._rest is None:
            # Not fetchone() where there is fetchall(): Elasticsearch's returned its first row for ever.
            has_all = hasattr(self.cursor, "fetchall")
            self._rest = iter(self.cursor.fetchall() if has_all else iter(self.cursor.fetchone, None))
            self.kind = f"plain cursor{HOLDS_ALL if has_all else ''}"
        return list(islice(self._rest, size))

    def note_changes(self) -> None:
        """Ask whether the query has changed data, now that its last row is read and the session is still alive."""
        if self._tells_changes:
            with suppress(Exception), closing(self._connection.cursor()) as cursor:
                cursor.execute(_POSTGRES_CHANGED)
                (row,) = cursor.fetchall()
                self.only_reads = not next(iter(row.values() if isinstance(row, Mapping) else row))

    def commit(self) -> None:
        """Keep what the query changed."""
        if self._driver in _MYSQL:
            self.cursor.close()  # it reads what a CALL sends after its rows: no commit goes before that
        with suppress(Exception):
            if self._hook.get_autocommit(self._connection):
                return
        # DuckDB's cursor is a connection of its own.
        (self.cursor if self._driver == "duckdb" else self._connection).commit()

    def close(self) -> None:
        """End what outlives the connection: DuckDB's cursor, and SQLite's, which keeps the file locked."""
        if self._driver in ("duckdb", "sqlite3"):
            self.cursor.close()  # that of MySQL would read the rest of its rows first
        elif self._driver == "pymysql" and (result := getattr(self.cursor, "_result", None)) is not None:
            result.unbuffered_active = False  # or it tries to read that rest when it is freed, and complains

    def _open(self) -> None:
        self._begin()
        self.cursor, self.kind = self._open_cursor()

    def _run(self) -> None:
        self.cursor.execute(*self._ran)
        self._fetchmany = driver_values.fetching(self._connection, self.cursor)  # by the columns, which are known now

    def _begin(self) -> None:
        """Begin a transaction which keeps nothing before our commit, and which may wait for Segment."""
        try:
            if self._driver == "sqlite3" and not self.only_reads:
                self._connection.execute("BEGIN")  # Python begins one by itself only before INSERT, UPDATE ...
            elif self._driver not in ("sqlite3", "duckdb") and not (self.only_reads and self._functions_only_read):
                self._hook.set_autocommit(self._connection, False)
        except Exception as error:  # noqa: BLE001  every driver has its own error tree
            if not self.only_reads:
                raise SettingError(
                    "sql: the query changes data, and this connection keeps that before Segment has the rows: "
                    f"autocommit cannot be turned off ({type(error).__name__}). Send with a SELECT, and change the "
                    "data in a task after this one"
                ) from None
        if self._driver in ("psycopg", "psycopg2"):
            self._tells_changes = self._tried(_POSTGRES_CHANGED)
            self._tried(_POSTGRES_WAITS)
        elif self._driver in _MYSQL:
            for name, value in (_MYSQL_WAITS | (_MYSQL_STREAM_WAITS if self._streaming else {})).items():
                self._tried(f"SET SESSION {name} = {value}")

    @property
    def _functions_only_read(self) -> bool:
        return self._driver not in _FUNCTIONS_WRITE

    def _tried(self, statement: str) -> bool:
        """Run a statement that a server need not know, and tell whether it does."""
        try:
            with closing(self._connection.cursor()) as cursor:
                cursor.execute(statement)
        except Exception:  # noqa: BLE001  every driver has its own error tree
            with suppress(Exception):
                self._connection.rollback()  # in PostgreSQL a statement that failed ends the transaction
            return False
        return True

    def _open_cursor(self) -> tuple[Any, str]:
        """Return a cursor that leaves the rows at the server where the driver can do that, and its kind."""
        connection, driver = self._connection, self._driver
        if self._streaming and driver == "psycopg2":
            from psycopg2.extensions import cursor

            return connection.cursor(name="airflow_provider_segment", cursor_factory=cursor), "server-side cursor"
        if self._streaming and driver == "psycopg":
            from psycopg.rows import tuple_row

            return connection.cursor(name="airflow_provider_segment", row_factory=tuple_row), "server-side cursor"
        if self._streaming and driver in _MYSQL:
            return connection.cursor(**_unbuffered(driver)), "streaming cursor"
        kind = f"plain cursor{HOLDS_ALL if driver in _HOLD_ALL else ''}"
        if driver == "mysql":
            return connection.cursor(buffered=True), kind
        opened = connection.cursor()
        if driver == "duckdb":
            opened.begin()
        return opened, kind


def _unbuffered(driver: str) -> dict[str, Any]:
    """Return what makes a cursor of MySQL read its rows as they are fetched."""
    if driver == "mysql":  # MySQL Connector/Python
        return {"buffered": False}
    cursors = __import__(f"{driver}.cursors", fromlist=["SSCursor"])
    return {("cursorclass" if driver == "MySQLdb" else "cursor"): cursors.SSCursor}
