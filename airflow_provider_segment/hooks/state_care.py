"""What an operator asks of a state, and does to it, beside the runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from airflow_provider_segment.core.changes import care
from airflow_provider_segment.core.changes.connection import LOG, StateConnection
from airflow_provider_segment.core.changes.explain import Reader
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.overview import Overview
from airflow_provider_segment.core.changes.prefilter.cursor_mark import read_mark
from airflow_provider_segment.core.changes.selection import Selection
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.changes.tables import Tables
from airflow_provider_segment.core.errors import SettingError, StateError
from airflow_provider_segment.core.rows.keys import key_bytes, numbers_of, other_forms
from airflow_provider_segment.hooks.state import database, file_to_read, file_to_write, open_state

if TYPE_CHECKING:
    import sqlalchemy as sa


def release_state(sync_id: str, *, conn_id: str | None, schema: str | None, path: str | None, log: Any = LOG) -> str:
    """Take the lease from whoever holds it, and return who that was; empty where nobody did.

    :param sync_id: whose state it is.
    :param conn_id: as for open_state(); so are ``schema`` and ``path``.
    :param schema: of the connection.
    :param path: of a SQLite file.
    :param log: is told of a connection that was lost.
    :raises SettingError: if there is no such state.
    """
    with _connected(conn_id, path, log) as (engine, connection):
        return care.release(engine, connection, Tables(schema), sync_id)


def rename_state(
    sync_id: str, new_id: str, *, conn_id: str | None, schema: str | None, path: str | None, log: Any = LOG
) -> None:
    """Give a sync another id; its message ids stay those of before.

    :param sync_id: whose state it is.
    :param new_id: of the sync from now on.
    :param conn_id: as for open_state(); so are ``schema`` and ``path``.
    :param schema: of the connection.
    :param path: of a SQLite file.
    :param log: is told of a connection that was lost.
    :raises SettingError: if there is no such state, or another one has that id.
    :raises LeaseError: if a run holds the state.
    """
    with _connected(conn_id, path, log) as (engine, connection):
        care.rename(engine, connection, Tables(schema), sync_id, new_id)


@contextmanager
def _connected(conn_id: str | None, path: str | None, log: Any) -> Iterator[tuple[Any, StateConnection]]:
    if path is not None and not Path(path).exists():  # to connect would make it
        raise SettingError(f"state_path: there is no file {path}")
    engine = file_to_write(path) if path is not None else database(conn_id or "")
    try:
        with closing(StateConnection(engine, log)) as connection:
            yield engine, connection
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
    engine = file_to_read(path) if path is not None else database(conn_id or "")
    if engine.dialect.name == "sqlite" and engine.url.database:  # to connect would make the file
        engine = file_to_read(engine.url.database)
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


def reset_state(
    sync_id: str,
    selection: Selection,
    *,
    cursor: Any,
    is_all: bool,
    conn_id: str | None,
    schema: str | None,
    path: str | None,
    log: Any = LOG,
) -> int:
    """Forget what a sync knows, or make some of it due again; return the number of entries.

    :param sync_id: whose state it is.
    :param selection: what is made due again.
    :param cursor: sets the mark of the sync's cursor back; without a selection nothing else is done.
    :param is_all: whether nothing was selected, so that all is forgotten.
    :param conn_id: as for open_state(); so are ``schema`` and ``path``.
    :param schema: of the connection.
    :param path: of a SQLite file.
    :param log: is told who holds the state.
    """
    holder = Holder(run_id=f"reset of {sync_id}")
    with open_state(sync_id, None, holder, conn_id=conn_id, schema=schema, path=path, mode="reset", log=log) as state:
        _set_back(state, cursor, reads_some=not is_all, log=log)
        if is_all:
            return 0 if cursor is not None else state.forget()
        return state.make_due(selection)


def _set_back(state: State, cursor: Any, *, reads_some: bool, log: Any) -> None:
    """Set the mark of a cursor back, or say that rows before it are not read."""
    record = state.filters.record()
    mark = read_mark(record.cursor_mark if record is not None else None)
    if cursor is not None:
        if record is None or mark is None:
            raise SettingError(f"cursor: sync_id {state.sync_id!r} has no mark that could be set back")
        state.filters.keep_record(record._replace(cursor_mark=mark.set_back(cursor).written()))
    elif mark is not None and reads_some:
        log.warning("Rows before the mark of the cursor %s are not read: give cursor, to set it back", mark.column)


def numbers_of_keys(keys: Sequence[Any]) -> list[int]:
    """Return the numbers that keys may have in a state, where they may be of other types.

    :param keys: values, or tuples of them where the key has several columns.
    """
    rows = [key if isinstance(key, (list, tuple)) else [key] for key in keys]
    found = key_bytes(list(zip(*rows, strict=True)))
    forms = [key for key in found if key is not None] + [form for row in rows for form in other_forms(row)]
    return numbers_of(list(dict.fromkeys(forms)))
