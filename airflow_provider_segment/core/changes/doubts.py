"""What batches on their way may change, a row a batch; the next run takes what a killed one has left into the state."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import orjson
import sqlalchemy as sa

from airflow_provider_segment.core.changes.dialects import SqlDialect
from airflow_provider_segment.core.changes.lease import Lease
from airflow_provider_segment.core.changes.tables import Tables

_NO_PART = -1


class Doubts:
    """The entries that are in doubt as long as a batch is on its way.

    :param lease: of the run.
    :param tables: of the states in its database.
    :param sql: the words of the database.
    :param part: which part of a run that several tasks do this task sends; None where it is no such.
    """

    def __init__(self, lease: Lease, tables: Tables, sql: SqlDialect, part: int | None) -> None:
        self._lease = lease
        self._table = tables.doubt
        self._sql = sql
        self._part = _NO_PART if part is None else part
        self._writer = uuid.uuid4().hex
        self._batches = 0

    def keep(self, entries: Sequence[Sequence[Any]]) -> int:
        """Write down what a batch may change, before it is posted, and return the number of the batch.

        :param entries: the fields of the entries that are in doubt from now on.
        """
        self._batches += 1
        mine = {"sync_no": self._lease.number, "writer": self._writer, "batch_no": self._batches}
        values = {**mine, "run": self._lease.run, "part": self._part, "entries": orjson.dumps(entries)}

        def write(connection: sa.engine.Connection) -> None:
            self.forget(connection, [self._batches])  # of a transaction whose end nobody heard of
            connection.execute(sa.insert(self._table), values)

        self._lease.writing("writing what is on its way", write)
        return self._batches

    def forget(self, connection: sa.engine.Connection, batches: Sequence[int]) -> None:
        """Forget batches, in the transaction that saves what became of them.

        :param connection: of the transaction.
        :param batches: their numbers.
        """
        doubt = self._table.c
        mine = (doubt.sync_no == self._lease.number, doubt.writer == self._writer)
        connection.execute(sa.delete(self._table).where(*mine, doubt.batch_no.in_(batches)))

    def take_over(self) -> None:
        """Save as in doubt what earlier runs have left, and an earlier try of the same part of this run."""
        doubt = self._table.c
        left = sa.and_(
            doubt.sync_no == self._lease.number, sa.or_(doubt.run < self._lease.run, doubt.part == self._part)
        )

        def take(connection: sa.engine.Connection) -> None:
            for (entries,) in connection.execute(sa.select(doubt.entries).where(left)).fetchall():
                for statement in self._sql.upserts(_read(entries)):
                    connection.exec_driver_sql(*statement)
            connection.execute(sa.delete(self._table).where(left))

        self._lease.writing("reading what was on its way", take)


def in_doubt(connection: sa.engine.Connection, tables: Tables, sync: int) -> list[tuple[Any, ...]]:
    """Return the entries that are in doubt, beside those of which the state says so itself.

    :param connection: to the database.
    :param tables: of the states in it.
    :param sync: the number of the sync.
    """
    doubt = tables.doubt.c
    found = connection.execute(sa.select(doubt.entries).where(doubt.sync_no == sync))
    return [entry for (entries,) in found for entry in _read(entries)]


def _read(entries: bytes) -> list[tuple[Any, ...]]:
    return list(map(tuple, orjson.loads(bytes(entries))))
