"""Where ``sync_mode="changes"`` remembers: a SQLite file, or a database behind an Airflow connection."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from airflow_provider_segment.compat import AirflowNotFoundException, BaseHook
from airflow_provider_segment.core.changes.connection import LOG, StateConnection
from airflow_provider_segment.core.changes.dry_state import StateView
from airflow_provider_segment.core.changes.explain import Reader
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.lease import release
from airflow_provider_segment.core.changes.overview import Overview
from airflow_provider_segment.core.changes.prefilter.cursor_mark import read_mark
from airflow_provider_segment.core.changes.resume_database import DatabaseMemory
from airflow_provider_segment.core.changes.shared_run import SharedRun
from airflow_provider_segment.core.changes.shared_state import SharedState
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.changes.tables import Tables
from airflow_provider_segment.core.errors import SettingError, StateError
from airflow_provider_segment.core.mapping.message_ids import fingerprint
from airflow_provider_segment.core.rows.keys import key_bytes, numbers_of, other_forms

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
    :param log: is told who holds the state, of a first run, and of a connection that was lost.
    :raises SettingError: if there is no such connection, or it is of a type that cannot hold a state; or if another
        task of the same DAG run has the sync.
    :raises LeaseError: if another run holds the state, and goes on.
    :raises StateError: if the database fails.
    """
    engine = _file(path) if path is not None else _database(conn_id or "")
    key = write_key and fingerprint(write_key)
    try:
        where: dict[str, Any] = {"schema": schema, "place": _place(conn_id, schema, path), "log": log}
        if shared is None:
            with State(engine, sync_id, key, holder, mode=mode, deletes=deletes, **where) as state:
                yield state
        else:
            with SharedState(engine, sync_id, key or "", holder, shared, deletes=deletes, **where) as part:
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
    engine = _file_to_read(path) if path is not None else _database(conn_id or "")
    if engine.dialect.name == "sqlite" and engine.url.database:  # to connect would make the file
        engine = _file_to_read(engine.url.database)
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


def _file_to_read(path: str) -> sa.engine.Engine:
    if not Path(path).exists():
        return sa.create_engine("sqlite://")
    address = f"file:{quote(str(Path(path).resolve()))}?mode=ro"
    return sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(address, uri=True))


def open_memory(run: int, *, conn_id: str | None, schema: str | None, path: str | None) -> DatabaseMemory:
    """Return what earlier tries of a run had acknowledged, with ``sync_mode="all"``; the caller closes it.

    :param run: names it.
    :param conn_id: as for open_state(); so are ``schema`` and ``path``.
    :param schema: of the connection.
    :param path: of a SQLite file.
    :raises SettingError: if there is no such connection, or it is of a type that cannot hold a state.
    :raises StateError: if the database fails.
    """
    engine = _file(path) if path is not None else _database(conn_id or "")
    try:
        return DatabaseMemory(engine, run, schema=schema)
    except BaseException:
        engine.dispose()
        raise


def _file(path: str) -> sa.engine.Engine:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise SettingError(f"state_path: {path} cannot be written: {error.strerror}") from None
    return sa.create_engine(sa.engine.URL.create("sqlite", database=path))


def _database(conn_id: str) -> sa.engine.Engine:
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


def release_state(sync_id: str, *, conn_id: str | None, schema: str | None, path: str | None, log: Any = LOG) -> str:
    """Take the lease from whoever holds it, and return who that was; empty where nobody did.

    :param sync_id: whose state it is.
    :param conn_id: as for open_state(); so are ``schema`` and ``path``.
    :param schema: of the connection.
    :param path: of a SQLite file.
    :param log: is told of a connection that was lost.
    :raises SettingError: if there is no such state.
    """
    if path is not None and not Path(path).exists():  # to connect would make it
        raise SettingError(f"state_path: there is no file {path}")
    engine = _file(path) if path is not None else _database(conn_id or "")
    try:
        with closing(StateConnection(engine, log)) as connection:
            return release(engine, connection, Tables(schema), sync_id)
    finally:
        engine.dispose()


@contextmanager
def read_state(sync_id: str, *, conn_id: str | None, schema: str | None, path: str | None) -> Iterator[Reader]:
    """Lend what is known of a sync; nothing is made and nothing locked.

    :param sync_id: whose state it is.
    :param conn_id: as for open_state(); so are ``schema`` and ``path``.
    :param schema: of the connection.
    :param path: of a SQLite file.
    :raises SettingError: if there is no such state.
    :raises StateError: if the database fails.
    """
    with _reading(conn_id, path) as connection:
        yield Reader(connection, Tables(schema), sync_id)


@contextmanager
def read_all_states(conn_id: str, schema: str | None = None) -> Iterator[Overview]:
    """Lend what the syncs in a database did last; nothing is made and nothing locked.

    :param conn_id: of the database.
    :param schema: of the connection.
    :raises SettingError: if there is no such connection, or it is of a type that cannot hold a state.
    :raises StateError: if the database fails.
    """
    with _reading(conn_id, None) as connection:
        yield Overview(connection, Tables(schema))


@contextmanager
def _reading(conn_id: str | None, path: str | None) -> Iterator[sa.engine.Connection]:
    """Lend a connection for reading; its failures are raised without the database's words."""
    engine = _file_to_read(path) if path is not None else _database(conn_id or "")
    if engine.dialect.name == "sqlite" and engine.url.database:  # to connect would make the file
        engine = _file_to_read(engine.url.database)
    failure = ""
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        failure = type(error).__name__
    finally:
        engine.dispose()
    if failure:
        raise StateError(f"The state's database failed at reading it ({failure})")


def numbers_of_key(values: Sequence[Any]) -> list[int]:
    """Return the numbers that a key may have in a state: its own, and those of its values as another type.

    :param values: of the columns of the key.
    """
    found = [key for key in key_bytes([[value] for value in values]) if key is not None]
    return numbers_of(list(dict.fromkeys([*found, *other_forms(values)])))


def reset_state(
    sync_id: str,
    keys: Sequence[Any] | None,
    *,
    cursor: Any,
    conn_id: str | None,
    schema: str | None,
    path: str | None,
    log: Any = LOG,
) -> int:
    """Forget what a sync knows, or make some keys due again; return the number of entries.

    :param sync_id: whose state it is.
    :param keys: values, or tuples of them; None means all, or with a cursor none.
    :param cursor: sets the mark of the sync's cursor back.
    :param conn_id: as for open_state(); so are ``schema`` and ``path``.
    :param schema: of the connection.
    :param path: of a SQLite file.
    :param log: is told who holds the state.
    """
    holder = Holder(run_id=f"reset of {sync_id}")
    with open_state(sync_id, None, holder, conn_id=conn_id, schema=schema, path=path, mode="reset", log=log) as state:
        mark = read_mark(record.cursor_mark if (record := state.filters.record()) is not None else None)
        if cursor is not None:
            if record is None or mark is None:
                raise SettingError(f"cursor: sync_id {sync_id!r} has no mark that could be set back")
            state.filters.keep_record(record._replace(cursor_mark=mark.set_back(cursor).written()))
        elif mark is not None and keys is not None:
            log.warning("Rows before the mark of the cursor %s are not read: give cursor, to set it back", mark.column)
        if keys is None:
            return 0 if cursor is not None else state.forget()
        rows = [key if isinstance(key, (list, tuple)) else [key] for key in keys]
        found = key_bytes(list(zip(*rows, strict=True)))
        forms = [key for key in found if key is not None] + [form for row in rows for form in other_forms(row)]
        return state.make_due(numbers_of(list(dict.fromkeys(forms))))
