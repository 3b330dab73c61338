"""What an operator does to a sync when no run of it goes on: free its lease, or give it another name."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from airflow_provider_segment.core.changes.connection import StateConnection
from airflow_provider_segment.core.changes.dialects import dialect_of
from airflow_provider_segment.core.changes.history import History
from airflow_provider_segment.core.changes.tables import ID_CHARACTERS, Tables, columns_of
from airflow_provider_segment.core.errors import LeaseError, SettingError


def release(engine: sa.engine.Engine, connection: StateConnection, tables: Tables, sync_id: str) -> str:
    """Free a lease whoever holds it, forget the run's plan, and return who that was; empty where nobody did.

    :param engine: of the database.
    :param connection: to it.
    :param tables: of the states in it.
    :param sync_id: whose state it is.
    :raises SettingError: if there is no such state.
    """
    now, history = dialect_of(engine, tables.state).now, History(tables, sync_id)

    def free(connection: sa.engine.Connection) -> str:
        row = _locked(connection, tables, sync_id)
        at = connection.execute(sa.select(now)).scalar_one()
        history.keep_plan(connection, row.sync_no, row.run, None)
        if row.token is None or row.expires <= at:
            return ""
        mine = sa.update(tables.sync).where(tables.sync.c.sync_no == row.sync_no)
        connection.execute(mine.values(token=None, holder=None, expires=0))
        held = history.describe(connection, row.sync_no, row.run)
        history.end(connection, row.sync_no, None, "killed", at)
        return held

    return connection.run("freeing its lease", free)


def rename(engine: sa.engine.Engine, connection: StateConnection, tables: Tables, sync_id: str, new_id: str) -> None:
    """Give a sync another id; its message ids stay those of before.

    :param engine: of the database.
    :param connection: to it.
    :param tables: of the states in it.
    :param sync_id: whose state it is.
    :param new_id: of the sync from now on.
    :raises SettingError: if there is no such state, or another one has that id.
    :raises LeaseError: if a run holds the state.
    """
    if not 0 < len(new_id) <= ID_CHARACTERS:
        raise SettingError(f"new_id: expected 1 to {ID_CHARACTERS} characters, found {len(new_id)}")
    now, history, sync = dialect_of(engine, tables.state).now, History(tables, sync_id), tables.sync

    def change(connection: sa.engine.Connection) -> None:
        row = _locked(connection, tables, sync_id)
        if row.token is not None and row.expires > connection.execute(sa.select(now)).scalar_one():
            held = history.describe(connection, row.sync_no, row.run)
            raise LeaseError(f"sync_id {sync_id!r}: its state is held by {held}; rename it when that has ended")
        query = sa.select(sync.c.sync_no).where(sync.c.sync_id == new_id)
        if connection.execute(query).first() is not None:
            raise SettingError(
                f"new_id: there is a sync {new_id!r} in this database; where a run has begun it by mistake, forget "
                "that one first, with SegmentHook.reset"
            )
        first = row.first_id or sync_id
        connection.execute(sa.update(sync).where(sync.c.sync_no == row.sync_no).values(sync_id=new_id, first_id=first))

    connection.run("renaming it", change)


def _locked(connection: sa.engine.Connection, tables: Tables, sync_id: str) -> Any:
    row: Any = None
    if columns_of(connection, tables.sync):
        tables.make(connection)  # those of an older version lack columns
        query = sa.select(tables.sync).where(tables.sync.c.sync_id == sync_id).with_for_update()
        row = connection.execute(query).one_or_none()
    if row is None:
        raise SettingError(f"sync_id {sync_id!r} has no state here")
    return row
