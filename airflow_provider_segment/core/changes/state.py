"""What Segment last accepted, by call and key, in a SQL database."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

import sqlalchemy as sa

from airflow_provider_segment.core.changes import dialects
from airflow_provider_segment.core.changes.connection import LOG, StateConnection
from airflow_provider_segment.core.changes.doubts import Doubts
from airflow_provider_segment.core.changes.entries import Entries
from airflow_provider_segment.core.changes.history import RunDetails
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.lease import LAST_PATIENCE, LEASE_SECONDS, Lease
from airflow_provider_segment.core.changes.prefilter.store import FilterStore
from airflow_provider_segment.core.changes.refusals import Refusals
from airflow_provider_segment.core.changes.shared_run import SharedRun
from airflow_provider_segment.core.changes.tables import LAYOUT, NO_KEY, Tables, made_by_one
from airflow_provider_segment.core.errors import StateError, end_of
from airflow_provider_segment.core.options import HISTORY_DAYS
from airflow_provider_segment.core.report import Report


class State(Entries):
    """The state of one sync, held by a lease while a run writes it.

    :param engine: of PostgreSQL, MySQL/MariaDB or SQLite.
    :param sync_id: whose state it is.
    :param write_key: the fingerprint of the source's key; None takes any, and makes no state.
    :param holder: who runs it: a later try of the same task takes the lease at once.
    :param mode: "changes" or "reset", for the history.
    :param deletes: whether the run looks for keys that are gone.
    :param schema: of the database.
    :param place: what the log and errors call the database: "the file /data/segment.db".
    :param log: is told who holds the state, of a first run, and of a connection that was lost.
    :param lease_seconds: after which a lease that nobody renews is free.
    :param shared: the task's place in a run that several tasks do.
    :param history_days: for so long runs are kept in the history.
    :ivar first_id: the sync_id that the message ids carry, also when it was renamed.
    :ivar is_new: whether this run made it, so that nothing is known yet.
    :ivar filters: what the filter in front of it leaves here.
    :ivar refusals: which calls were refused.
    :ivar doubts: what batches on their way may change.
    :raises SettingError: if the state belongs to another write key or layout, or another task of the same DAG run has
        its sync_id.
    :raises LeaseError: if another run holds it, and goes on for longer than a lease lasts.
    :raises StateError: if the database fails.
    """

    def __init__(
        self,
        engine: sa.engine.Engine,
        sync_id: str,
        write_key: str | None,
        holder: Holder,
        *,
        mode: str = "changes",
        deletes: bool = False,
        schema: str | None = None,
        place: str = "its database",
        log: Any = LOG,
        lease_seconds: int = LEASE_SECONDS,
        shared: SharedRun | None = None,
        history_days: int = HISTORY_DAYS,
    ) -> None:
        self.sync_id = sync_id
        self.place = place
        self.log = log
        self.is_file = engine.dialect.name == "sqlite"
        self.is_new = False
        self._tables = Tables(schema)
        self._sql = dialects.dialect_of(engine, self._tables.state)
        self._connection = StateConnection(engine, log)
        self._details = RunDetails(holder, mode, deletes, history_days)
        more = (self._details, lease_seconds, shared)
        self._lease = Lease(engine, self._connection, self._tables, self._sql.now, sync_id, *more)
        try:
            self._check_file()
            self._make(write_key)
            self._hold(write_key)
            self.doubts = Doubts(self._lease, self._tables, self._sql, shared.part if shared is not None else None)
            self.doubts.take_over()
        except BaseException:
            self._lease.leave()
            self._connection.close()
            raise
        self.generation, self.run, self.first_id = self._lease.generation, self._lease.run, self._lease.first_id
        self.is_recovering = self._lease.is_recovering
        self.filters = FilterStore(self._connection, self._tables, self._lease.number, self._lease, self._sql)
        self.refusals = Refusals(self._lease, self._tables)

    def _hold(self, write_key: str | None) -> None:
        """Take the lease for a new run."""
        self._lease.take(write_key)

    def _check_file(self) -> None:
        """Look for damage before the first request; a database server does that itself."""
        if not self.is_file:
            return
        found = self._connection.run("checking it", lambda c: c.exec_driver_sql("PRAGMA quick_check(1)").scalar_one())
        if found != "ok":
            raise StateError(
                "The state's database failed at checking it: the SQLite file is damaged; restore it from a backup, or "
                "delete it to start over"
            )

    def _make(self, write_key: str | None) -> None:
        """Make the tables that are missing, and the sync's row, whose generation goes into all message ids."""
        what = f"making its tables ({', '.join(table.name for table in self._tables.meta.sorted_tables)})"
        made_by_one(lambda: self._connection.run(what, self._tables.make))
        if write_key is None:
            return
        sync, generation = self._tables.sync, uuid.uuid4().hex
        values = {"sync_id": self.sync_id, "layout": LAYOUT, "generation": generation, "write_key": write_key}

        def make(connection: sa.engine.Connection) -> bool:
            mine = sync.c.sync_id == self.sync_id
            query = sa.select(sync.c.generation, sync.c.write_key).where(mine)
            found = connection.execute(query).one_or_none()
            if found is None:
                connection.execute(sa.insert(sync).values(**values, run=0, expires=0, clean=1))
            elif found.write_key == NO_KEY:
                connection.execute(sa.update(sync).where(mine).values(**values))
                return True
            return found is None or found.generation == generation

        self.is_new = made_by_one(lambda: self._connection.run(what, make))

    def __enter__(self) -> Self:
        """Return the state."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """Close it, and write down how the run ended."""
        self.close(*end_of(error))

    def write_down(self, report: Report) -> None:
        """Write down the counts of this run from now on, while it goes on and at its end.

        :param report: of the run.
        """
        lease = self._lease
        lease.note = lambda c: lease.history.note(c, lease.number, lease.run, json.dumps(report.so_far()))

    def earlier_tries(self) -> list[dict[str, Any]]:
        """Return the counts of earlier tries of the task, as far as they are known."""
        lease, holder = self._lease, self._details.holder
        return self._connection.run(
            "reading its history", lambda c: lease.history.earlier_tries(c, lease.number, holder)
        )

    def close(self, outcome: str = "success", error: str | None = None) -> None:
        """Give the lease back and close the connection.

        :param outcome: how the run ended: "success", "failed" or "killed".
        :param error: that ended it, in words that hold no value of a row.
        """
        with suppress(StateError):  # the rows come again, and with them the reasons
            self.refusals.write(patience=LAST_PATIENCE)
        self._lease.give_back(outcome, error)
        self._connection.close()

    def call(self, identity: str) -> tuple[int, bool]:
        """Return the number of a call, and whether it was seen by a run that went to its end.

        :param identity: of the call within its sync.
        """
        call, number = self._tables.call, self._lease.number

        def look_up(connection: sa.engine.Connection) -> tuple[int, bool]:
            query = sa.select(call.c.call_no, call.c.seen).where(call.c.sync_no == number, call.c.identity == identity)
            found = connection.execute(query).one_or_none()
            if found is not None:
                return found.call_no, bool(found.seen)
            made = connection.execute(sa.insert(call).values(sync_no=number, identity=identity, seen=0))
            return int((made.inserted_primary_key or [0])[0]), False

        return self._lease.writing("looking up a call", look_up)

    def seen(self, calls: Sequence[int]) -> None:
        """Remember that calls were seen by a run that went to its end, with no call of unknown fate.

        :param calls: their numbers.
        """
        call, sync, known = self._tables.call, self._tables.sync, self._tables.known

        def end(connection: sa.engine.Connection) -> None:
            connection.execute(sa.update(sync).where(sync.c.sync_no == self._lease.number).values(clean=1))
            connection.execute(sa.update(call).where(call.c.call_no.in_(calls)).values(seen=1))
            connection.execute(sa.delete(known).where(known.c.call_no.in_(calls)))

        self._lease.writing("ending a run", end)

    def sample(self, call: int) -> str | None:
        """Return what Samples keeps of a call.

        :param call: its number.
        """
        sample = self._tables.sample
        query = sa.select(sample.c.fields).where(sample.c.call_no == call)
        found = self._connection.run("reading its sample", lambda c: c.execute(query).scalar())
        return None if found is None else str(found)

    def keep_sample(self, call: int, fields: str) -> None:
        """Save what Samples keeps of a call.

        :param call: its number.
        :param fields: what to keep, in ASCII.
        """
        sample = self._tables.sample

        def keep(connection: sa.engine.Connection) -> None:
            connection.execute(sa.delete(sample).where(sample.c.call_no == call))
            connection.execute(sa.insert(sample).values(call_no=call, fields=fields))

        self._lease.writing("saving its sample", keep)

    def forget(self) -> int:
        """Delete all that is known of the sync, and return how many keys that were.

        A new state gets a new generation, so that no id is repeated.
        """
        tables, number = self._tables, self._lease.number

        def delete(connection: sa.engine.Connection) -> int:
            for table in (tables.known, tables.sample, tables.refusal):
                connection.execute(sa.delete(table).where(table.c.call_no.in_(self._mine)))
            forgotten = connection.execute(sa.delete(tables.state).where(tables.state.c.call_no.in_(self._mine)))
            of_sync = (
                tables.call,
                tables.run,
                tables.filter,
                tables.arrival,
                tables.part,
                tables.day,
                tables.doubt,
                tables.sync,
            )
            for table in of_sync:
                connection.execute(sa.delete(table).where(table.c.sync_no == number))
            return int(forgotten.rowcount)

        # One try: when it was done and nobody heard of it, there is no lease any more to try it again with.
        return self._lease.writing("resetting it", delete, patience=0)
