"""The memory of a run's tries in a SQL database: a row for each accepted batch, gone when the run has succeeded."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from airflow_provider_segment.core.changes import dialects
from airflow_provider_segment.core.changes.connection import StateConnection, abandon
from airflow_provider_segment.core.errors import StateError

log = logging.getLogger(__name__)

# What runs that never succeeded have left goes after so many days.
KEPT_DAYS = 30
# Parts that are read at once: 20 KB each, at most.
_AT_ONCE = 50
# Batches that wait for a database that failed, at most; the first of more are sent again by a retry.
_MOST_PENDING = 100
# Seconds for which its first transaction is tried again.
PATIENCE = 10.0


class DatabaseMemory:
    """What the tries of one run had acknowledged.

    Two tables. ``segment_try``: one row a run, with the calls that it had accepted when it succeeded.
    ``segment_acknowledged``: one row a batch, with eight bytes for each of its messages, which are hashes.

    :param engine: of PostgreSQL, MySQL/MariaDB or SQLite.
    :param run: a 64-bit number that names sync, run and map index.
    :param schema: of the database.
    :ivar accepted: how many calls the run had accepted when it succeeded before; None where it has not.
    :raises StateError: if the database fails when it is opened; later failures are logged, and cost repeats only.
    """

    def __init__(self, engine: sa.engine.Engine, run: int, *, schema: str | None = None) -> None:
        self._engine = engine
        self._run = run
        meta = sa.MetaData(schema=schema)
        self._tries = sa.Table(
            "segment_try",
            meta,
            sa.Column("run", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("day", sa.Integer, nullable=False),
            sa.Column("accepted", sa.BigInteger),
        )
        self._parts = sa.Table(
            "segment_acknowledged",
            meta,
            sa.Column("part", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("run", sa.BigInteger, nullable=False, index=True),
            sa.Column("numbers", sa.LargeBinary, nullable=False),
        )
        dialects.dialect_of(engine, self._parts)  # refuses other databases, and prepares SQLite for several writers
        self._connection: sa.engine.Connection | None = None
        self._pending: deque[bytes] = deque(maxlen=_MOST_PENDING)
        with _as_state_errors("opening it"):
            for _ in range(3):  # of runs that make the tables at once, those that fail find them made
                with suppress(SQLAlchemyError):
                    meta.create_all(engine)
            meta.create_all(engine)
        with closing(StateConnection(engine, log)) as connection:  # of runs that begin at once, deadlocks end some
            self.accepted = connection.run("opening it", self._begin, patience=PATIENCE)

    def _begin(self, connection: sa.engine.Connection) -> int | None:
        """Forget old runs, and note that this one goes on."""
        day, mine = int(time.time() // 86_400), self._tries.c.run == self._run
        old = sa.select(self._tries.c.run).where(self._tries.c.day < day - KEPT_DAYS)
        forgotten = connection.execute(old).scalars().all()
        for table in (self._parts, self._tries) if forgotten else ():
            connection.execute(sa.delete(table).where(table.c.run.in_(forgotten)))
        if connection.execute(sa.update(self._tries).where(mine).values(day=day)).rowcount:
            found = connection.execute(sa.select(self._tries.c.accepted).where(mine)).scalar_one()
            return None if found is None else int(found)
        connection.execute(sa.insert(self._tries).values(run=self._run, day=day))
        return None

    def earlier(self) -> Iterator[bytes]:
        """Yield what earlier tries have left."""
        parts, last = self._parts, 0
        while True:
            query = sa.select(parts.c.part, parts.c.numbers).where(parts.c.run == self._run, parts.c.part > last)
            with _as_state_errors("reading what was accepted"), self._engine.connect() as connection:
                found = connection.execute(query.order_by(parts.c.part).limit(_AT_ONCE)).all()
            if not found:
                return
            yield b"".join(bytes(numbers) for _, numbers in found)
            last = found[-1][0]

    def add(self, numbers: bytes) -> None:
        """Write what was acknowledged, in a transaction of its own; where that fails, with the next batch."""
        self._pending.append(numbers)
        self._write()

    def _write(self) -> None:
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            with self._connection.begin():
                rows = [{"run": self._run, "numbers": part} for part in self._pending]
                self._connection.execute(sa.insert(self._parts), rows)
            self._pending.clear()
        except SQLAlchemyError as error:
            log.warning("What was accepted could not be noted for a retry (%s)", _kind(error))
            self._disconnect()
        except BaseException:  # a time-out: close() writes what waits, on a connection that is in order
            connection, self._connection = self._connection, None
            abandon(connection)
            raise

    def succeeded(self, accepted: int) -> None:
        """Forget the messages, and note how many calls were accepted.

        :param accepted: by all tries of the run.
        """
        mine = sa.update(self._tries).where(self._tries.c.run == self._run)
        self._disconnect()
        self._pending.clear()
        try:
            with self._engine.begin() as connection:
                connection.execute(sa.delete(self._parts).where(self._parts.c.run == self._run))
                connection.execute(mine.values(accepted=accepted))
        except SQLAlchemyError as error:
            log.warning("What was noted for a retry could not be removed (%s)", _kind(error))

    def close(self) -> None:
        """Write what a time-out, or an outage, has left, and close the connections."""
        if self._pending:
            self._write()
        self._disconnect()
        self._engine.dispose()

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(SQLAlchemyError):
                self._connection.close()
            self._connection = None


@contextmanager
def _as_state_errors(what: str) -> Iterator[None]:
    failure = ""
    try:
        yield
    except SQLAlchemyError as error:
        failure = _kind(error)
    if failure:
        raise StateError(f"The state's database failed at {what}: {failure}")


def _kind(error: SQLAlchemyError) -> str:
    """Name an error without its text, which may quote what was written."""
    origin = getattr(error, "orig", None) or error
    return f"{type(origin).__module__}.{type(origin).__name__}"
