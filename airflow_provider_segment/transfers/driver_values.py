"""How a driver is told to hand over a value that it cannot turn into Python: as Unreadable, one bad row.

Drivers stop at such a value, and some put another in its place without a word: psycopg2 the end of 9999 for infinity,
MySQLdb a null for a zero date. All that is told here is told to our own connection.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, TypeAlias

from airflow_provider_segment.core.rows.unreadable import Unreadable

# Takes a number of rows and gives as many, or what is left.
Fetch: TypeAlias = Callable[[int], Sequence[Any]]

_NO_TIME = (
    "found a {} that Python has no value for: infinity, a year before 1 or after 9999, or 24:00. Mend the row, or the "
    "query: NULLIF(column, 'infinity'), or a cast to text"
)
_NO_VALUE = (
    "found a {} that the driver cannot turn into a value of Python. Mend the row, or cast the column in the query"
)
_ZERO = "found a {} with a zero day, month or year. Mend the row, or the query: NULLIF(column, '0000-00-00')"
_NO_TEXT = "found a text of {} bytes that is not UTF-8. Mend the row, or the query: CAST(column AS BLOB) sends base64"

# The name of each type of time with its number and its array's, and Python's reader of it.
_TIMES: dict[str, tuple[int, int, Callable[[str], Any]]] = {
    "date": (1082, 1182, dt.date.fromisoformat),
    "timestamp": (1114, 1115, dt.datetime.fromisoformat),
    "timestamptz": (1184, 1185, dt.datetime.fromisoformat),
    "time": (1083, 1183, dt.time.fromisoformat),
    "timetz": (1266, 1270, dt.time.fromisoformat),
}
_OF_TIME = ("date", "time", "interval", "tsrange", "tstzrange", "tsmultirange", "tstzmultirange")
_INTERVAL, _INTERVALS = 1186, 1187
_MYSQL_DATE, _MYSQL_DATETIMES = 10, (7, 12)  # FIELD_TYPE of MySQL's protocol: DATE; TIMESTAMP and DATETIME
_ENDS_OF_TIME = (dt.datetime.min, dt.datetime.max)  # noqa: DTZ901  as DuckDB gives them


def prepare(connection: Any) -> None:
    """Tell a driver, before there is a cursor, how to hand over such values.

    :param connection: of any driver; one that cannot be told, such as another's proxy, stays as it is.
    """
    if prepare_driver := _PREPARE.get(_driver(connection)):
        with suppress(AttributeError, TypeError):
            prepare_driver(connection)


def fetching(connection: Any, cursor: Any) -> Fetch:
    """Return what fetches rows, with Unreadable where a value could not be turned into Python.

    :param connection: that was prepared.
    :param cursor: of it, which runs the query.
    """
    if isinstance(cursor, sqlite3.Cursor):
        return _fetch_sqlite(connection, cursor)
    if hasattr(cursor, "pgresult"):
        return _fetch_psycopg(connection, cursor)
    if _driver(connection) == "duckdb":
        return _fetch_duckdb(cursor)
    return lambda size: cursor.fetchmany(size)


def _driver(connection: Any) -> str:
    return type(connection).__module__.partition(".")[0].lstrip("_")


def _reader(parse: Callable[[str], Any], reason: str) -> Callable[..., Any]:
    """Return what a driver calls with a value's text."""
    unreadable = Unreadable(reason)

    def read(text: str | None, _: Any = None) -> Any:
        try:
            return text and parse(text)
        except ValueError:
            return unreadable

    return read


def _prepare_psycopg2(connection: Any) -> None:
    """Values of time are read by Python's own readers: false for none, and faster than psycopg2's."""
    from psycopg2 import extensions

    def register(kind: str, one: int, many: int, read: Callable[..., Any]) -> None:
        reader = extensions.new_type((one,), kind, read)
        extensions.register_type(reader, connection)
        extensions.register_type(extensions.new_array_type((many,), f"{kind}[]", reader), connection)

    def interval(text: str | None, cursor: Any) -> Any:
        try:
            if text is None or "infinity" not in text:
                return extensions.INTERVAL(text, cursor)
        except OverflowError:
            pass
        return Unreadable(_NO_TIME.format("interval"))

    for kind, (one, many, parse) in _TIMES.items():
        register(kind, one, many, _reader(parse, _NO_TIME.format(kind)))
    register("interval", _INTERVAL, _INTERVALS, interval)


def _prepare_psycopg(connection: Any) -> None:
    """Psycopg's C loaders stay, but for intervals: it takes an infinite one for no time at all.

    UUIDs come as texts, which is what becomes of them, and what psycopg2 gives: making the objects takes a third of a
    row's time. From a database without an encoding texts come as bytes, so there they stay UUIDs.
    """
    from psycopg.types.datetime import IntervalLoader
    from psycopg.types.string import TextLoader

    class Loader(IntervalLoader):
        def load(self, data: Any) -> Any:
            return Unreadable(_NO_TIME.format("interval")) if b"infinity" in bytes(data) else super().load(data)

    connection.adapters.register_loader("interval", Loader)
    if connection.info.encoding != "ascii":
        connection.adapters.register_loader("uuid", TextLoader)


def _prepare_mysql(converters: dict[int, Any]) -> None:
    """Dates are read by Python's own readers, which are faster; for a zero date the drivers give null, or its text."""
    converters[_MYSQL_DATE] = _reader(dt.date.fromisoformat, _ZERO.format("date"))
    for kind in _MYSQL_DATETIMES:
        converters[kind] = _reader(dt.datetime.fromisoformat, _ZERO.format("datetime"))


_PREPARE: dict[str, Callable[[Any], None]] = {
    "psycopg": _prepare_psycopg,
    "psycopg2": _prepare_psycopg2,
    "MySQLdb": lambda connection: _prepare_mysql(connection.converter),
    "pymysql": lambda connection: _prepare_mysql(connection.decoders),
}


def _fetch_psycopg(connection: Any, cursor: Any) -> Fetch:
    """Read a page again, value by value, where it cannot be read as a whole: it is in the client already."""
    import psycopg

    is_page = hasattr(cursor, "itersize")  # a server-side cursor has a result for each page, a plain one has all rows
    rest: Iterator[Any] | None = None

    def fetch(size: int) -> Sequence[Any]:
        nonlocal rest
        if rest is not None:
            return list(islice(rest, size))
        before, at = cursor.pgresult, cursor.rownumber
        try:
            return cursor.fetchmany(size)  # type: ignore[no-any-return]
        except (psycopg.DataError, ValueError, OverflowError) as error:
            found = cursor.pgresult
            if getattr(error, "sqlstate", None) or (is_page and found is before):
                raise  # it is the server's error, or there is no page
        if is_page:
            return list(_loaded(connection, cursor, range(found.ntuples)))
        rest = _loaded(connection, cursor, range(at, found.ntuples))
        return list(islice(rest, size))

    return fetch


def _loaded(connection: Any, cursor: Any, rows: range) -> Iterator[tuple[Any, ...]]:
    """Yield rows of psycopg's result, each value read alone."""
    found, known = cursor.pgresult, cursor.adapters
    columns = range(found.nfields)
    kinds = [getattr(known.types.get(found.ftype(column)), "name", "value") for column in columns]
    reasons = [(_NO_TIME if any(word in kind for word in _OF_TIME) else _NO_VALUE).format(kind) for kind in kinds]
    loads = [
        (known.get_loader(oid, form) or known.get_loader(0, form))(oid, connection).load
        for oid, form in ((found.ftype(column), found.fformat(column)) for column in columns)
    ]

    def value(row: int, column: int) -> Any:
        raw = found.get_value(row, column)
        try:
            return None if raw is None else loads[column](raw)
        except Exception:  # noqa: BLE001  its text quotes the value; a loader may be anybody's
            return Unreadable(reasons[column])

    return (tuple(value(row, column) for column in columns) for row in rows)


def _fetch_sqlite(connection: Any, cursor: Any) -> Fetch:
    """Read the row that fails once more: SQLite's module stays at it, and what came before is in the page."""

    def fetch(size: int) -> Sequence[Any]:
        page: list[Any] = []
        while True:
            try:
                page.extend(islice(cursor, size - len(page)))  # as fast as fetchmany(), which would lose the page
            except sqlite3.OperationalError as error:
                if not str(error).startswith("Could not decode to UTF-8"):
                    raise
            else:
                return page
            usual, connection.text_factory = connection.text_factory, _text_of_sqlite
            try:
                page.append(next(cursor))
            finally:
                connection.text_factory = usual

    return fetch


def _text_of_sqlite(content: bytes) -> Any:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return Unreadable(_NO_TEXT.format(len(content)))


def _fetch_duckdb(cursor: Any) -> Fetch:
    """DuckDB gives the ends of Python's time for infinity, without a zone even where the column has one."""
    unreadable = Unreadable(_NO_TIME.format("timestamp"))

    def readable(value: Any) -> Any:
        return unreadable if value in _ENDS_OF_TIME else value

    types = [str(column[1]) for column in cursor.description]
    places = [place for place, kind in enumerate(types) if kind.startswith("TIMESTAMP")]

    def is_odd(found: list[Any], kind: str) -> bool:
        if kind.endswith("TIME ZONE"):  # a third of what it takes to compare them
            return None in {getattr(value, "tzinfo", 0) for value in found}
        return any(end in found for end in _ENDS_OF_TIME)

    def fetch(size: int) -> Sequence[Any]:
        page = cursor.fetchmany(size)
        for place in places:
            if is_odd([row[place] for row in page], types[place]):
                page = [(*row[:place], readable(row[place]), *row[place + 1 :]) for row in page]
        return page  # type: ignore[no-any-return]

    return fetch
