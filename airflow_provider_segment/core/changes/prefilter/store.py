"""What a filter leaves in the state's database: its record, and the hashes of the rows as they arrived."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import orjson
import sqlalchemy as sa

from airflow_provider_segment.core.changes.connection import StateConnection, Work
from airflow_provider_segment.core.changes.dialects import SqlDialect
from airflow_provider_segment.core.changes.lease import Lease
from airflow_provider_segment.core.changes.mapping_changes import Described
from airflow_provider_segment.core.changes.tables import Tables

# Keys a statement, and a transaction.
DELETED_KEYS, FORGOTTEN_KEYS = 500, 25_000


class Record(NamedTuple):
    """Which filter a run has left, and when it may be used.

    :param maker: what made it.
    :param run: the number of the run that wrote it.
    :param mark: a random text, which the filter has too.
    :param fingerprint: of the mapping.
    :param is_whole: whether it lists the keys of all rows, so that what is missing from it is gone.
    :param watched: the numbers of keys of which that run found rows with different contents.
    :param unmade: the calls that no row made.
    :param sample: what Sample has kept of the rows' columns.
    :param mapping: what it was, as mapping_changes has described it.
    :param cursor_mark: how far a run by cursor has come, as Mark has written it.
    """

    maker: str
    run: int
    mark: str
    fingerprint: str
    is_whole: bool
    watched: tuple[int, ...]
    unmade: tuple[str, ...]
    sample: str | None
    mapping: Described | None = None
    cursor_mark: str | None = None


class StoredPage(NamedTuple):
    """The rows of one page as they arrived.

    :param number: of the page, from 0.
    :param hashes: of its rows, eight bytes each; zeros for a row that is not settled.
    :param row_keys: the numbers of their keys, eight bytes each.
    """

    number: int
    hashes: bytes
    row_keys: bytes


class FilterStore:
    """The filter of one sync in the state's database.

    :param connection: to the database.
    :param tables: of the states in it.
    :param number: of the sync; 0 where there is none.
    :param lease: of the run; None for one that only reads.
    :param sql: the words of the database.
    """

    def __init__(
        self, connection: StateConnection, tables: Tables, number: int, lease: Lease | None, sql: SqlDialect
    ) -> None:
        self._connection = connection
        self._sql = sql
        self._tables = tables
        self._filter, self._arrival = tables.filter, tables.arrival
        self._number = number
        self._lease = lease

    @property
    def is_kept(self) -> bool:
        """Whether what this run finds out is kept for the next one."""
        return self._lease is not None

    def record(self) -> Record | None:
        """Return what the last run has left; None where there is nothing."""
        if not self._number:
            return None
        query = sa.select(self._filter).where(self._filter.c.sync_no == self._number)
        row = self._connection.run("reading its filter", lambda c: c.execute(query).one_or_none())
        if row is None:
            return None
        watched = numbers_in(bytes(row.watched))
        unmade = tuple(json.loads(row.unmade))
        found = (row.maker, row.run, row.mark, row.fingerprint, bool(row.is_whole), watched, unmade, row.sample)
        return Record(*found, orjson.loads(row.mapping) if row.mapping else None, row.cursor_mark)

    def keep_record(self, record: Record) -> None:
        """Write a record, after all that it stands for.

        :param record: of the run.
        """
        table, number = self._filter, self._number
        values = record._asdict() | {"is_whole": int(record.is_whole)}
        values |= {"watched": packed(record.watched), "unmade": json.dumps(record.unmade)}
        values["mapping"] = None if record.mapping is None else json.dumps(record.mapping)

        def keep(connection: sa.engine.Connection) -> None:
            connection.execute(sa.delete(table).where(table.c.sync_no == number))
            connection.execute(sa.insert(table).values(sync_no=number, **values))

        self._write(keep)

    def now(self) -> float:
        """Return the seconds since 1970, by the database's clock."""
        return float(
            self._connection.run("asking its clock", lambda c: c.execute(sa.select(self._sql.now)).scalar_one())
        )

    def keep_days(self, days: Mapping[int, int]) -> None:
        """Remember the days of keys' rows.

        :param days: by the numbers of the keys.
        """
        table, number, keys = self._tables.day, self._number, list(days)
        rows = [{"sync_no": number, "row_key": key, "day": days[key]} for key in keys]

        def keep(connection: sa.engine.Connection) -> None:
            for at in range(0, len(keys), DELETED_KEYS):
                mine = sa.delete(table).where(table.c.sync_no == number)
                connection.execute(mine.where(table.c.row_key.in_(keys[at : at + DELETED_KEYS])))
            connection.execute(sa.insert(table), rows)

        if keys:
            self._write(keep)

    def forget_days(self, first: int) -> int:
        """Forget the keys of rows of days before another one, and return how many.

        :param first: the first day that is kept.
        """
        day, state, call, number = self._tables.day, self._tables.state, self._tables.call, self._number
        old = sa.select(day.c.row_key).where(day.c.sync_no == number, day.c.day < first).limit(FORGOTTEN_KEYS)
        mine = sa.select(call.c.call_no).where(call.c.sync_no == number)

        def forget(connection: sa.engine.Connection) -> int:
            keys = [key for (key,) in connection.execute(old)]
            for at in range(0, len(keys), DELETED_KEYS):
                some = keys[at : at + DELETED_KEYS]
                connection.execute(sa.delete(state).where(state.c.call_no.in_(mine), state.c.row_key.in_(some)))
                connection.execute(sa.delete(day).where(day.c.sync_no == number, day.c.row_key.in_(some)))
            return len(keys)

        forgotten = 0
        while self._lease is not None and (found := self._lease.writing("forgetting old keys", forget)):
            forgotten += found
        return forgotten

    def anchors(self) -> list[tuple[int, int]]:
        """Return the least hash of each page, 0 where no row is settled, with the number of the page."""
        page = self._arrival.c
        query = sa.select(page.least, page.page_no).where(page.sync_no == self._number)
        return self._connection.run("reading its filter", lambda c: [(row[0], row[1]) for row in c.execute(query)])

    def pages(self, first: int, last: int) -> list[StoredPage]:
        """Return some pages, in order.

        :param first: the number of the first.
        :param last: the number after the last.
        """
        page = self._arrival.c
        query = (
            sa.select(page.page_no, page.hashes, page.row_keys)
            .where(page.sync_no == self._number, page.page_no >= first, page.page_no < last)
            .order_by(page.page_no)
        )
        found = self._connection.run("reading its filter", lambda c: c.execute(query).fetchall())
        return [StoredPage(number, bytes(hashes), bytes(row_keys)) for number, hashes, row_keys in found]

    def keep_pages(self, pages: Sequence[StoredPage]) -> None:
        """Write pages in the place of those with their numbers.

        :param pages: some, as many as a transaction bears.
        """
        table, number = self._arrival, self._number
        rows = [
            {"sync_no": number, "page_no": n, "least": least_of(hashes), "hashes": hashes, "row_keys": keys}
            for n, hashes, keys in pages
        ]

        def keep(connection: sa.engine.Connection) -> None:
            mine = sa.delete(table).where(table.c.sync_no == number)
            connection.execute(mine.where(table.c.page_no.in_([page.number for page in pages])))
            connection.execute(sa.insert(table), rows)

        self._write(keep)

    def forget_pages(self, first: int) -> None:
        """Delete the pages from a number on.

        :param first: the number.
        """
        table = self._arrival
        query = sa.delete(table).where(table.c.sync_no == self._number, table.c.page_no >= first)
        self._write(lambda c: c.execute(query))

    def _write(self, work: Work[object]) -> None:
        if self._lease is not None:
            self._lease.writing("writing its filter", work)


def least_of(hashes: bytes) -> int:
    """Return the least hash of a page, by which it is found wherever it lies.

    :param hashes: of its rows; those that are not settled have none.
    """
    return min((number for number in numbers_in(hashes) if number), default=0)


def numbers_in(packed: bytes) -> tuple[int, ...]:
    """Return 64-bit numbers.

    :param packed: eight bytes each.
    """
    return struct.unpack(f"<{len(packed) // 8}q", packed)


def packed(numbers: Sequence[int]) -> bytes:
    """Return 64-bit numbers as bytes, eight each.

    :param numbers: some.
    """
    return struct.pack(f"<{len(numbers)}q", *numbers)


def in_parts(pages: Iterator[StoredPage], rows: int = 100_000) -> Iterator[list[StoredPage]]:
    """Yield pages in parts of about so many rows.

    :param pages: some.
    :param rows: in a part.
    """
    part: list[StoredPage] = []
    size = 0
    for page in pages:
        part.append(page)
        size += len(page.hashes) // 8
        if size >= rows:
            yield part
            part, size = [], 0
    if part:
        yield part
