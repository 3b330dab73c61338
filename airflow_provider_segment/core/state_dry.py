"""The state of a dry run: it is only read, without a lease; what the run would have saved is kept aside."""

from __future__ import annotations

import dataclasses
import sqlite3
import uuid
from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from airflow_provider_segment.core import state_sql
from airflow_provider_segment.core.state import GONE, Entry, Known, State, Tables, check_owner, told
from airflow_provider_segment.core.state_tables import columns_of


class StateView(State):
    """The state of a sync as it is, also while a run writes it; where there is none, nothing is known.

    It makes nothing, takes no lease and writes nothing: of State it has what reads.

    :param engine: of its database.
    :param sync_id: whose state it is.
    :param write_key: the fingerprint of the source's key.
    :param schema: of the database.
    :raises SettingError: if the state belongs to another write key or layout.
    :raises StateError: if the database fails.
    """

    def __init__(self, engine: sa.engine.Engine, sync_id: str, write_key: str, *, schema: str | None = None) -> None:
        self.sync_id = sync_id
        self.generation, self.run, self.is_recovering = uuid.uuid4().hex, 1, False
        self._tables = Tables(schema)
        self._sql = state_sql.words_of(engine, self._tables.state, reads_only=True)
        self._number, self._has_sample = 0, False  # of no sync
        with told("opening it"):
            self._connection = engine.connect()
        try:
            with told("reading it"), self._connection.begin():
                self._look(write_key)
        except BaseException:
            self._connection.close()
            raise

    def _look(self, write_key: str) -> None:
        """Find out what there is: perhaps nothing, or tables of an older version."""
        tables = self._tables
        columns = columns_of(self._connection, tables.state)
        if not columns:
            return
        self._has_sample = bool(columns_of(self._connection, tables.sample))
        if "meaning" not in columns:
            self._sql = dataclasses.replace(self._sql, meaning="NULL")
            tables.state = sa.Table(
                tables.state.name, sa.MetaData(schema=tables.state.schema), autoload_with=self._connection
            )
        sync = tables.sync.c
        query = sa.select(sync.sync_no, sync.layout, sync.generation, sync.write_key, sync.run)
        row = self._connection.execute(query.where(sync.sync_id == self.sync_id)).one_or_none()
        if row is not None:
            check_owner(self.sync_id, row, write_key)
            self._number, self.generation, self.run = row.sync_no, row.generation, row.run + 1

    def call(self, identity: str) -> tuple[int, bool]:
        """Return the number of a call, 0 where it is not known, and whether a run that went to its end has seen it.

        :param identity: of the call within its sync.
        """
        call = self._tables.call.c
        if self._number:
            mine = sa.select(call.call_no, call.seen).where(call.sync_no == self._number, call.identity == identity)
            with told("looking up a call"), self._connection.begin():
                if (found := self._connection.execute(mine).one_or_none()) is not None:
                    return found.call_no, bool(found.seen)
        return 0, False

    def sample(self, call: int) -> str | None:
        """Return what Samples keeps of a call; see State.

        :param call: its number.
        """
        return super().sample(call) if call and self._has_sample else None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class DryState:
    """What a run knows that saves nothing: the state, and above it what the run would have saved.

    :param state: of the sync.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self.sync_id, self.generation = state.sync_id, state.generation
        self.run, self.is_recovering = state.run, state.is_recovering
        self._calls: dict[str, int] = {}
        # A file of its own that is gone with the connection: there may be millions.
        engine = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(""), poolclass=sa.pool.StaticPool)
        table = Tables().state
        table.create(engine)
        self._above = state_sql.words_of(engine, table, reads_only=True)
        self._connection = engine.connect()
        self._transaction = self._connection.begin()  # of which nobody sees the end

    def call(self, identity: str) -> tuple[int, bool]:
        """Return the number of a call, and whether a run that went to its end has seen it; see State."""
        number, seen = self._state.call(identity)
        # Calls that the state does not know have numbers of their own here.
        return number or self._calls.setdefault(identity, -1 - len(self._calls)), seen

    def accepted(self, call: int, keys: Sequence[int]) -> dict[int, int]:
        """Return the contents of keys that are not in doubt; see State."""
        if not keys:
            return {}
        below = self._state.accepted(call, keys) if call > 0 else {}
        above = self._connection.exec_driver_sql(*self._above.accepted(call, keys)).cursor.fetchall()
        return below | dict(above)

    def known(self, call: int, keys: Sequence[int]) -> dict[int, Known]:
        """Return all that is known of keys; see State."""
        below = self._state.known(call, keys) if call > 0 else {}
        above = self._connection.exec_driver_sql(*self._above.known(call, keys)).cursor.fetchall()
        return below | {row[0]: row for row in above}

    def count(self, call: int) -> int:
        """Return how many keys the state knows; see State."""
        return self._state.count(call) if call > 0 else 0

    def span(self, call: int) -> tuple[int, int] | None:
        """Return the least and the largest key that the state has; see State."""
        return self._state.span(call) if call > 0 else None

    def entries(self, call: int, size: int) -> Iterator[list[Entry]]:
        """Yield what the state knows and is not gone, some at a time; see State."""
        for entries in self._state.entries(call, size) if call > 0 else ():
            above = self._connection.exec_driver_sql(*self._above.known(call, [e.key for e in entries])).cursor
            gone = {row[0] for row in above.fetchall() if row[1] == GONE}
            if left := [entry for entry in entries if entry.key not in gone]:
                yield left

    def sample(self, call: int) -> str | None:
        """Return what Samples keeps of a call; see State."""
        return self._state.sample(call) if call > 0 else None

    def save(self, entries: Sequence[Entry]) -> None:
        """Keep aside what a run would have saved.

        :param entries: at most one for each call and key.
        """
        if entries:
            self._connection.exec_driver_sql(*self._above.upsert(entries))

    def keep_sample(self, call: int, fields: str) -> None:
        """Save nothing."""

    def seen(self, calls: Sequence[int]) -> None:
        """Save nothing."""
