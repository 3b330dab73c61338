"""The lease on a sync's state: one run at a time may write it, and each run is written down.

It is long since who waits, who shares a lease and who takes over all decide by the same row, in one transaction each.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from airflow_provider_segment.core.changes.connection import StateConnection, Work
from airflow_provider_segment.core.changes.history import History, RunDetails
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.shared_run import SharedRun
from airflow_provider_segment.core.changes.tables import LAYOUT, NO_KEY, Tables
from airflow_provider_segment.core.errors import LeaseError, SettingError, StateError
from airflow_provider_segment.core.mapping.message_ids import fingerprint

LEASE_SECONDS = 60
RENEW_SECONDS = 20
# Of a run that is killed, what it had done so long before is known.
NOTE_SECONDS = 1.0
LOOK_SECONDS = 1.0
# Seconds that giving the lease back may take: whoever is killed has no more.
LAST_PATIENCE = 3.0

T = TypeVar("T")


class _Held(NamedTuple):
    """A lease that another run holds.

    :param said: who that is, and since when.
    :param holder: the same; None where it is not known.
    :param token: what the run writes with.
    """

    said: str
    holder: Holder | None
    token: str


class Lease:
    """The right to write the state of one sync.

    :param engine: of the database, for the thread that renews the lease.
    :param connection: to the same; its log is told for whom is waited.
    :param tables: of the states in it.
    :param now: the seconds since 1970 by its clock, in SQL.
    :param sync_id: whose state it is.
    :param details: of this run.
    :param seconds: after which a lease that nobody renews is free.
    :param shared: the place of the task in a run that several tasks do: from its plan on, its lease lasts longer. None
        waits for a lease that another run holds for as long as it takes to run out.
    :ivar number: of the sync in this database.
    :ivar generation: of its message ids.
    :ivar run: the number of this run.
    :ivar first_id: the sync_id that the message ids carry.
    :ivar is_recovering: whether the run before left calls whose fate is not known, also for keys that are not known.
    :ivar plan: of a run that several tasks do, as JSON; None where this run has none.
    """

    def __init__(
        self,
        engine: sa.engine.Engine,
        connection: StateConnection,
        tables: Tables,
        now: Any,
        sync_id: str,
        details: RunDetails,
        seconds: int = LEASE_SECONDS,
        shared: SharedRun | None = None,
    ) -> None:
        self._engine = engine
        self._connection = connection
        self._tables = tables
        self.history = History(tables, sync_id)
        self._now = now
        self._sync_id = sync_id
        self._details = details
        self._seconds = seconds
        self._shared = shared or SharedRun(wait_seconds=seconds + 1.0)
        self._token = uuid.uuid4().hex
        self._ended = ""  # the token of a run that has not given its lease back
        self._closing = threading.Event()
        self._renewal = threading.Thread(target=self._renew, name="segment-lease", daemon=True)
        self.number, self.generation, self.run, self.is_recovering = 0, "", 0, False
        self.first_id = sync_id
        self.plan: str | None = None
        # Writes down what the task has done so far.
        self.note: Callable[[sa.engine.Connection], None] | None = None
        self._noted = time.monotonic()

    def take(self, write_key: str | None, *, goes_on: bool = False) -> None:
        """Take the lease for a new run; one that another run holds is waited for.

        :param write_key: the fingerprint of the source's key; None takes the state of any.
        :param goes_on: whether a run that the same task has planned, and that has not ended, is gone on with.
        :raises SettingError: if there is no such state, or it is not for this run.
        :raises LeaseError: if the other run goes on.
        """
        most, began, is_waiting = self._shared.wait_seconds, time.monotonic(), False
        while True:
            held = self._connection.run("taking its lease", lambda c: self._try_to_take(c, write_key, goes_on=goes_on))
            if held is None:
                break
            if held.holder is not None and held.token != self._ended and self._shared.has_ended(held.holder):
                self._ended = held.token
                self._connection.log.warning(
                    "sync_id %r: its state is held by %s. That run has ended in the middle: this one takes it over",
                    self._sync_id,
                    held.said,
                )
                continue
            waited = time.monotonic() - began
            if waited >= most:
                raise LeaseError(
                    f"sync_id {self._sync_id!r}: another run is writing its state; they must not run at once. It is "
                    f"held by {held.said}. Waited for {waited:.0f} s. Set max_active_runs=1 for the DAG, so that its "
                    "runs do not meet, and retries for the task"
                )
            if not is_waiting:
                self._connection.log.warning(
                    "sync_id %r: its state is held by %s. Waiting for it, at most %.0f s; then the task fails for a "
                    "retry. Set max_active_runs=1 for the DAG, so that its runs do not meet, and retries for the task",
                    self._sync_id,
                    held.said,
                    most,
                )
            is_waiting = True
            self._closing.wait(min(LOOK_SECONDS, most - waited))
        if is_waiting:
            waited = time.monotonic() - began
            self._connection.log.info("sync_id %r: its state is free, after %.1f s", self._sync_id, waited)
        self._hold()

    def join(self, write_key: str, run: int) -> None:
        """Share the lease of a run that another task has planned.

        :param write_key: the fingerprint of the source's key.
        :param run: the number of the run.
        :raises SettingError: if the run has ended, or another one has begun.
        """
        self._connection.run("sharing its lease", lambda c: self._share(c, self._row(c, write_key), run))
        self._hold()

    def _hold(self) -> None:
        self._connection.on_new = self._prolong
        self._renewal.start()

    def writing(self, what: str, work: Work[T], **patience: float) -> T:
        """Return what a transaction gives that nobody without the lease can make.

        :param what: it does, for the error.
        :param work: of the transaction: it may be run again after an end that nobody heard of.
        :param patience: as for StateConnection.run().
        :raises LeaseError: if another run has taken the lease.
        """

        def held(connection: sa.engine.Connection) -> T:
            self._prolong(connection)
            if self.note is not None and time.monotonic() - self._noted >= NOTE_SECONDS:
                self._noted = time.monotonic()
                self.note(connection)
            return work(connection)

        return self._connection.run(what, held, **patience)

    def give_back(self, outcome: str, error: str | None = None) -> None:
        """Free the lease, and write down how the run ended.

        :param outcome: "success", "failed" or "killed".
        :param error: that ended it, in words that hold no value of a row.
        """
        self._closing.set()
        self._renewal.join()

        def give(connection: sa.engine.Connection) -> None:
            if connection.execute(self._mine.values(token=None, holder=None, expires=0)).rowcount != 1:
                return  # whoever took it has written down how this run ended
            if self.note is not None:
                self.note(connection)
            self.history.end(connection, self.number, self.run, outcome, self._now, error)

        # On a new connection the lease may be lost: then there is nothing to give back.
        self._connection.on_new = lambda _: None
        with suppress(StateError):  # the lease runs out by itself
            self._connection.run("giving its lease back", give, patience=LAST_PATIENCE)

    def leave(self) -> None:
        """Let the lease stand, for the other tasks of this run or until it runs out."""
        self._closing.set()
        if self._renewal.is_alive():
            self._renewal.join()

    def keep_plan(self, plan: str | None) -> None:
        """Write down the plan of this run for its other tasks, or with None that it is done.

        :param plan: as JSON.
        """
        self._seconds = self._seconds if plan is None else self._shared.pickup_seconds
        self.writing("writing its plan", lambda c: self.history.keep_plan(c, self.number, self.run, plan))

    def _row(self, connection: sa.engine.Connection, write_key: str | None) -> Any:
        """Return the sync's row, locked."""
        sync = self._tables.sync
        query = sa.select(sync).where(sync.c.sync_id == self._sync_id).with_for_update()
        row = connection.execute(query).one_or_none()
        if row is None:
            raise SettingError(f"sync_id {self._sync_id!r} has no state here")
        if write_key is not None:
            check_owner(self._sync_id, row, write_key)
        self.first_id = row.first_id or self._sync_id
        return row

    def _share(self, connection: sa.engine.Connection, row: Any, run: int) -> None:
        self.plan = self.history.plan(connection, row.sync_no, run)
        is_another = self._shared.generation not in (None, row.generation)
        if row.run != run or self.plan is None or is_another:
            what = "has ended" if row.run == run else "is not the last one any more, since another has begun"
            if row.run < run or is_another:
                what = "is not known to this state, which was reset or is another; all workers must share one"
            raise SettingError(
                f"sync_id {self._sync_id!r}: run {run} of it {what}, so this task has nothing to send. Clear the whole "
                "task group: its plan is made anew then"
            )
        self.number, self.generation, self.run = row.sync_no, row.generation, run
        self._seconds = self._shared.pickup_seconds
        self._token = row.token or self._token
        now = connection.execute(sa.select(self._now)).scalar_one()
        sync = self._tables.sync
        held = sa.update(sync).where(sync.c.sync_no == self.number)
        connection.execute(held.values(token=self._token, clean=0, expires=now + self._seconds))
        self.history.reopen(connection, self.number, run)

    def _try_to_take(self, connection: sa.engine.Connection, write_key: str | None, *, goes_on: bool) -> _Held | None:
        """Take the lease, also from a run that has ended, or return who holds it."""
        row = self._row(connection, write_key)
        if row.token == self._token:  # an earlier transaction of this run took it, and nobody heard how it ended
            return None
        if goes_on and self.history.plan(connection, row.sync_no, row.run, self._details.holder) is not None:
            self._share(connection, row, row.run)
            return None
        self.history.check_tasks(connection, row.sync_no, self._details)
        now = connection.execute(sa.select(self._now)).scalar_one()
        holder = fingerprint(self._details.holder.name)
        if row.token not in (None, self._ended) and row.expires > now and row.holder != holder:
            said = f"{self.history.describe(connection, row.sync_no, row.run)}{_until(row.expires - now)}"
            return _Held(said, self.history.holder(connection, row.sync_no, row.run), row.token)
        self.number, self.generation = row.sync_no, row.generation
        self.run = self.history.next_run(connection, row.sync_no, row.run)
        self.is_recovering = not row.clean
        values = {"holder": holder, "token": self._token, "run": self.run, "clean": 0}
        sync = self._tables.sync
        connection.execute(
            sa.update(sync).where(sync.c.sync_no == self.number).values(**values, expires=now + self._seconds)
        )
        is_shared = self.history.plan(connection, row.sync_no, row.run) is not None
        lasted = self._shared.pickup_seconds if is_shared else self._seconds
        last_sign = now if row.token is None else min(now, row.expires - lasted)
        self.history.end(connection, self.number, None, "killed", last_sign)
        self.history.begin(connection, self.number, self.run, self._details, now)
        return None

    @property
    def _mine(self) -> Any:
        """The statement that changes the sync's row as long as this run holds the lease."""
        sync = self._tables.sync
        return sa.update(sync).where(sync.c.sync_no == self.number, sync.c.token == self._token)

    def _prolong(self, connection: sa.engine.Connection) -> None:
        if connection.execute(self._mine.values(expires=self._now + self._seconds)).rowcount != 1:
            raise LeaseError(
                f"sync_id {self._sync_id!r}: another run has taken over its state; this one writes no more"
            )

    def _renew(self) -> None:
        """Prolong the lease while the source or Segment keeps the run waiting."""
        every = min(RENEW_SECONDS, self._seconds / 3)
        while not self._closing.wait(every):
            try:
                with self._engine.connect() as connection, connection.begin():
                    self._prolong(connection)
            except (SQLAlchemyError, LeaseError):
                continue  # the next write says so, if it lasts


def _until(seconds: float) -> str:
    """Return how a lease is freed that its holder may have left for long."""
    if seconds <= LEASE_SECONDS:
        return ""
    return (
        f" (several tasks share it, and it runs out {seconds:,.0f} s from now if none of them goes on; where none is "
        "left, SegmentHook.release frees it)"
    )


def check_owner(sync_id: str, row: Any, write_key: str) -> None:
    """Check that a state is one that this version can read, and about the same source.

    :param sync_id: whose state it is.
    :param row: of ``segment_sync``.
    :param write_key: the fingerprint of the source's key.
    :raises SettingError: if it is not.
    """
    if row.layout != LAYOUT:
        raise SettingError(
            f"sync_id {sync_id!r}: its state has layout {row.layout}, this version knows {LAYOUT}: "
            "use the version that wrote it, or start over with SegmentHook.reset"
        )
    if row.write_key not in (write_key, NO_KEY):
        raise SettingError(
            f"sync_id {sync_id!r}: its state is about another source (another write key). To send all to this "
            "one, give it another sync_id, or start over with SegmentHook.reset"
        )
