"""The connection to a state's database: one that is lost is taken up again, and its transaction is run again whole."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from airflow_provider_segment.core.errors import SegmentError, StateError

LOG = logging.getLogger(__name__)

# Seconds for which a lost connection is tried again; a restart takes one, a failover half a minute.
PATIENCE = 60.0
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
# What SQLAlchemy does not take for a lost connection: MySQL's and MariaDB's "shutdown in progress" and "was killed".
_LOST = frozenset({1053, 1927})
# And what ended a transaction for reasons that lie in other ones: deadlocks and failed serializations.
_ENDED = frozenset({1205, 1213, "40001", "40P01"})

T = TypeVar("T")
Work = Callable[[sa.engine.Connection], T]


class StateConnection:
    """One connection, in whose place another is made when it is lost.

    :param engine: of the database.
    :param log: is told of a connection that was lost.
    :raises StateError: if it cannot be reached; the first connection has one try.
    """

    def __init__(self, engine: sa.engine.Engine, log: Any = LOG) -> None:
        self.log = log
        self._engine = engine
        # What a driver raises where SQLAlchemy does not stand between, which is where rows are fetched.
        self._errors = (SQLAlchemyError, getattr(engine.dialect.dbapi, "Error", SQLAlchemyError))
        self._connection: sa.engine.Connection | None = None
        # Is run on each connection that stands in for a lost one, before anything else.
        self.on_new: Work[None] = lambda _: None
        self.run("opening it", lambda _: None, patience=0)

    def run(self, what: str, work: Work[T], *, patience: float = PATIENCE) -> T:
        """Return what a transaction gives; it is run again as a whole when its connection is lost.

        :param what: it does, for the error.
        :param work: of the transaction: it may be run again after an end that nobody heard of.
        :param patience: seconds for which a lost connection is tried again.
        :raises StateError: if the database fails, without the database's text, which may quote a row.
        """
        began, wait, lost = time.monotonic(), FIRST_WAIT, ""
        while True:
            try:
                done = self._attempt(work)
            except self._errors as error:
                is_lost = self._connection is None or _is_lost(error)
                failure = _name(error)
            except SegmentError:
                raise  # by the work itself: its transaction was undone in order
            except BaseException:  # such as a time-out: nobody knows how far the transaction was
                connection, self._connection = self._connection, None
                abandon(connection)
                raise
            else:
                if lost:
                    self.log.info("The state's database answers again after %.1f s", time.monotonic() - began)
                return done
            # Outside of the except, so that the database's text stands in no context of the error.
            self.close()  # after a BEGIN that failed, a connection of SQLAlchemy 1.4 is of no use any more
            if not is_lost:
                raise StateError(f"The state's database failed at {what}: {failure}")
            if time.monotonic() - began + wait > patience:
                tried = f"; no new connection to it was made for {patience:g} s" if patience and lost else ""
                raise StateError(f"The state's database failed at {what}: {failure}{tried}")
            if not lost:
                self.log.warning(
                    "The connection to the state's database was lost at %s (%s); it is tried again for %g s",
                    what,
                    failure,
                    patience,
                )
            lost = failure
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def _attempt(self, work: Work[T]) -> T:
        if self._connection is None:
            connection = self._engine.connect()
            try:
                with connection.begin():
                    self.on_new(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        with self._connection.begin():
            return work(self._connection)

    def close(self) -> None:
        """Close the connection; the next transaction makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.close()


def abandon(connection: sa.engine.Connection | None) -> None:
    """Close a connection whose transaction was cut off anywhere; the database undoes what it had not committed.

    :param connection: which may be in no order; None where there was none yet.
    """
    for close in () if connection is None else (connection.invalidate, connection.close):
        with suppress(Exception):  # also of SQLAlchemy's own assertions
            close()


def _is_lost(error: Exception) -> bool:
    """Tell whether a transaction may succeed on another connection."""
    if not isinstance(error, DBAPIError):
        return False
    origin: object = error.orig
    number = next(iter(getattr(origin, "args", ())), None)
    state = getattr(origin, "sqlstate", None) or getattr(origin, "pgcode", None)
    return error.connection_invalidated or number in _LOST | _ENDED or state in _ENDED


def _name(error: Exception) -> str:
    origin = getattr(error, "orig", None) or error
    name = f"{type(origin).__module__}.{type(origin).__name__}"
    if getattr(origin, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
        name += (
            ": another process has kept the SQLite file locked for 30 s. Look for a program that has it open; many "
            "syncs at once, and network disks, need state_conn_id"
        )
    return name
