"""The line of a run with ``sync_mode="all"`` in the history: it takes no lease, and no run fails for it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from airflow_provider_segment.core.changes.connection import LOG, StateConnection
from airflow_provider_segment.core.changes.dialects import dialect_of
from airflow_provider_segment.core.changes.history import History, RunDetails
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.tables import LAYOUT, NO_KEY, Tables, made_by_one
from airflow_provider_segment.core.errors import StateError

# Seconds between writes, and for which a lost connection is tried again at the end.
EVERY, PATIENCE = 5.0, 3.0


class RunRecord:
    """A run, as it is written down.

    :param engine: of PostgreSQL, MySQL/MariaDB or SQLite.
    :param sync_id: whose run it is.
    :param details: of the run.
    :param schema: of the database.
    :param log: is told of a database that fails while the run goes on.
    :param has_ended: tells whether the DAG run of another task has ended: then a run that stands there as going on was
        killed.
    :ivar earlier: the counts of earlier tries of the task.
    :raises StateError: if the database fails when it is opened; later failures are logged.
    """

    def __init__(
        self,
        engine: sa.engine.Engine,
        sync_id: str,
        details: RunDetails,
        *,
        schema: str | None = None,
        log: Any = LOG,
        has_ended: Callable[[Holder], bool] = lambda _: False,
    ) -> None:
        self._details, self._has_ended, self._log = details, has_ended, log
        self._tables = Tables(schema)
        self._now = dialect_of(engine, self._tables.state).now
        self._history = History(self._tables, sync_id)
        self._sync_no, self._run = 0, 0
        self._due = time.monotonic() + EVERY
        self._connection = StateConnection(engine, log)
        try:
            made_by_one(lambda: self._connection.run("making its tables", self._tables.make))
            made_by_one(lambda: self._connection.run("writing down the run", lambda c: self._make(c, sync_id)))
            self._connection.run("closing runs that were killed", self._close_killed)
            self.earlier = self._connection.run("writing down the run", self._begin)
        except BaseException:
            self._connection.close()
            raise

    def _make(self, connection: sa.engine.Connection, sync_id: str) -> None:
        """Find or make the sync's row; of no source, until a run with "changes" begins a state."""
        sync = self._tables.sync
        query = sa.select(sync.c.sync_no).where(sync.c.sync_id == sync_id)
        if connection.execute(query).scalar_one_or_none() is None:
            values = {"sync_id": sync_id, "layout": LAYOUT, "generation": uuid.uuid4().hex, "write_key": NO_KEY}
            connection.execute(sa.insert(sync).values(**values, run=0, expires=0, clean=1))
        self._sync_no = connection.execute(query).scalar_one()

    def _close_killed(self, connection: sa.engine.Connection) -> None:
        """Write down that runs were killed: earlier tries of the same task, and those whose DAG run has ended."""
        for run, holder in self._history.open(connection, self._sync_no):
            is_earlier_try = holder.name == self._details.holder.name and bool(holder.dag_id)
            if is_earlier_try or self._has_ended(holder):
                self._history.end(connection, self._sync_no, run, "killed", None)

    def _begin(self, connection: sa.engine.Connection) -> list[dict[str, Any]]:
        sync = self._tables.sync
        query = sa.select(sync.c.run).where(sync.c.sync_no == self._sync_no).with_for_update()
        last = connection.execute(query).scalar_one()
        now = connection.execute(sa.select(self._now)).scalar_one()
        mine = self._details.holder
        # An earlier transaction may have begun it, and nobody heard how that ended.
        if not self._run or self._history.holder(connection, self._sync_no, self._run) != mine:
            self._run = self._history.next_run(connection, self._sync_no, last)
            self._history.begin(connection, self._sync_no, self._run, self._details, now)
        return self._history.earlier_tries(connection, self._sync_no, mine)

    def note(self, counts: Callable[[], Mapping[str, Any]]) -> None:
        """Write down the counts so far, from time to time.

        :param counts: returns them.
        """
        if time.monotonic() >= self._due:
            self._write("writing down the run", lambda c: self._note(c, counts()))
            self._due = time.monotonic() + EVERY

    def end(self, counts: Mapping[str, Any], outcome: str, error: str | None) -> None:
        """Write down how the run ended, and close the connection.

        :param counts: of it.
        :param outcome: "success", "failed" or "killed".
        :param error: that ended it, in words that hold no value of a row.
        """

        def end(connection: sa.engine.Connection) -> None:
            self._note(connection, counts)
            self._history.end(connection, self._sync_no, self._run, outcome, self._now, error)

        self._write("writing down the run's end", end)
        self._connection.close()

    def _note(self, connection: sa.engine.Connection, counts: Mapping[str, Any]) -> None:
        self._history.note(connection, self._sync_no, self._run, json.dumps(counts))

    def _write(self, what: str, work: Callable[[sa.engine.Connection], None]) -> None:
        try:
            self._connection.run(what, work, patience=PATIENCE)
        except StateError as error:
            self._log.warning("The history of the sync lacks something: %s", error)
