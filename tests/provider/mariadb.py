"""A real MariaDB for the provider's tests, as a source and for the state; skipped, with a word, where it is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

# Nothing here must outlive a power cut.
SETTINGS = ["--skip-networking", "--innodb-flush-method=nosync", "--innodb-flush-log-at-trx-commit=0"]


class MariadbWarehouse:
    """The database `w` of a running MariaDB, emptied.

    :param socket: of the server.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        for statement in ("DROP DATABASE IF EXISTS w", "CREATE DATABASE w"):
            self.run(statement, "mysql")

    def connection(self, **extra: Any) -> str:
        """Return the Airflow connection to it as JSON."""
        extra = {"unix_socket": str(self._socket), **extra}
        return json.dumps({"conn_type": "mysql", "login": "root", "schema": "w", "extra": extra})

    def connect(self, database: str = "w") -> Any:
        """Return a connection that commits each statement."""
        import MySQLdb

        return MySQLdb.connect(unix_socket=str(self._socket), user="root", db=database, autocommit=True)

    def run(self, statement: str, database: str = "w") -> list[tuple[Any, ...]]:
        """Run SQL, and return its rows."""
        with closing(self.connect(database)) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def count(self, query: str) -> int:
        """Return the one number that a query gives."""
        return int(self.run(query)[0][0])

    def kill_readers(self) -> int:
        """End each other session of the database, as an administrator does, and return how many there were."""
        ids = self.run("SELECT id FROM information_schema.processlist WHERE db = 'w' AND id <> connection_id()")
        for (number,) in ids:
            self.run(f"KILL {number}")
        return len(ids)


@contextmanager
def running() -> Iterator[Path]:
    """Run a server, and lend the path of its socket."""
    install, server = (
        shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("mariadb-install-db", "mariadbd")
    )
    if install is None or server is None:
        pytest.skip("MariaDB is not installed")
    pytest.importorskip("airflow.providers.mysql", reason="apache-airflow-providers-mysql is not installed")
    user = ["--user=mysql"] if os.getuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="segment-mariadb-", ignore_cleanup_errors=True) as folder:
        data, socket = Path(folder) / "data", Path(folder) / "s"
        if user:
            shutil.chown(folder, "mysql")
        making = [install, *user, f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(making, check=True, capture_output=True)  # noqa: S603  our own command
        command = [server, "--no-defaults", *user, f"--datadir={data}", f"--socket={socket}", *SETTINGS]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603  the same
        try:
            _until_it_answers(socket)
            yield socket
        finally:
            process.kill()
            process.wait()


def _until_it_answers(socket: Path) -> None:
    import MySQLdb

    deadline = time.monotonic() + 30
    while True:
        try:
            MySQLdb.connect(unix_socket=str(socket), user="root", db="mysql").close()
        except MySQLdb.OperationalError:
            assert time.monotonic() < deadline, "MariaDB does not answer"
            threading.Event().wait(0.05)
        else:
            return


def connected(socket: Path) -> sa.engine.Connection:
    """Return a connection of SQLAlchemy to the database `w`, which does not commit by itself."""
    url = sa.engine.URL.create("mysql", "root", host="localhost", database="w", query={"unix_socket": str(socket)})
    return sa.create_engine(url, poolclass=sa.pool.NullPool).connect()
