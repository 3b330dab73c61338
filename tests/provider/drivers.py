"""Connections that behave as a driver's source says, for the databases that cannot run here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from airflow.providers.sqlite.hooks.sqlite import SqliteHook


class MadeUpConnection:
    """A connection of PEP 249 with one cursor; what is done to it is in `done`, in order.

    :param module: the driver's module that the classes seem to be of, such as "snowflake.connector.connection".
    :param description: of the cursor when the query has run: names, or whole descriptions.
    :param rows: what it returns.
    :param on: what happens at "execute", "fetchmany", "commit" ..., called with the connection; it may raise.
    """

    def __init__(
        self,
        module: str,
        description: Sequence[Any] | None,
        rows: Sequence[Any] = (),
        on: dict[str, Callable[[MadeUpConnection], Any]] | None = None,
    ) -> None:
        self.__class__ = type(type(self).__name__, (type(self),), {"__module__": module})
        self.description = description and [
            (name, None, None, None, None, None, None) if isinstance(name, str) else name for name in description
        ]
        self.rows = list(rows)
        self.done: list[str] = []
        self.fetched = 0  # rows asked for, by the last fetchmany()
        self._on = on or {}
        self._cursor = MadeUpCursor(self, module)

    def happens(self, what: str, shown: str | None = None) -> Any:
        """Note what was done, and let happen what the test wants to happen then."""
        self.done.append(shown or what)
        return self._on[what](self) if what in self._on else None

    def cursor(self, *_: Any, **__: Any) -> MadeUpCursor:
        """Return the cursor."""
        return self._cursor

    def commit(self) -> None:
        """Commit."""
        self.happens("commit")

    def rollback(self) -> None:
        """Roll back."""
        self.happens("rollback")

    def close(self) -> None:
        """Close."""
        self.happens("close")


class MadeUpCursor:
    """The cursor of a made-up connection.

    :param connection: whose it is.
    :param module: as for the connection.
    """

    arraysize = 1
    rowcount = -1

    def __init__(self, connection: MadeUpConnection, module: str) -> None:
        self.__class__ = type(type(self).__name__, (type(self),), {"__module__": module})
        self.connection = connection
        self.description: Any = None

    def execute(self, sql: str, parameters: Any = None) -> None:
        """Run a query."""
        self.connection.happens("execute", f"execute {sql}")
        self.description = self.connection.description

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return the next rows."""
        self.connection.fetched = size or self.arraysize
        self.connection.happens("fetchmany")
        rows = self.connection.rows
        page, self.connection.rows = rows[: size or self.arraysize], rows[size or self.arraysize :]
        return page

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        return next(iter(self.fetchmany(1)), None)

    def close(self) -> None:
        """Close."""
        self.connection.happens("close", "close cursor")


def driver_error(name: str, *args: Any, **attributes: Any) -> Exception:
    """Return an error as a driver raises it.

    :param name: its module and class, such as "snowflake.connector.errors.ProgrammingError".
    :param args: of the error.
    :param attributes: that the driver's source gives it.
    """
    module, _, kind = name.rpartition(".")
    made: Exception = type(kind, (Exception,), {"__module__": module, **attributes})(*args)
    return made


def hand_out(connection: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the id of an Airflow connection whose hook, SQLite's, hands out another driver's or a made-up one."""
    monkeypatch.setenv("AIRFLOW_CONN_MADE_UP", '{"conn_type": "sqlite", "host": "made-up"}')
    monkeypatch.setattr(SqliteHook, "get_conn", lambda _: connection)
    return "made_up"
