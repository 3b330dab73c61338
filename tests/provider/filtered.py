"""Tables in real databases, and syncs of them with the filter in the warehouse, on the client, or without one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from groups import GroupRun
from mariadb import MariadbWarehouse
from warehouses import PostgresWarehouse

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

USERS = Identify("id", traits=["email"])
LEFT = Track(Constant("Left"), "id", on_change="deleted")
DATABASES = ["postgres", "mariadb", "duckdb", "sqlite"]
# Sent by one task, or by those of a group.
FILTERS = ["warehouse", "client", "none", "group"]


class Source:
    """A database with tables of users.

    :param kind: "postgres", "mariadb", "duckdb" or "sqlite"; its connection has this name.
    :param schema: where the filter's tables may be made.
    :param run: runs a statement, and returns its rows.
    :param text: the type of texts that compares them without regard to case, where the database has one.
    """

    def __init__(self, kind: str, schema: str, run: Callable[[str], list[Any]], text: str = "TEXT") -> None:
        self.kind, self.schema, self.run, self.text = kind, schema, run, text

    def fill(self, rows: Sequence[tuple[Any, Any]], table: str = "users", key: str = "INTEGER") -> None:
        """Make a table of ids and emails anew."""
        self.run(f"DROP TABLE IF EXISTS {table}")
        self.run(f"CREATE TABLE {table} (id {key}, email {self.text})")
        self.insert(rows, table)

    def insert(self, rows: Sequence[tuple[Any, Any]], table: str = "users") -> None:
        """Put rows into a table."""
        for at in range(0, len(rows), 500):
            values = ", ".join(f"({_literal(a)}, {_literal(b)})" for a, b in rows[at : at + 500])
            self.run(f"INSERT INTO {table} VALUES {values}")  # noqa: S608

    def tables(self) -> list[str]:
        """The tables of the filter."""
        if self.kind == "sqlite":
            query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        else:
            query = f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{self.schema}'"  # noqa: S608
        return sorted(name for (name,) in self.run(query) if name.startswith("segment_"))


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


@pytest.fixture(params=DATABASES)
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A database of each kind, behind a connection of that name."""
    return made_source(request.param, request, tmp_path, monkeypatch)


def made_source(kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Make a database of one kind."""
    path = tmp_path / f"source.{kind}"
    if kind == "postgres":
        house: PostgresWarehouse = request.getfixturevalue("postgres")

        def run(statement: str) -> list[Any]:
            with house._server.connect(house._database) as connection:
                cursor = connection.execute(statement.encode())
                return cursor.fetchall() if cursor.description else []

        # The server of the tests has neither ICU nor citext: its texts are compared byte by byte.
        return Source(kind, "segment", run)
    if kind == "mariadb":
        maria: MariadbWarehouse = request.getfixturevalue("mariadb")
        maria.run("DROP DATABASE IF EXISTS segment")
        return Source(kind, "segment", maria.run, "VARCHAR(200) COLLATE utf8mb4_general_ci")
    monkeypatch.setenv(f"AIRFLOW_CONN_{kind.upper()}", json.dumps({"conn_type": kind, "host": str(path)}))
    if kind == "duckdb":
        duckdb = pytest.importorskip("duckdb")

        def run_duckdb(statement: str) -> list[Any]:
            with duckdb.connect(str(path)) as connection:
                return list(connection.execute(statement).fetchall())

        return Source(kind, "segment", run_duckdb, "TEXT COLLATE NOCASE")

    def run_sqlite(statement: str) -> list[Any]:
        with closing(sqlite3.connect(path)) as connection, connection:
            return connection.execute(statement).fetchall()

    return Source(kind, "main", run_sqlite, "TEXT COLLATE NOCASE")


class Sync:
    """A sync of a source with one kind of filter.

    :param source: where the rows are.
    :param how: "warehouse", "client", "none", or "group".
    :param path: of the state.
    :param sync_id: of the sync.
    """

    def __init__(self, source: Source, how: str, path: Path, sync_id: str | None = None) -> None:
        self.source, self.how, self.path = source, how, path
        self.sync_id = sync_id or f"users {how}"

    def send(self, **changed: Any) -> dict[str, Any]:
        """Run it, and return its report, whose counts add up."""
        if self.how == "none" and self.path.exists():
            self.state("UPDATE segment_filter SET fingerprint = 'of another mapping'")
        report: dict[str, Any]
        if self.how == "group":
            report = GroupRun(self.settings(**changed) | {"shards": 3, "rows_per_shard": 2}).all()
        else:
            report = SqlToSegmentOperator(task_id="sync", **self.settings(**changed)).execute({})
        assert report["calls"] == sum(
            report[name] for name in ("unchanged", "invalid", "accepted", "rejected", "not_sent")
        )
        return report

    def settings(self, **changed: Any) -> dict[str, Any]:
        """The operator's settings, with some changed."""
        return {
            "sql": "SELECT * FROM users",
            "sql_conn_id": self.source.kind,
            "calls": [USERS, LEFT],
            "key": "id",
            "max_deleted": 1,
            "sync_mode": "changes",
            "sync_id": self.sync_id,
            "state_path": str(self.path),
            "fetch_size": 50,
            "warehouse_schema": self.source.schema if self.how in ("warehouse", "group") else None,
        } | changed

    def state(self, statement: str) -> list[Any]:
        """Run a statement on the state's file."""
        with closing(sqlite3.connect(self.path)) as database, database:
            return database.execute(statement).fetchall()


def kinds(report: dict[str, Any]) -> tuple[int, int, int]:
    """The calls by the kind of the change."""
    return report["added"], report["updated"], report["deleted"]
