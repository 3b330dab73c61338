"""What Segment last accepted, by call and key, in a SQL database; written once per accepted batch.

Four tables. ``segment_sync``: one row a sync, with the generation that its message ids carry and the lease of the run
that may write. ``segment_call``: one row a call, by its identity. ``segment_state``: one row a call and key, in 64-bit
integers: the key (itself where it is an integer, else a hash), hashes of key and content, and how many calls were
accepted. There is no personal data in it but the ids of calls made on "deleted", without which nothing could be sent.
``segment_sample``: for each call, the fields of some keys in four bits each (core/samples.py).
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import SQLAlchemyError

from airflow_provider_segment.core import state_sql
from airflow_provider_segment.core.errors import LeaseError, SettingError, StateError
from airflow_provider_segment.core.state_tables import make_tables

LAYOUT = 1
LEASE_SECONDS = 60
RENEW_SECONDS = 20
# Contents that no message has: forgotten by a reset, and gone from the source.
FORGOTTEN, GONE = 0, 1
# Kinds of doubt: the content was posted for a key that Segment knew, or as its first.
AS_KNOWN, AS_NEW = 1, 2
# Key, content, sent, run, doubt and meaning of an Entry.
Known: TypeAlias = tuple[int, int, int, int, int, int | None]

_NAME = sa.String(255).with_variant(mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql")


class Entry(NamedTuple):
    """What is known of one call and key.

    :param call: the call's number in this state.
    :param key: the key, or its hash.
    :param content: the hash of key and content that Segment last accepted, or GONE, or FORGOTTEN.
    :param sent: calls that Segment accepted for this call and key so far, which the id of the next one carries.
    :param run: the run that wrote it.
    :param doubt: not 0 where the content was posted, with ``sent`` in its id, and no acknowledgement was saved.
    :param ids: what a call on "deleted" is made from, as JSON; None for other calls.
    :param meaning: the hash of what the content says, XOR content: 0 where that is one; beside a content that an older
        version wrote later it is the hash of nothing. None where it is not known, as in states of before.
    """

    call: int
    key: int
    content: int
    sent: int
    run: int
    doubt: int = 0
    ids: str | None = None
    meaning: int | None = None


class Tables:
    """The tables of all states in one database.

    :param schema: of the database; None takes its default.
    """

    def __init__(self, schema: str | None = None) -> None:
        self.meta = sa.MetaData(schema=schema)
        self.sync = sa.Table(
            "segment_sync",
            self.meta,
            sa.Column("sync_no", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("sync_id", _NAME, nullable=False, unique=True),
            sa.Column("layout", sa.Integer, nullable=False),
            sa.Column("generation", sa.String(32), nullable=False),
            sa.Column("write_key", sa.String(32), nullable=False),
            sa.Column("run", sa.Integer, nullable=False),
            sa.Column("holder", sa.String(32)),
            sa.Column("token", sa.String(32)),
            sa.Column("expires", sa.BigInteger, nullable=False),
            sa.Column("clean", sa.Integer, nullable=False),
        )
        self.call = sa.Table(
            "segment_call",
            self.meta,
            sa.Column("call_no", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("sync_no", sa.Integer, nullable=False),
            sa.Column("identity", _NAME, nullable=False),
            sa.Column("seen", sa.Integer, nullable=False),
            sa.UniqueConstraint("sync_no", "identity"),
        )
        self.state = sa.Table(
            "segment_state",
            self.meta,
            sa.Column("call_no", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("row_key", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("content", sa.BigInteger, nullable=False),
            sa.Column("sent", sa.Integer, nullable=False),
            sa.Column("run", sa.Integer, nullable=False),
            sa.Column("doubt", sa.Integer, nullable=False),
            sa.Column("ids", sa.Text().with_variant(mysql.LONGTEXT(charset="utf8mb4"), "mysql")),
            sa.Column("meaning", sa.BigInteger),
            sqlite_with_rowid=False,
        )
        self.sample = sa.Table(
            "segment_sample",
            self.meta,
            sa.Column("call_no", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("fields", sa.Text().with_variant(mysql.LONGTEXT, "mysql"), nullable=False),
        )


class State:
    """The state of one sync, held by a lease while a run writes it.

    :param engine: of PostgreSQL, MySQL/MariaDB or SQLite.
    :param sync_id: whose state it is.
    :param write_key: the fingerprint of the source's key; None takes any, and makes no state.
    :param holder: names the run: a later try of the same holder takes the lease at once.
    :param schema: of the database.
    :param lease_seconds: after which a lease that nobody renews is free.
    :raises SettingError: if the state belongs to another write key or layout.
    :raises LeaseError: if another run holds it.
    :raises StateError: if the database fails.
    """

    def __init__(
        self,
        engine: sa.engine.Engine,
        sync_id: str,
        write_key: str | None,
        holder: str,
        *,
        schema: str | None = None,
        lease_seconds: int = LEASE_SECONDS,
    ) -> None:
        self._engine = engine
        self.sync_id = sync_id
        self._tables = Tables(schema)
        self._sql = state_sql.words_of(engine, self._tables.state)
        self._lease_seconds = lease_seconds
        self._token = uuid.uuid4().hex
        self._closing = threading.Event()
        with told("opening it"):
            self._connection = engine.connect()
        try:
            self._check_file()
            with told("making its tables"):
                _made_by_one(lambda: make_tables(engine, self._tables.meta))
                if write_key is not None:
                    _made_by_one(lambda: self._make(write_key))
            self._take(write_key, holder)
        except BaseException:
            self._connection.close()
            raise
        self._renewal = threading.Thread(target=self._renew, name="segment-lease", daemon=True)
        self._renewal.start()

    def _check_file(self) -> None:
        """Look for damage before the first request; a database server does that itself."""
        if self._engine.dialect.name != "sqlite":
            return
        with told("checking it"), self._connection.begin():
            found = self._connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if found != "ok":
            raise StateError(
                "The state's database failed at checking it: the SQLite file is damaged; restore it from a backup, or "
                "delete it to start over"
            )

    def _take(self, write_key: str | None, holder: str) -> None:
        """Take the lease, waiting one expiry for another run's; make the state where there is none."""
        for wait in (self._lease_seconds, None):
            with self._writing("taking its lease", check=False):
                row = self._row_for_update()
                if row is None:
                    raise SettingError(f"sync_id {self.sync_id!r} has no state here")
                if write_key is not None:
                    check_owner(self.sync_id, row, write_key)
                now = self._connection.execute(sa.select(self._sql.now)).scalar_one()
                if row.token is None or row.expires <= now or row.holder == holder:
                    self._number, self.generation, self.run = row.sync_no, row.generation, row.run + 1
                    # The run before left calls whose fate is not known, also for keys that it had not met before.
                    self.is_recovering = not row.clean
                    values = {
                        "holder": holder,
                        "token": self._token,
                        "run": self.run,
                        "clean": 0,
                        "expires": now + self._lease_seconds,
                    }
                    sync = self._tables.sync
                    self._connection.execute(sa.update(sync).where(sync.c.sync_no == self._number).values(**values))
                    return
                left = row.expires - now
            if wait is None or self._closing.wait(min(wait, left) + 1):
                break
        raise LeaseError(f"sync_id {self.sync_id!r}: another run is writing its state; they must not run at once")

    def _row_for_update(self) -> Any:
        sync = self._tables.sync
        return self._connection.execute(
            sa.select(sync).where(sync.c.sync_id == self.sync_id).with_for_update()
        ).one_or_none()

    def _make(self, write_key: str) -> None:
        """Make the sync's row, where there is none; its generation goes into all message ids."""
        sync, generation = self._tables.sync, uuid.uuid4().hex
        values = {"sync_id": self.sync_id, "layout": LAYOUT, "generation": generation, "write_key": write_key}
        with self._connection.begin():
            if (
                self._connection.execute(sa.select(sync.c.sync_no).where(sync.c.sync_id == self.sync_id)).first()
                is None
            ):
                self._connection.execute(sa.insert(sync).values(**values, run=0, expires=0, clean=1))

    def call(self, identity: str) -> tuple[int, bool]:
        """Return the number of a call, and whether it was seen by a run that went to its end.

        :param identity: of the call within its sync.
        """
        call = self._tables.call
        with self._writing("looking up a call"):
            found = self._connection.execute(
                sa.select(call.c.call_no, call.c.seen).where(
                    call.c.sync_no == self._number, call.c.identity == identity
                )
            ).one_or_none()
            if found is not None:
                return found.call_no, bool(found.seen)
            values = {"sync_no": self._number, "identity": identity, "seen": 0}
            made = self._connection.execute(sa.insert(call).values(**values))
            return int((made.inserted_primary_key or [0])[0]), False

    def seen(self, calls: Sequence[int]) -> None:
        """Remember that calls were seen by a run that went to its end, with no call of unknown fate.

        :param calls: their numbers.
        """
        call, sync = self._tables.call, self._tables.sync
        with self._writing("ending a run"):
            self._connection.execute(sa.update(sync).where(sync.c.sync_no == self._number).values(clean=1))
            self._connection.execute(sa.update(call).where(call.c.call_no.in_(calls)).values(seen=1))

    def accepted(self, call: int, keys: Sequence[int]) -> dict[int, int]:
        """Return the contents of those keys of a call whose content is not in doubt; perhaps of their neighbours too.

        Those whose meaning is not known are left out: they are looked at, and saved with it.

        :param call: its number.
        :param keys: of a page of rows.
        """
        if not keys:
            return {}
        with told("looking up keys"), self._connection.begin():
            cursor = self._connection.exec_driver_sql(*self._sql.accepted(call, keys)).cursor
            return dict(cursor.fetchall())

    def known(self, call: int, keys: Sequence[int]) -> dict[int, Known]:
        """Return key, content, calls sent, run, doubt and meaning of those keys of a call that are known.

        :param call: its number.
        :param keys: at least one.
        """
        with told("looking up keys"), self._connection.begin():
            cursor = self._connection.exec_driver_sql(*self._sql.known(call, keys)).cursor
            return {row[0]: row for row in cursor.fetchall()}  # plain tuples of the driver

    def count(self, call: int) -> int:
        """Return how many keys of a call are known and not gone.

        :param call: its number.
        """
        state = self._tables.state
        query = sa.select(sa.func.count()).where(state.c.call_no == call, self._is_there)
        with told("counting keys"), self._connection.begin():
            return int(self._connection.execute(query).scalar_one())

    def span(self, call: int) -> tuple[int, int] | None:
        """Return the least and the largest key of a call; None where it has none.

        :param call: its number.
        """
        state = self._tables.state
        query = sa.select(sa.func.min(state.c.row_key), sa.func.max(state.c.row_key)).where(state.c.call_no == call)
        with told("looking at its keys"), self._connection.begin():
            low, high = self._connection.execute(query).one()
        return None if low is None else (int(low), int(high))

    def entries(self, call: int, size: int) -> Iterator[list[Entry]]:
        """Yield what is known of a call and not gone, in the order of the keys, some at a time.

        :param call: its number.
        :param size: entries at a time.
        """
        state, first = self._tables.state, -(2**63)
        while True:
            query = (
                sa.select(state)
                .where(state.c.call_no == call, state.c.row_key >= first, self._is_there)
                .order_by(state.c.row_key)
                .limit(size)
            )
            with told("reading keys"), self._connection.begin():
                found = [Entry(*row) for row in self._connection.execute(query)]
            if not found:
                return
            yield found
            if found[-1].key == 2**63 - 1:
                return
            first = found[-1].key + 1

    @property
    def _is_there(self) -> sa.sql.elements.ColumnElement[bool]:
        """Whether a key is known and not gone, or may not be gone."""
        state = self._tables.state
        return sa.or_(state.c.content != GONE, state.c.doubt != 0)

    def save(self, entries: Sequence[Entry]) -> None:
        """Write what is known, in one transaction.

        :param entries: at most one for each call and key.
        :raises LeaseError: if another run has taken the lease.
        """
        if entries:
            with self._writing("saving what was accepted"):
                self._connection.exec_driver_sql(*self._sql.upsert(entries))

    def sample(self, call: int) -> str | None:
        """Return what Samples keeps of a call.

        :param call: its number.
        """
        sample = self._tables.sample
        with told("reading its sample"), self._connection.begin():
            found = self._connection.execute(sa.select(sample.c.fields).where(sample.c.call_no == call)).scalar()
            return None if found is None else str(found)

    def keep_sample(self, call: int, fields: str) -> None:
        """Save what Samples keeps of a call.

        :param call: its number.
        :param fields: what to keep, in ASCII.
        """
        sample = self._tables.sample
        with self._writing("saving its sample"):
            self._connection.execute(sa.delete(sample).where(sample.c.call_no == call))
            self._connection.execute(sa.insert(sample).values(call_no=call, fields=fields))

    def doubt(self, keys: Sequence[int] | None) -> int:
        """Make keys due again, whatever Segment last accepted; their numbers stay, so that no id is repeated.

        :param keys: None means all.
        """
        state, call = self._tables.state, self._tables.call
        mine = sa.select(call.c.call_no).where(call.c.sync_no == self._number)
        query = (
            sa.update(state).where(state.c.call_no.in_(mine), self._is_there).values(content=FORGOTTEN, doubt=AS_NEW)
        )
        with self._writing("resetting keys"):
            if keys is None:
                return int(self._connection.execute(query).rowcount)
            parts = [keys[start : start + 500] for start in range(0, len(keys), 500)]
            return sum(self._connection.execute(query.where(state.c.row_key.in_(part))).rowcount for part in parts)

    def forget(self) -> int:
        """Delete all that is known of the sync, and return how many keys that were.

        A new state gets a new generation, so that no id is repeated.
        """
        sync, call, state, sample = self._tables.sync, self._tables.call, self._tables.state, self._tables.sample
        mine = sa.select(call.c.call_no).where(call.c.sync_no == self._number)
        with self._writing("resetting it"):
            self._connection.execute(sa.delete(sample).where(sample.c.call_no.in_(mine)))
            forgotten = self._connection.execute(sa.delete(state).where(state.c.call_no.in_(mine))).rowcount
            self._connection.execute(sa.delete(call).where(call.c.sync_no == self._number))
            self._connection.execute(sa.delete(sync).where(sync.c.sync_no == self._number))
        return int(forgotten)

    def close(self) -> None:
        """Give the lease back and close the connection."""
        self._closing.set()
        self._renewal.join()
        sync = self._tables.sync
        mine = sa.update(sync).where(sync.c.sync_no == self._number, sync.c.token == self._token)
        try:
            with self._connection.begin():
                self._connection.execute(mine.values(token=None, holder=None, expires=0))
        except SQLAlchemyError:
            pass  # the lease runs out by itself
        finally:
            self._connection.close()

    @contextmanager
    def _writing(self, what: str, *, check: bool = True) -> Iterator[None]:
        """Run a transaction that nobody without the lease can make."""
        with told(what), self._connection.begin():
            if check:
                self._prolong(self._connection)
            yield

    def _prolong(self, connection: sa.engine.Connection) -> None:
        sync = self._tables.sync
        mine = sa.update(sync).where(sync.c.sync_no == self._number, sync.c.token == self._token)
        until = self._sql.now + self._lease_seconds
        if connection.execute(mine.values(expires=until)).rowcount != 1:
            raise LeaseError(f"sync_id {self.sync_id!r}: another run has taken over its state; this one writes no more")

    def _renew(self) -> None:
        """Prolong the lease while the source or Segment keeps the run waiting."""
        every = min(RENEW_SECONDS, self._lease_seconds / 3)
        while not self._closing.wait(every):
            try:
                with self._engine.connect() as connection, connection.begin():
                    self._prolong(connection)
            except (SQLAlchemyError, LeaseError):
                continue  # the next write says so, if it lasts


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
    if row.write_key != write_key:
        raise SettingError(
            f"sync_id {sync_id!r}: its state is about another source (another write key). To send all to this "
            "one, give it another sync_id, or start over with SegmentHook.reset"
        )


def _made_by_one(make: Callable[[], None]) -> None:
    """Make what is missing; of runs that do that at once those that fail find more of it made with each try."""
    for _ in range(4):
        with suppress(SQLAlchemyError):
            make()
            return
    make()


@contextmanager
def told(what: str) -> Iterator[None]:
    """Tell a database's error without its text, which may quote a row."""
    failure = ""
    try:
        yield
    except SQLAlchemyError as error:
        origin = getattr(error, "orig", None) or error
        failure = f"{type(origin).__module__}.{type(origin).__name__}"
    if failure:
        raise StateError(f"The state's database failed at {what}: {failure}")
