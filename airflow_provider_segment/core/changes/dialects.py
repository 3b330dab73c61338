"""The statements of the state that each database has its own words for; the hot ones take and give plain tuples."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson
import sqlalchemy as sa

from airflow_provider_segment.core.errors import SettingError

Statement: TypeAlias = tuple[str, Any]

_COLUMNS = ("call_no", "row_key", "content", "sent", "run", "doubt", "ids", "meaning")
_UPDATED = ("content", "sent", "run", "doubt", "ids", "meaning")
# So many entries that differ in key and content alone are worth a statement of their own.
_MANY = 100

Alike: TypeAlias = tuple[int, int, int, int, str | None, int | None]


@dataclass(frozen=True)
class SqlDialect:
    """One database's words.

    :param table: of the entries, quoted.
    :param now: the seconds since 1970 by its clock.
    :param mark: stands for a parameter.
    :param among: makes the condition that a column is one of some integers.
    :param upsert: makes the statement that writes entries, whether they are there or not.
    :param upsert_alike: makes the same for entries that differ in key and content alone, by call, sent, run, doubt, ids
        and meaning of all, and the contents by key; None where that is no faster.
    :param meaning: the column of that name, or NULL where a table of before has none.
    """

    table: str
    now: Any
    mark: str
    among: Callable[[Sequence[int]], Statement]
    upsert: Callable[[Sequence[tuple[Any, ...]]], Statement]
    upsert_alike: Callable[[Alike, Mapping[int, int]], Statement] | None = None
    meaning: str = "meaning"

    def upserts(self, entries: Sequence[tuple[Any, ...]]) -> list[Statement]:
        """Return the statements that write entries, whether they are there or not.

        :param entries: at most one for each call and key.
        """
        if self.upsert_alike is None:
            return [self.upsert(entries)] if entries else []
        groups: defaultdict[Alike, dict[int, int]] = defaultdict(dict)
        for call, key, content, sent, run, doubt, ids, meaning in entries:
            groups[call, sent, run, doubt, ids, meaning][key] = content
        many = {alike: contents for alike, contents in groups.items() if len(contents) >= _MANY}
        in_order = [(alike, {key: contents[key] for key in sorted(contents)}) for alike, contents in many.items()]
        statements = [self.upsert_alike(*one) for one in in_order]
        if len(many) < len(groups):
            statements.append(self.upsert([one for one in entries if (one[0], *one[3:]) not in many]))
        return statements

    def accepted(self, call: int, keys: Sequence[int]) -> Statement:
        """Return the statement that looks up the accepted contents of keys of a call, with close neighbours of theirs.

        :param call: its number.
        :param keys: at least one.
        """
        low, high = min(keys), max(keys)
        # One stretch of the table is read in half the time of as many entries one by one.
        is_stretch = high - low < 2 * len(keys)
        among = (f"BETWEEN {self.mark} AND {self.mark}", (low, high)) if is_stretch else self.among(keys)
        return self._select("row_key, content", f"doubt = 0 AND {self.meaning} IS NOT NULL AND ", call, among)

    def known(self, call: int, keys: Sequence[int]) -> Statement:
        """Return the statement that looks up all that is known of some keys of a call.

        :param call: its number.
        :param keys: some.
        """
        return self._select(f"row_key, content, sent, run, doubt, {self.meaning}", "", call, self.among(keys))

    def entries(self, call: int, keys: Sequence[int]) -> Statement:
        """Return the statement that looks up whole entries of some keys of a call.

        :param call: its number.
        :param keys: some.
        """
        return self._select(", ".join(_COLUMNS), "", call, self.among(keys))

    def keys(self, call: int, first: int, gone: int, size: int) -> Statement:
        """Return the statement that looks up keys that are known and not gone, each with the run that wrote it last.

        :param call: its number.
        :param first: the least key.
        :param gone: the content of keys that are gone, where it is not in doubt.
        :param size: keys at most.
        """
        query = (
            f"SELECT row_key, run FROM {self.table} WHERE call_no = {self.mark} AND row_key >= {self.mark} "  # noqa: S608  only names
            f"AND (content <> {self.mark} OR doubt <> 0) ORDER BY row_key LIMIT {self.mark}"
        )
        return query, (call, first, gone, size)

    def _select(self, columns: str, where: str, call: int, among: Statement) -> Statement:
        condition, values = among
        query = f"SELECT {columns} FROM {self.table} WHERE {where}call_no = {self.mark} AND row_key {condition}"  # noqa: S608  only names
        return query, (call, *values)


def dialect_of(engine: sa.engine.Engine, table: sa.Table, *, reads_only: bool = False) -> SqlDialect:
    """Return the words of an engine's database; SQLite is made to lock when a transaction begins.

    :param engine: of the database.
    :param table: of the entries.
    :param reads_only: whether nothing will be written; then nothing is locked.
    :raises SettingError: if the database is none that can hold a state.
    """
    words = {"sqlite": _sqlite, "postgresql": _postgres, "mysql": _mysql, "mariadb": _mysql}
    if engine.dialect.name not in words:
        raise SettingError(
            f"state_conn_id: expected PostgreSQL, MySQL/MariaDB or SQLite, found {engine.dialect.name}; the state may "
            "be in another database than the source"
        )
    if engine.dialect.name == "sqlite" and not reads_only:
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _lock_sqlite)
        sa.event.listen(engine, "invalidate", _unlock_sqlite)
    name = engine.dialect.identifier_preparer.format_table(table)
    return words[engine.dialect.name](name, f"INSERT INTO {name} ({', '.join(_COLUMNS)})")


def _sqlite(table: str, insert: str) -> SqlDialect:
    sets = ", ".join(f"{name} = excluded.{name}" for name in _UPDATED)
    update = f"ON CONFLICT (call_no, row_key) DO UPDATE SET {sets}"
    upsert = f"{insert} VALUES (?, ?, ?, ?, ?, ?, ?, ?) {update}"
    # One statement takes half the time of one a row; without the WHERE, ON would be read as that of a join.
    alike_values = "?, CAST(key AS INTEGER), value, ?, ?, ?, ?, ?"
    upsert_alike = f"{insert} SELECT {alike_values} FROM json_each(?) WHERE true {update}"  # noqa: S608  only names
    return SqlDialect(
        table,
        sa.cast(sa.func.strftime("%s", "now"), sa.BigInteger),
        "?",
        # One parameter whatever the number of keys: a parameter for each takes twice as long.
        lambda keys: ("IN (SELECT value FROM json_each(?))", (orjson.dumps(keys).decode(),)),
        lambda entries: (upsert, sorted(entries)),  # neighbours lie on one page of the file
        lambda alike, contents: (
            upsert_alike,
            (*alike, orjson.dumps(contents, option=orjson.OPT_NON_STR_KEYS).decode()),
        ),
    )


def _postgres(table: str, insert: str) -> SqlDialect:
    sets = ", ".join(f"{name} = excluded.{name}" for name in _UPDATED)
    # One statement a batch: executemany would make a round trip for each entry.
    arrays = "%s::int[], %s::bigint[], %s::bigint[], %s::int[], %s::int[], %s::int[], %s::text[], %s::bigint[]"
    update = f"ON CONFLICT (call_no, row_key) DO UPDATE SET {sets}"
    upsert = f"{insert} SELECT * FROM unnest({arrays}) {update}"  # noqa: S608  only names
    alike_values = "%s::int, key, content, %s::int, %s::int, %s::int, %s::text, %s::bigint"
    upsert_alike = f"{insert} SELECT {alike_values} FROM unnest(%s::bigint[], %s::bigint[]) AS t(key, content) {update}"  # noqa: S608  only names
    return SqlDialect(
        table,
        sa.cast(sa.func.floor(sa.extract("epoch", sa.func.clock_timestamp())), sa.BigInteger),
        "%s",
        lambda keys: ("= ANY(%s::bigint[])", (_array(keys),)),
        lambda entries: (upsert, tuple(_array(column) for column in zip(*sorted(entries), strict=True))),
        lambda alike, contents: (upsert_alike, (*alike, _array([*contents]), _array([*contents.values()]))),
    )


def _array(values: Sequence[int | str | None]) -> str:
    """Return an array as a text, which drivers and PostgreSQL read several times as fast as a list of Python."""
    texts = map(str, values) if set(map(type, values)) == {int} else map(_element, values)
    return f"{{{','.join(texts)}}}"


def _element(value: int | str | None) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", r"\\").replace('"', r"\"")
        return f'"{escaped}"'
    return "NULL" if value is None else str(value)


def _mysql(table: str, insert: str) -> SqlDialect:
    sets = ", ".join(f"{name} = VALUES({name})" for name in _UPDATED)
    upsert = f"{insert} VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON DUPLICATE KEY UPDATE {sets}"
    return SqlDialect(
        table,
        sa.func.unix_timestamp(),
        "%s",
        lambda keys: (f"IN ({', '.join(['%s'] * len(keys))})", tuple(keys)),
        lambda entries: (upsert, sorted(entries)),
    )


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says so, not where sqlite3 guesses
    # A journal keeps its size otherwise: 20,000 text keys touch each page of a large file, and all of them stand in it.
    for pragma in ("busy_timeout=30000", "synchronous=NORMAL", "cache_size=-16000", "journal_size_limit=8000000"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    with suppress(sqlite3.OperationalError):  # another run switches a new file over at this moment
        connection.execute("PRAGMA journal_mode=WAL").fetchall()


def _lock_sqlite(connection: sa.engine.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _unlock_sqlite(connection: Any, *_: object) -> None:
    """Undo what a time-out cut off: a closed connection keeps the file locked while the traceback has its cursors."""
    connection.rollback()
