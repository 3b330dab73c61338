"""The source databases of the provider's tests: a SQLite file, and a database in a real PostgreSQL."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg


class SqliteWarehouse:
    """A SQLite file.

    :param path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def connection(self) -> str:
        """The Airflow connection to it as JSON."""
        return json.dumps({"conn_type": "sqlite", "host": str(self.path)})

    def run(self, script: str) -> None:
        """Run SQL statements."""
        with closing(sqlite3.connect(self.path)) as database, database:
            database.executescript(script)

    def insert(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Put rows into a table."""
        places = ", ".join("?" * len(rows[0]))
        with closing(sqlite3.connect(self.path)) as database, database:
            database.executemany(f"INSERT INTO {table} VALUES ({places})", rows)  # noqa: S608  a table of the test


class PostgresServer:
    """A running PostgreSQL.

    :param uri: of one of its databases, with the directory of its socket as host.
    """

    def __init__(self, uri: str) -> None:
        self.socket = parse_qs(urlsplit(uri).query)["host"][0]
        self._made = 0
        with self.connect("postgres") as connection:  # nothing here must outlive a power cut
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")

    def connect(self, database: str) -> psycopg.Connection[Any]:
        """Return a connection that commits each statement."""
        return psycopg.connect(host=self.socket, user="postgres", dbname=database, autocommit=True)

    def make_database(self) -> str:
        """Make a new database and return its name."""
        self._made += 1
        name = f"warehouse_{self._made}"
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, and whoever is connected to it."""
        with self.connect("postgres") as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


class PostgresWarehouse:
    """A database of its own in a running PostgreSQL.

    :param server: the PostgreSQL.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._database = server.make_database()

    def drop(self) -> None:
        """Drop it."""
        self._server.drop_database(self._database)

    def connection(self, **extra: Any) -> str:
        """Return the Airflow connection to it as JSON."""
        fields = {"host": self._server.socket, "login": "postgres", "schema": self._database, "extra": extra}
        return json.dumps({"conn_type": "postgres", **fields})

    def run(self, statement: str) -> None:
        """Run SQL."""
        with self._server.connect(self._database) as connection:
            connection.execute(statement.encode())

    def count(self, query: str) -> int:
        """Return the one number that a query gives."""
        with self._server.connect(self._database) as connection:
            return int(connection.execute(query.encode()).fetchall()[0][0])

    def kill_readers(self) -> int:
        """End each other session of the database, as an administrator does, and return how many there were."""
        others = "pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        return self.count(f"SELECT count(pg_terminate_backend(pid)) FROM {others}")  # noqa: S608  our own text

    def insert(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Put rows into a table."""
        places = ", ".join(["%s"] * len(rows[0]))
        with self._server.connect(self._database) as connection, connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {table} VALUES ({places})".encode(), rows)  # noqa: S608  of the test
