"""Where ``sync_mode="changes"`` remembers: a SQLite file, or a database behind an Airflow connection."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from airflow_provider_segment.compat import AirflowNotFoundException, BaseHook
from airflow_provider_segment.core.changes.connection import LOG
from airflow_provider_segment.core.changes.dry_state import StateView
from airflow_provider_segment.core.changes.history import RunDetails
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.regulated import DatabaseRegulated
from airflow_provider_segment.core.changes.resume_database import DatabaseMemory
from airflow_provider_segment.core.changes.run_record import RunRecord
from airflow_provider_segment.core.changes.shared_run import SharedRun
from airflow_provider_segment.core.changes.shared_state import SharedState
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.errors import SettingError, StateError
from airflow_provider_segment.core.mapping.message_ids import fingerprint
from airflow_provider_segment.core.options import HISTORY_DAYS

# Airflow's types of connections, by their hooks; others are refused by name.
_TYPES = {"postgres": "PostgreSQL", "mysql": "MySQL or MariaDB", "sqlite": "SQLite"}


@contextmanager
def open_state(
    sync_id: str,
    write_key: str | None,
    holder: Holder,
    *,
    conn_id: str | None,
    schema: str | None,
    path: str | None,
    mode: str = "changes",
    deletes: bool = False,
    shared: SharedRun | None = None,
    history_days: int = HISTORY_DAYS,
    log: Any = LOG,
) -> Iterator[State]:
    """Lend the state of a sync, held by a lease; how the block ends is written down as the run's end.

    :param sync_id: whose state it is.
    :param write_key: of the source; a hash of it is kept. None takes the state of any, and makes none.
    :param holder: who runs it; a later try of the same task takes the lease at once.
    :param conn_id: of the database ...
    :param schema: ... and its schema ...
    :param path: ... or of a SQLite file.
    :param mode: "changes" or "reset".
    :param deletes: whether the run looks for keys that are gone.
    :param shared: the task's place in a run that several tasks do; then the state is a SharedState.
    :param history_days: for so long runs are kept in the history.
    :param log: is told who holds the state, of a first run, and of a connection that was lost.
    :raises SettingError: if there is no such connection, or it is of a type that cannot hold a state; or if another
        task of the same DAG run has the sync.
    :raises LeaseError: if another run holds the state, and goes on.
    :raises StateError: if the database fails.
    """
    engine = file_to_write(path) if path is not None else database(conn_id or "")
    key = write_key and fingerprint(write_key)
    try:
        where: dict[str, Any] = {"schema": schema, "place": _place(conn_id, schema, path), "log": log}
        where |= {"deletes": deletes, "history_days": history_days}
        if shared is None:
            with State(engine, sync_id, key, holder, mode=mode, **where) as state:
                yield state
        else:
            with SharedState(engine, sync_id, key or "", holder, shared, **where) as part:
                yield part
    finally:
        engine.dispose()


@contextmanager
def view_state(
    sync_id: str, write_key: str, *, conn_id: str | None, schema: str | None, path: str | None, log: Any = LOG
) -> Iterator[StateView]:
    """Lend the state of a sync to look at: no lease is taken, and nothing is made where there is none.

    :param sync_id: as for open_state(); so are the others.
    :param write_key: of the source.
    :param conn_id: of the database ...
    :param schema: ... and its schema ...
    :param path: ... or of a SQLite file.
    :param log: is told of a first run.
    :raises SettingError: if there is no such connection, or the state belongs to another source.
    :raises StateError: if the database fails.
    """
    engine = file_to_read(path) if path is not None else database(conn_id or "")
    if engine.dialect.name == "sqlite" and engine.url.database:  # to connect would make the file
        engine = file_to_read(engine.url.database)
    try:
        where: dict[str, Any] = {"schema": schema, "place": _place(conn_id, schema, path), "log": log}
        with closing(StateView(engine, sync_id, fingerprint(write_key), **where)) as view:
            yield view
    finally:
        engine.dispose()


def _place(conn_id: str | None, schema: str | None, path: str | None) -> str:
    """Return what the log and errors call the state's database."""
    if path is not None:
        return f"the file {Path(path).absolute()}"
    return f"the connection {conn_id!r}{f', schema {schema!r}' if schema else ''}"


def file_to_read(path: str) -> sa.engine.Engine:
    """Return what reads a SQLite file; an empty database where there is none.

    :param path: of the file.
    """
    if not Path(path).exists():
        return sa.create_engine("sqlite://")
    address = f"file:{quote(str(Path(path).resolve()))}?mode=ro"
    return sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(address, uri=True))


def open_record(
    sync_id: str,
    details: RunDetails,
    has_ended: Callable[[Holder], bool],
    *,
    conn_id: str | None,
    schema: str | None,
    path: str | None,
    log: Any = LOG,
) -> RunRecord:
    """Return the line of a run with ``sync_mode="all"`` in the history; its end closes it.

    :param sync_id: of the sync.
    :param details: of the run.
    :param has_ended: tells whether the DAG run of another task has ended.
    :param conn_id: as for open_state(); so are ``schema`` and ``path``.
    :param schema: of the connection.
    :param path: of a SQLite file.
    :param log: is told of a database that fails while the run goes on.
    :raises SettingError: if there is no such connection, or it is of a type that cannot hold a state.
    :raises StateError: if the database fails.
    """
    engine = file_to_write(path) if path is not None else database(conn_id or "")
    try:
        return RunRecord(engine, sync_id, details, schema=schema, log=log, has_ended=has_ended)
    except BaseException:
        engine.dispose()
        raise


def open_memory(run: int, *, conn_id: str | None, schema: str | None, path: str | None) -> DatabaseMemory:
    """Return what earlier tries of a run had acknowledged, with ``sync_mode="all"``; the caller closes it.

    :param run: names it.
    :param conn_id: as for open_state(); so are ``schema`` and ``path``.
    :param schema: of the connection.
    :param path: of a SQLite file.
    :raises SettingError: if there is no such connection, or it is of a type that cannot hold a state.
    :raises StateError: if the database fails.
    """
    engine = file_to_write(path) if path is not None else database(conn_id or "")
    try:
        return DatabaseMemory(engine, run, schema=schema)
    except BaseException:
        engine.dispose()
        raise


def open_database_regulated(
    sync: int, run: int, *, conn_id: str | None, schema: str | None, path: str | None, reads_only: bool, log: Any = LOG
) -> DatabaseRegulated:
    """Return who is part of an accepted regulation of a sync; the caller closes it.

    :param sync: names it.
    :param run: names the DAG run and the task.
    :param conn_id: as for open_state(); so are ``schema`` and ``path``.
    :param schema: of the connection.
    :param path: of a SQLite file.
    :param reads_only: whether nothing is made or written.
    :param log: is told of a connection that was lost.
    :raises SettingError: if there is no such connection, or it is of a type that cannot hold a state.
    :raises StateError: if the database fails.
    """
    if path is not None:
        engine = file_to_read(path) if reads_only else file_to_write(path)
    else:
        engine = database(conn_id or "")
        if reads_only and engine.dialect.name == "sqlite" and engine.url.database:  # to connect would make the file
            engine = file_to_read(engine.url.database)
    try:
        return DatabaseRegulated(engine, sync, run, schema=schema, reads_only=reads_only, log=log)
    except BaseException:
        engine.dispose()
        raise


def file_to_write(path: str) -> sa.engine.Engine:
    """Return what writes a SQLite file, which is made where there is none, readable by its owner only.

    :param path: of the file.
    :raises SettingError: if it cannot be written.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise SettingError(f"state_path: {path} cannot be written: {error.strerror}") from None
    return sa.create_engine(sa.engine.URL.create("sqlite", database=path))


def database(conn_id: str) -> sa.engine.Engine:
    """Return the database behind an Airflow connection.

    :param conn_id: of the connection.
    :raises SettingError: if there is no such connection, or it is of a type that cannot hold a state.
    :raises StateError: if it has no engine.
    """
    connection: Any
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise SettingError(f"state_conn_id: Airflow has no connection {conn_id!r}") from None
    if connection.conn_type not in _TYPES:
        raise SettingError(
            f"state_conn_id: {conn_id!r} is of type {connection.conn_type!r}; expected {', '.join(_TYPES.values())}. "
            "The state may be in another database than the source"
        )
    failure = ""
    try:
        engine: sa.engine.Engine = connection.get_hook().get_sqlalchemy_engine()
    except Exception as error:  # noqa: BLE001  a provider that is not installed, a URL that it cannot make
        failure = type(error).__name__
    if failure:
        raise StateError(f"state_conn_id: no engine for {conn_id!r} of type {connection.conn_type!r} ({failure})")
    return engine
