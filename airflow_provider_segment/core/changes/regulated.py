"""Who is part of an accepted regulation of a sync: one row a user in a SQL database, by a hash of the id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from airflow_provider_segment.core.changes import dialects
from airflow_provider_segment.core.changes.connection import LOG, StateConnection
from airflow_provider_segment.core.errors import StateError

_AT_ONCE = 500


class DatabaseRegulated:
    """What is remembered in a state's database, for all runs: the table ``segment_regulated``.

    :param engine: of PostgreSQL, MySQL/MariaDB or SQLite.
    :param sync: a 64-bit number that names sync, type and scope.
    :param run: a 64-bit number that names the DAG run and the task.
    :param schema: of the database.
    :param reads_only: whether nothing is made or written.
    :param log: is told of a connection that was lost.
    :raises StateError: if the database fails; so do the methods.
    """

    def __init__(
        self,
        engine: sa.engine.Engine,
        sync: int,
        run: int,
        *,
        schema: str | None = None,
        reads_only: bool = False,
        log: Any = LOG,
    ) -> None:
        self._engine, self._sync, self._run = engine, sync, run
        meta = sa.MetaData(schema=schema)
        self._table = sa.Table(
            "segment_regulated",
            meta,
            sa.Column("sync", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("subject", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("run", sa.BigInteger, nullable=False),
            sa.Column("regulation", sa.String(255), nullable=False),
            sqlite_with_rowid=False,
        )
        dialects.dialect_of(engine, self._table, reads_only=reads_only)  # refuses other databases, and prepares SQLite
        self._connection = StateConnection(engine, log)
        name, schema_name = self._table.name, self._table.schema
        self._is_there = not reads_only or self._connection.run(
            "looking for its table", lambda connection: sa.inspect(connection).has_table(name, schema=schema_name)
        )
        if not reads_only:
            with suppress(StateError):  # another run may make it at this moment
                self._connection.run("making its table", meta.create_all)
            self._connection.run("making its table", meta.create_all)
        self.regulations = self._regulations()

    def _regulations(self) -> list[str]:
        table = self._table.c
        mine = (table.sync == self._sync) & (table.run == self._run)
        query = sa.select(table.regulation).where(mine).distinct().order_by(table.regulation)
        return self._read("reading a run's regulations", query)

    def known(self) -> set[int]:
        """Return the numbers of the users that are part of an accepted regulation."""
        query = sa.select(self._table.c.subject).where(self._table.c.sync == self._sync)
        return set(self._read("reading who is regulated", query))

    def _read(self, what: str, query: Any) -> list[Any]:
        if not self._is_there:
            return []
        return self._connection.run(what, lambda connection: list(connection.execute(query).scalars()))

    def accepted(self, regulate_id: str, users: Sequence[int]) -> None:
        """Remember a regulation, in a transaction of its own."""
        rows = [{"sync": self._sync, "subject": n, "run": self._run, "regulation": regulate_id} for n in users]

        def write(connection: sa.engine.Connection) -> None:
            self._delete(connection, users)  # where the transaction is run again, or another run has one of them too
            connection.execute(sa.insert(self._table), rows)

        self._connection.run("writing who is regulated", write)

    def keep(self, users: set[int]) -> None:
        """Forget all users but these."""
        gone = self.known() - users
        self._connection.run("forgetting who is not asked for", lambda connection: self._delete(connection, gone))

    def _delete(self, connection: sa.engine.Connection, users: Iterable[int]) -> None:
        table, numbers = self._table.c, sorted(users)
        for start in range(0, len(numbers), _AT_ONCE):
            some = table.subject.in_(numbers[start : start + _AT_ONCE])
            connection.execute(sa.delete(self._table).where(table.sync == self._sync, some))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        self._engine.dispose()
