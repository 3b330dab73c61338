"""A real MariaDB for the provider's tests, where its server is installed."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa


def until_it_answers(socket: Path) -> Path:
    """Try to connect until it works."""
    deadline = time.monotonic() + 30
    while True:
        try:
            with mariadb(socket, "mysql"):
                return socket
        except sa.exc.OperationalError:
            assert time.monotonic() < deadline, "MariaDB does not answer"
            threading.Event().wait(0.05)


def mariadb(socket: Path, database: str) -> Any:
    """A connection to a database of it."""
    url = sa.engine.URL.create("mysql", "root", host="localhost", database=database, query={"unix_socket": str(socket)})
    return sa.create_engine(url, poolclass=sa.pool.NullPool).connect()
