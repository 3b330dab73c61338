"""What Segment last accepted, by call and key, in a SQL database; written once per accepted batch."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import starmap
from typing import Any, NamedTuple, Self, TypeAlias, TypeVar

import sqlalchemy as sa

from airflow_provider_segment.core.changes import dialects
from airflow_provider_segment.core.changes.connection import LOG, StateConnection
from airflow_provider_segment.core.changes.history import RunDetails
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.lease import LEASE_SECONDS, Lease
from airflow_provider_segment.core.changes.tables import LAYOUT, Tables
from airflow_provider_segment.core.errors import StateError

# Contents that no message has: forgotten by a reset, and gone from the source.
FORGOTTEN, GONE = 0, 1
# What in_doubt is where it is not 0: the content was posted for a key that Segment knew, or as its first.
AS_KNOWN, AS_NEW = 1, 2
# Key, content, sent, run, in_doubt and meaning of an Entry.
StoredEntry: TypeAlias = tuple[int, int, int, int, int, int | None]

T = TypeVar("T")


class Entry(NamedTuple):
    """What is known of one call and key.

    :param call: the call's number in this state.
    :param key: the key, or its hash.
    :param content: the hash of key and content that Segment last accepted, or GONE, or FORGOTTEN.
    :param sent: calls that Segment accepted for this call and key so far, which the id of the next one carries.
    :param run: the run that wrote it.
    :param in_doubt: not 0 where the content was posted, with ``sent`` in its id, and no acknowledgement was saved.
    :param ids: what a call on "deleted" is made from, as JSON; None for other calls.
    :param meaning: the hash of what the content says, XOR content: 0 where that is one; beside a content that an older
        version wrote later it is the hash of nothing. None where it is not known, as in states of before.
    """

    call: int
    key: int
    content: int
    sent: int
    run: int
    in_doubt: int = 0
    ids: str | None = None
    meaning: int | None = None


class Base(NamedTuple):
    """How many keys of a call were known when a run began, since which no run has ended whole.

    :param run: the run's number.
    :param known: the number of keys that were known, and not gone.
    """

    run: int
    known: int


class State:
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
    :ivar is_new: whether this run made it, so that nothing is known yet.
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
    ) -> None:
        self.sync_id = sync_id
        self.place = place
        self.log = log
        self.is_file = engine.dialect.name == "sqlite"
        self.is_new = False
        self._tables = Tables(schema)
        self._sql = dialects.dialect_of(engine, self._tables.state)
        self._connection = StateConnection(engine, log)
        details = RunDetails(holder, mode, deletes)
        self._lease = Lease(engine, self._connection, self._tables, self._sql.now, sync_id, details, lease_seconds)
        try:
            self._check_file()
            self._make(write_key)
            self._lease.take(write_key)
        except BaseException:
            self._connection.close()
            raise
        self.generation, self.run = self._lease.generation, self._lease.run
        self.is_recovering = self._lease.is_recovering

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
        _made_by_one(lambda: self._connection.run(what, self._tables.make))
        if write_key is None:
            return
        sync, generation = self._tables.sync, uuid.uuid4().hex
        values = {"sync_id": self.sync_id, "layout": LAYOUT, "generation": generation, "write_key": write_key}

        def make(connection: sa.engine.Connection) -> bool:
            query = sa.select(sync.c.generation).where(sync.c.sync_id == self.sync_id)
            found = connection.execute(query).scalar_one_or_none()
            if found is None:
                connection.execute(sa.insert(sync).values(**values, run=0, expires=0, clean=1))
            return found in (None, generation)

        self.is_new = _made_by_one(lambda: self._connection.run(what, make))

    def __enter__(self) -> Self:
        """Return the state."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close it, and write down how the run ended."""
        self.close("success" if kind is None else "failed" if issubclass(kind, Exception) else "killed")

    def close(self, outcome: str = "success") -> None:
        """Give the lease back and close the connection.

        :param outcome: how the run ended: "success", "failed" or "killed".
        """
        self._lease.give_back(outcome)
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

    def has_accepted(self) -> bool:
        """Tell whether Segment has accepted any call of the sync so far."""
        state = self._tables.state
        query = sa.select(state.c.row_key).where(state.c.call_no.in_(self._mine), state.c.sent > 0).limit(1)
        return self._connection.run("looking up keys", lambda c: c.execute(query).first() is not None)

    def accepted(self, call: int, keys: Sequence[int]) -> dict[int, int]:
        """Return the contents of those keys of a call whose content is not in doubt; perhaps of their neighbours too.

        Those whose meaning is not known are left out: they are looked at, and saved with it.

        :param call: its number.
        :param keys: of a page of rows.
        """
        if not keys:
            return {}
        return dict(self._fetch("looking up keys", self._sql.accepted(call, keys)))

    def known(self, call: int, keys: Sequence[int]) -> dict[int, StoredEntry]:
        """Return key, content, calls sent, run, in_doubt and meaning of those keys of a call that are known.

        :param call: its number.
        :param keys: at least one.
        """
        return {row[0]: row for row in self._fetch("looking up keys", self._sql.known(call, keys))}

    def span(self, call: int) -> tuple[int, int] | None:
        """Return the least and the largest key of a call; None where it has none.

        :param call: its number.
        """
        key = self._tables.state.c.row_key
        query = sa.select(sa.func.min(key), sa.func.max(key)).where(self._tables.state.c.call_no == call)
        low, high = self._connection.run("looking at its keys", lambda c: c.execute(query).one())
        return None if low is None else (int(low), int(high))

    def bases(self, call: int) -> list[Base]:
        """Count the keys of a call that are known now, when the run begins, before it adds any.

        :param call: its number.
        :return: the counts at the beginning of each run since one ended whole, in order; the last is this run's.
        """
        base = self._tables.known.c
        earlier = sa.select(base.run, base.known).where(base.call_no == call, base.run < self.run).order_by(base.run)
        found = self._connection.run("counting keys", lambda c: [Base(*row) for row in c.execute(earlier)])
        return [*found, Base(self.run, self.count(call))]

    def keep_bases(self, known: Mapping[int, int]) -> None:
        """Remember how many keys were known when the run began, until a run ends whole.

        What a run adds before it is killed must not count for the next one.

        :param known: the numbers of keys, by those of the calls.
        """
        base, rows = self._tables.known, [{"call_no": n, "run": self.run, "known": known[n]} for n in known]

        def keep(connection: sa.engine.Connection) -> None:
            connection.execute(sa.delete(base).where(base.c.call_no.in_(list(known)), base.c.run == self.run))
            connection.execute(sa.insert(base), rows)

        self._lease.writing("counting keys", keep)

    def count(self, call: int) -> int:
        """Return how many keys of a call are known and not gone.

        :param call: its number.
        """
        query = sa.select(sa.func.count()).where(self._tables.state.c.call_no == call, self._is_there)
        return int(self._connection.run("counting keys", lambda c: c.execute(query).scalar_one()))

    def keys(self, call: int, size: int) -> Iterator[Sequence[tuple[int, int]]]:
        """Yield the keys of a call that are known and not gone, in order, each with the run that wrote it last.

        :param call: its number.
        :param size: keys at a time.
        """
        first = -(2**63)
        while True:
            query = self._sql.keys(call, first, GONE, size)
            found = self._fetch("reading keys", query)
            if not found:
                return
            yield found
            if (last := found[-1][0]) == 2**63 - 1:
                return
            first = last + 1

    def entries(self, call: int, keys: Sequence[int]) -> list[Entry]:
        """Return what is known of some keys of a call, in the order of the keys.

        :param call: its number.
        :param keys: at least one.
        """
        return sorted(starmap(Entry, self._fetch("reading keys", self._sql.entries(call, keys))))

    def _fetch(self, what: str, query: dialects.Statement) -> Sequence[Any]:
        """Return rows as the driver gives them, which is fastest."""
        return self._connection.run(what, lambda c: c.exec_driver_sql(*query).cursor.fetchall())

    @property
    def _is_there(self) -> sa.sql.elements.ColumnElement[bool]:
        """Whether a key is known and not gone, or may not be gone."""
        state = self._tables.state
        return sa.or_(state.c.content != GONE, state.c.doubt != 0)

    @property
    def _mine(self) -> sa.sql.Select[Any]:
        """The numbers of the sync's calls."""
        call = self._tables.call
        return sa.select(call.c.call_no).where(call.c.sync_no == self._lease.number)

    def save(self, entries: Sequence[Entry]) -> None:
        """Write what is known, in one transaction.

        :param entries: at most one for each call and key.
        :raises LeaseError: if another run has taken the lease.
        """
        if entries:
            upsert = self._sql.upsert(entries)
            self._lease.writing("saving what was accepted", lambda c: c.exec_driver_sql(*upsert))

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

    def make_due(self, keys: Sequence[int] | None) -> int:
        """Make keys due again, whatever Segment last accepted; their numbers stay, so that no id is repeated.

        :param keys: None means all.
        """
        state = self._tables.state
        query = (
            sa.update(state)
            .where(state.c.call_no.in_(self._mine), self._is_there)
            .values(content=FORGOTTEN, doubt=AS_NEW)
        )
        parts = [query]
        if keys is not None:
            parts = [query.where(state.c.row_key.in_(keys[at : at + 500])) for at in range(0, len(keys), 500)]
        return self._lease.writing("resetting keys", lambda c: sum(c.execute(part).rowcount for part in parts))

    def forget(self) -> int:
        """Delete all that is known of the sync, and return how many keys that were.

        A new state gets a new generation, so that no id is repeated.
        """
        tables, number = self._tables, self._lease.number

        def delete(connection: sa.engine.Connection) -> int:
            for table in (tables.known, tables.sample):
                connection.execute(sa.delete(table).where(table.c.call_no.in_(self._mine)))
            forgotten = connection.execute(sa.delete(tables.state).where(tables.state.c.call_no.in_(self._mine)))
            for table in (tables.call, tables.run, tables.sync):
                connection.execute(sa.delete(table).where(table.c.sync_no == number))
            return int(forgotten.rowcount)

        # One try: when it was done and nobody heard of it, there is no lease any more to try it again with.
        return self._lease.writing("resetting it", delete, patience=0)


def _made_by_one(make: Callable[[], T]) -> T:
    """Make what is missing; of runs that do that at once those that fail find more of it made with each try."""
    for _ in range(4):
        with suppress(StateError):
            return make()
    return make()
