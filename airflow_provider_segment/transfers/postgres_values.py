"""PostgreSQL's arrays of a database's own types, its composites and domains, which its drivers give as text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

DRIVERS = ("psycopg", "psycopg2")
# Redshift says 8.0.2; its types are its own.
OLDEST_SERVER = 90_000

Read: TypeAlias = Callable[[str], Any]

_CATALOG = """
    SELECT t.oid::int8, t.typtype::text, t.typcategory::text, t.typelem::int8, t.typbasetype::int8, t.typdelim::text,
        (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped),
        (SELECT array_agg(a.atttypid::int8 ORDER BY a.attnum) FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)
    FROM pg_catalog.pg_type AS t WHERE t.oid = ANY(%s::oid[])
"""
_QUOTED = r'"((?:[^"\\]|\\.|"")*)"'
_FIELD = re.compile(rf"(?:{_QUOTED}|([^,\"]*))(,|$)", re.DOTALL)
_ESCAPED = re.compile(r'\\(.)|"(")', re.DOTALL)


@dataclass(frozen=True)
class Type:
    """A type of the database, as its catalog has it.

    :param kind: "b" base, "c" composite, "d" domain, "e" enum ...
    :param category: "A" for arrays.
    :param element: the type of an array's elements.
    :param base: the type that a domain is made of.
    :param delimiter: between the elements of an array of this type.
    :param names: of a composite's fields.
    :param types: of a composite's fields.
    """

    kind: str
    category: str
    element: int
    base: int
    delimiter: str
    names: list[str] | None
    types: list[int] | None


def converters(connection: Any, cursor: Any) -> Mapping[int, Read]:
    """Return what turns the texts of columns into arrays and objects, by the columns' places.

    The catalog is asked only where a column's type is not the driver's own.

    :param connection: ours, in the transaction of the query.
    :param cursor: of the query.
    """
    try:
        driver = _Psycopg(connection, cursor) if hasattr(cursor, "adapters") else _Psycopg2(connection, cursor)
    except (AttributeError, ImportError):
        return {}  # what only looks like a driver's connection, such as another's proxy, keeps its values
    columns = {place: column[1] for place, column in enumerate(cursor.description or ())}
    unknown = {oid for oid in columns.values() if not driver.knows(oid)}
    if not unknown or driver.server_version < OLDEST_SERVER:
        return {}
    types = _types(driver, unknown)
    readers = {oid: reader for oid in unknown if (reader := _reader(oid, types, driver)) is not None}
    return {place: _of_text(readers[oid]) for place, oid in columns.items() if oid in readers}


class _Psycopg:
    def __init__(self, connection: Any, cursor: Any) -> None:
        from psycopg.adapt import Transformer

        self._connection = connection
        self._known = cursor.adapters.types
        self._loaders = Transformer(cursor)
        self.server_version: int = connection.info.server_version

    def knows(self, oid: int) -> bool:
        return self._known.get(oid) is not None

    def reader(self, oid: int) -> Read:
        from psycopg.pq import Format

        load, encoding = self._loaders.get_loader(oid, Format.TEXT).load, self._connection.info.encoding
        return lambda text: load(text.encode(encoding))

    def rows(self, query: str, oids: list[int]) -> list[Any]:
        from psycopg.rows import tuple_row

        with self._connection.cursor(row_factory=tuple_row) as cursor:
            return list(cursor.execute(query, [oids]).fetchall())


class _Psycopg2:
    def __init__(self, connection: Any, cursor: Any) -> None:
        from psycopg2.extensions import string_types

        self._connection = connection
        self._cursor = cursor
        self._known = string_types | connection.string_types  # what was told to this connection alone comes first
        self.server_version: int = connection.server_version

    def knows(self, oid: int) -> bool:
        return oid in self._known

    def reader(self, oid: int) -> Read:
        load, cursor = self._known[oid], self._cursor
        return lambda text: load(text, cursor)

    def rows(self, query: str, oids: list[int]) -> list[Any]:
        from psycopg2.extensions import cursor as tuple_cursor

        with self._connection.cursor(cursor_factory=tuple_cursor) as cursor:
            cursor.execute(query, [oids])
            return list(cursor.fetchall())


def _types(driver: _Psycopg | _Psycopg2, oids: Iterable[int]) -> dict[int, Type]:
    """Return types, and those that they are made of, as far as the driver does not know them."""
    types: dict[int, Type] = {}
    wanted = set(oids)
    while wanted:
        rows = driver.rows(_CATALOG, sorted(wanted))
        types |= {oid: Type(*rest) for oid, *rest in rows}
        parts = {part for oid, *_ in rows for part in (types[oid].element, types[oid].base, *(types[oid].types or ()))}
        wanted = {part for part in parts if part and part not in types and not driver.knows(part)}
    return types


def _reader(oid: int, types: Mapping[int, Type], driver: _Psycopg | _Psycopg2) -> Read | None:
    """Return what turns a value's text into the value; None where it is one."""
    if oid not in types:
        return driver.reader(oid) if driver.knows(oid) else None
    found = types[oid]
    if found.kind == "d":
        return _reader(found.base, types, driver)
    if found.category == "A":
        element = types.get(found.element)
        return _array_reader(_reader(found.element, types, driver) or str, element.delimiter if element else ",")
    if found.kind == "c" and found.names is not None and found.types is not None:
        readers = [_reader(part, types, driver) or str for part in found.types]
        return _composite_reader(found.names, readers)
    return None


def _array_reader(read: Read, delimiter: str) -> Read:
    def array(text: str) -> Any:
        body = text.partition("=")[2] if text.startswith("[") else text  # bounds that do not begin at 1
        within: list[list[Any]] = [[]]
        for found in _tokens(delimiter).finditer(body):
            part, quoted = found[0], found[1]
            if part == "{":
                within.append([])
            elif part == "}":
                done = within.pop()
                within[-1].append(done)
            elif quoted is not None:
                within[-1].append(read(_unescaped(quoted)))
            else:
                within[-1].append(None if part == "NULL" else read(part))
        return within[0][0] if within[0] else text

    return array


def _composite_reader(names: list[str], readers: list[Read]) -> Read:
    def composite(text: str) -> Any:
        body, place, fields = text[1:-1], 0, []
        while (found := _FIELD.match(body, place)) is not None:
            quoted, plain, end = found.groups()
            fields.append(_unescaped(quoted) if quoted is not None else plain or None)
            place = found.end()
            if not end:
                break
        values = zip(names, readers, fields, strict=True)
        return {name: None if field is None else read(field) for name, read, field in values}

    return composite


@cache
def _tokens(delimiter: str) -> re.Pattern[str]:
    return re.compile(rf'[{{}}]|{_QUOTED}|[^{{}}"{re.escape(delimiter)}]+', re.DOTALL)


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: found[1] or found[2], text)


def _of_text(read: Read) -> Callable[[Any], Any]:
    return lambda value: read(value) if isinstance(value, str) else value
