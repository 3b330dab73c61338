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
from airflow_provider_segment.core.holder import Holder
from airflow_provider_segment.core.message_ids import Origins, fingerprint
from airflow_provider_segment.core.state import State

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
) -> Iterator[State]:
    """Lend the state of a sync, held by a lease; how the block ends is written down as the run's end.

    :param sync_id: whose state it is.
    :param write_key: of the source; a hash of it is kept. None takes the state of any, and makes none.
    :param holder: who runs it; a later try of the same task takes the lease at once.
    :param conn_id: of the database ...
    :param schema: ... and its schema ...
    :param path: ... or of a SQLite file.
    :param mode: "changes", "all", "validate_only" or "reset".
    :param deletes: whether the run looks for keys that are gone.
    :raises SettingError: if there is no such connection, or it is of a type that cannot hold a state; or if another
        task of the same DAG run has the sync.
    :raises LeaseError: if another run holds the state, and goes on.
    :raises StateError: if the database fails.
    """
    engine = _file(path) if path is not None else _database(conn_id or "")
    in_schema = f", schema {schema!r}" if schema else ""
    place = f"the file {Path(path).absolute()}" if path is not None else f"the connection {conn_id!r}{in_schema}"
    key = write_key and fingerprint(write_key)
    try:
        with State(engine, sync_id, key, holder, mode=mode, deletes=deletes, schema=schema, place=place) as state:
            yield state
    finally:
        engine.dispose()


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
    holder = Holder(run_id=f"reset of {sync_id}")
    with open_state(sync_id, None, holder, conn_id=conn_id, schema=schema, path=path, mode="reset") as state:
        if keys is None:
            return state.forget()
        rows = [key if isinstance(key, (list, tuple)) else [key] for key in keys]
        origins = Origins(range(len(rows[0]))).of(rows) if rows else []
        return state.doubt(numbers_of([origin for origin in origins if origin is not None]))
