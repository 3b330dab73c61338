"""Where ``sync_mode="changes"`` remembers: a SQLite file, or a database behind an Airflow connection."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_segment.core.changes import numbers_of
from airflow_provider_segment.core.errors import SettingError, StateError
from airflow_provider_segment.core.message_ids import Origins, fingerprint
from airflow_provider_segment.core.resume_database import DatabaseMemory
from airflow_provider_segment.core.state import State

# Airflow's types of connections, by their hooks; others are refused by name.
_TYPES = {"postgres": "PostgreSQL", "mysql": "MySQL or MariaDB", "sqlite": "SQLite"}


@contextmanager
def open_state(
    sync_id: str, write_key: str | None, holder: str, *, conn_id: str | None, schema: str | None, path: str | None
) -> Iterator[State]:
    """Lend the state of a sync, held by a lease.

    :param sync_id: whose state it is.
    :param write_key: of the source; a hash of it is kept. None takes the state of any, and makes none.
    :param holder: names the run; a later try of it takes the lease at once.
    :param conn_id: of the database ...
    :param schema: ... and its schema ...
    :param path: ... or of a SQLite file.
    :raises SettingError: if there is no such connection, or it is of a type that cannot hold a state.
    :raises StateError: if the database fails.
    """
    engine = _file(path) if path is not None else _database(conn_id or "")
    try:
        state = State(engine, sync_id, write_key and fingerprint(write_key), fingerprint(holder), schema=schema)
        try:
            yield state
        finally:
            state.close()
    finally:
        engine.dispose()


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


def reset_state(
    sync_id: str, keys: Sequence[Any] | None, *, conn_id: str | None, schema: str | None, path: str | None
) -> int:
    """Forget what a sync knows, or make some keys due again; return the number of entries.

    :param sync_id: whose state it is.
    :param keys: values, or tuples of them; None means all.
    :param conn_id: as for open_state(); so are ``schema`` and ``path``.
    :param schema: of the connection.
    :param path: of a SQLite file.
    """
    with open_state(sync_id, None, f"reset of {sync_id}", conn_id=conn_id, schema=schema, path=path) as state:
        if keys is None:
            return state.forget()
        rows = [key if isinstance(key, (list, tuple)) else [key] for key in keys]
        origins = Origins(range(len(rows[0]))).of(rows) if rows else []
        return state.doubt(numbers_of([origin for origin in origins if origin is not None]))
