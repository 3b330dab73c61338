"""The state of a dry run: it is only read, without a lease; what the run would have saved is kept aside."""

from __future__ import annotations

import dataclasses
import sqlite3
import uuid
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from airflow_provider_segment.core.changes import dialects
from airflow_provider_segment.core.changes.connection import LOG, StateConnection
from airflow_provider_segment.core.changes.doubts import in_doubt
from airflow_provider_segment.core.changes.entries import Base, Entry, EntryFields, StoredEntry, is_alive
from airflow_provider_segment.core.changes.lease import check_owner
from airflow_provider_segment.core.changes.prefilter.store import FilterStore
from airflow_provider_segment.core.changes.shared_state import SharedState
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.changes.tables import NO_KEY, Tables, columns_of


class StateView(State):
    """The state of a sync as it is, also while a run writes it; where there is none, nothing is known.

    It makes nothing, takes no lease and writes nothing: of State it has what reads.

    :param engine: of its database.
    :param sync_id: whose state it is.
    :param write_key: the fingerprint of the source's key.
    :param schema: of the database.
    :param place: as for State.
    :param log: as for State.
    :raises SettingError: if the state belongs to another write key or layout.
    :raises StateError: if the database fails.
    """

    def __init__(
        self,
        engine: sa.engine.Engine,
        sync_id: str,
        write_key: str,
        *,
        schema: str | None = None,
        place: str = "its database",
        log: Any = LOG,
    ) -> None:
        self.sync_id = self.first_id = sync_id
        self.place, self.log = place, log
        self.is_file = engine.dialect.name == "sqlite"
        self.is_new = True
        self.generation, self.run, self.is_recovering = uuid.uuid4().hex, 1, False
        self._tables = Tables(schema)
        self._sql = dialects.dialect_of(engine, self._tables.state, reads_only=True)
        self._number, self._has_sample, self._has_known, self._has_filter = 0, False, False, False  # of no sync
        self._connection = StateConnection(engine, log)
        try:
            self._connection.run("reading it", lambda connection: self._look(connection, write_key))
        except BaseException:
            self._connection.close()
            raise
        number = self._number if self._has_filter else 0
        self.filters = FilterStore(self._connection, self._tables, number, None, self._sql)

    def _look(self, connection: sa.engine.Connection, write_key: str) -> None:
        """Find out what there is: perhaps nothing, or tables of an older version."""
        tables = self._tables
        columns = columns_of(connection, tables.state)
        if not columns:
            return
        self._has_sample = bool(columns_of(connection, tables.sample))
        self._has_known = bool(columns_of(connection, tables.known))
        self._has_filter = set(tables.filter.columns.keys()) <= columns_of(connection, tables.filter)
        if "meaning" not in columns:
            self._sql = dataclasses.replace(self._sql, meaning="NULL")
            state = tables.state
            tables.state = sa.Table(state.name, sa.MetaData(schema=state.schema), autoload_with=connection)
        sync = tables.sync.c
        query = sa.select(sync.sync_no, sync.layout, sync.generation, sync.write_key, sync.run, sync.clean)
        row = connection.execute(query.where(sync.sync_id == self.sync_id)).one_or_none()
        if row is not None and row.write_key != NO_KEY:
            check_owner(self.sync_id, row, write_key)
            self.is_new = False
            self._number, self.generation, self.run = row.sync_no, row.generation, row.run + 1
            self.is_recovering = not row.clean
            if columns_of(connection, tables.doubt):
                self.left_in_doubt = in_doubt(connection, tables, row.sync_no)

    def call(self, identity: str) -> tuple[int, bool]:
        """Return the number of a call, 0 where it is not known, and whether a run that went to its end has seen it.

        :param identity: of the call within its sync.
        """
        call = self._tables.call.c
        if self._number:
            mine = sa.select(call.call_no, call.seen).where(call.sync_no == self._number, call.identity == identity)
            found = self._connection.run("looking up a call", lambda c: c.execute(mine).one_or_none())
            if found is not None:
                return found.call_no, bool(found.seen)
        return 0, False

    def sample(self, call: int) -> str | None:
        """Return what Samples keeps of a call; see State.

        :param call: its number.
        """
        return super().sample(call) if call and self._has_sample else None

    def bases(self, call: int) -> list[Base]:
        """Return how many keys are known now, and were when earlier runs began; see State.

        :param call: its number.
        """
        return super().bases(call) if self._has_known else [Base(self.run, self.count(call))]

    def close(self, *_: object) -> None:
        """Close the connection."""
        self._connection.close()


class DryState:
    """What a run knows that saves nothing: the state, and above it what the run would have saved.

    :param state: of the sync.
    :param is_plan: whether other tasks do what is found out here; then they must know how many keys were known before.
    """

    def __init__(self, state: State, *, is_plan: bool = False) -> None:
        self._state, self._is_plan = state, is_plan
        self.place, self.is_file, self.is_new, self.log = state.place, state.is_file, state.is_new, state.log
        self.sync_id, self.first_id, self.generation = state.sync_id, state.first_id, state.generation
        self.run, self.is_recovering, self.filters = state.run, state.is_recovering, state.filters
        self._calls: dict[str, int] = {}
        # A temporary file of its own: there may be millions. Whichever thread collects the garbage closes it.
        engine = sa.create_engine(
            "sqlite://", creator=lambda: sqlite3.connect("", check_same_thread=False), poolclass=sa.pool.StaticPool
        )
        table = Tables().state
        table.create(engine)
        self._above = dialects.dialect_of(engine, table, reads_only=True)
        self._connection = engine.connect()
        self._transaction = self._connection.begin()  # of which nobody sees the end
        self.save(state.left_in_doubt)
        weakref.finalize(self, _close, self._connection, engine)

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
        above = self._known_above(call, keys)
        known = {key: content for key, content in below.items() if key not in above}
        return known | {key: one[1] for key, one in above.items() if not one[4] and one[5] is not None}

    def known(self, call: int, keys: Sequence[int]) -> dict[int, StoredEntry]:
        """Return all that is known of keys; see State."""
        below = self._state.known(call, keys) if call > 0 else {}
        return below | self._known_above(call, keys)

    def _known_above(self, call: int, keys: Sequence[int]) -> dict[int, StoredEntry]:
        above = self._connection.exec_driver_sql(*self._above.known(call, keys)).cursor.fetchall()
        return {row[0]: row for row in above}

    def bases(self, call: int) -> list[Base]:
        """Return how many keys the state knows, and knew when earlier runs began; see State."""
        return self._state.bases(call) if call > 0 else [Base(self.run, 0)]

    def keep_bases(self, known: Mapping[int, int]) -> None:
        """Save them for the other tasks of a run, or nothing.

        :param known: the numbers of keys, by those of the calls.
        """
        if self._is_plan:
            self._state.keep_bases({call: number for call, number in known.items() if call > 0})

    def span(self, call: int) -> tuple[int, int] | None:
        """Return the least and the largest key that the state has; see State."""
        return self._state.span(call) if call > 0 else None

    def keys(self, call: int, size: int) -> Iterator[Sequence[tuple[int, int]]]:
        """Yield the keys that the state knows and that are not gone, some at a time; see State."""
        for page in self._state.keys(call, size) if call > 0 else ():
            above = self._known_above(call, [key for key, _ in page])
            gone = {key for key, one in above.items() if not is_alive(one)}
            yield [(key, run) for key, run in page if key not in gone]

    def entries(self, call: int, keys: Sequence[int]) -> list[Entry]:
        """Return what the state knows of some keys; see State."""
        return self._state.entries(call, keys)

    def sample(self, call: int) -> str | None:
        """Return what Samples keeps of a call; see State."""
        return self._state.sample(call) if call > 0 else None

    def save(self, entries: Sequence[EntryFields], _: Sequence[int] = (), **__: float) -> None:
        """Keep aside what a run would have saved.

        :param entries: at most one for each call and key.
        """
        for statement in self._above.upserts(entries):
            self._connection.exec_driver_sql(*statement)

    def keep_sample(self, call: int, fields: str) -> None:
        """Save nothing."""

    def seen(self, calls: Sequence[int]) -> None:
        """Save nothing; but a plan that was refused leaves no call of unknown fate."""
        if self._is_plan:
            self._state.seen(calls)

    def plan_for(self, fingerprint: str) -> None:
        """Let the plan be one of a mapping.

        :param fingerprint: of the mapping.
        """
        if isinstance(self._state, SharedState):
            self._state.fingerprint = fingerprint


def _close(connection: sa.engine.Connection, engine: sa.engine.Engine) -> None:
    connection.close()
    engine.dispose()
