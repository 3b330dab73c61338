"""A whole Airflow for the browser: its web server on a free port, and on wish what runs its DAGs."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import airflow
import requests
from cryptography.fernet import Fernet
from waiting import wait_for

IN_AIRFLOW_2 = airflow.__version__.startswith("2.")
USER, PASSWORD = "admin", "admin"
START_SECONDS = 180.0
ROOT = Path(__file__).resolve().parents[2]


class Deployment:
    """An Airflow with a home, a database and a port of its own.

    :param home: an empty directory.
    :param connections: for its tasks, by id; its web pages do not show them.
    :param settings: more of its environment.
    """

    def __init__(self, home: Path, connections: Mapping[str, str], settings: Mapping[str, str] | None = None) -> None:
        self.url = f"http://127.0.0.1:{_free_port()}"
        self._home = home
        self._environment = os.environ | _settings(home, self.url)
        self._environment |= {f"AIRFLOW_CONN_{name.upper()}": text for name, text in connections.items()}
        self._environment |= settings or {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def serve(self) -> None:
        """Start the web server, and wait until it answers."""
        self.run("db", "migrate")
        if IN_AIRFLOW_2:
            who = ("--firstname", "A", "--lastname", "B", "--email", "a@example.com", "--role", "Admin")
            self.run("users", "create", "--username", USER, "--password", PASSWORD, *who)
        self._start("webserver" if IN_AIRFLOW_2 else "api-server")
        wait_for("web server", self._answers, START_SECONDS)

    def run_dags(self) -> None:
        """Start what runs DAGs, unless it runs already."""
        for part in ("scheduler", "dag-processor"):
            if part not in self._children:
                self._start(part)

    def run(self, *arguments: str) -> str:
        """Run one of Airflow's commands to its end, and return what it wrote."""
        return self.run_python("-m", "airflow", *arguments)

    def run_python(self, *arguments: str) -> str:
        """Run Python beside this Airflow to its end, and return what it wrote."""
        command = [sys.executable, *arguments]
        done = subprocess.run(  # noqa: S603  our own command
            command, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Ask Airflow 3's REST API, which knows more than the pages."""
        answer = requests.request(method, f"{self.url}/api/v2{path}", json=body, headers=self._pass(), timeout=30)
        assert answer.ok or answer.status_code == requests.codes.not_found, answer.text
        return answer.json() if answer.ok else None

    def saved(self, conn_id: str) -> dict[str, Any]:
        """Return a connection as it stands in the database, decrypted; its extra is an object."""
        query = "SELECT description, host, password, extra FROM connection WHERE conn_id = ?"
        with closing(sqlite3.connect(self._home / "airflow.db")) as database:
            description, host, *secret = database.execute(query, (conn_id,)).fetchone()
        box = Fernet(self._environment["AIRFLOW__CORE__FERNET_KEY"])
        password, extra = (box.decrypt(text.encode()).decode() if text else "" for text in secret)
        return {"description": description, "host": host, "password": password, "extra": json.loads(extra or "{}")}

    def stop(self) -> None:
        """End all that was started, in reverse."""
        for child in reversed(self._children.values()):
            with suppress(ProcessLookupError):  # it ended by itself, and its error is told already
                os.killpg(child.pid, signal.SIGTERM)
        for child in self._children.values():
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()

    def log(self, part: str) -> str:
        """Return the end of what a part wrote."""
        return (self._home / f"{part}.out").read_text(errors="replace")[-4000:]

    def _start(self, part: str) -> None:
        with (self._home / f"{part}.out").open("wb") as out:
            self._children[part] = subprocess.Popen(  # noqa: S603  our own command
                _command(part), env=self._environment, stdout=out, stderr=out, start_new_session=True
            )

    def _answers(self) -> bool:
        for part, child in self._children.items():
            assert child.poll() is None, self.log(part)
        try:
            return requests.get(f"{self.url}/{'health' if IN_AIRFLOW_2 else 'api/v2/version'}", timeout=5).ok
        except (requests.ConnectionError, requests.Timeout):
            return False

    def _pass(self) -> dict[str, str]:
        token = requests.get(f"{self.url}/auth/token", timeout=30).json()["access_token"]
        return {"Authorization": f"Bearer {token}"}


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "airflow", *arguments]


def _settings(home: Path, url: str) -> dict[str, str]:
    port = url.rpartition(":")[2]
    secret = secrets.token_hex(32)
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode(),
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": secret,
        "AIRFLOW__API_AUTH__JWT_SECRET": secret,
        "AIRFLOW__WEBSERVER__BASE_URL": url,
        "AIRFLOW__WEBSERVER__WEB_SERVER_HOST": "127.0.0.1",
        "AIRFLOW__WEBSERVER__WEB_SERVER_PORT": port,
        "AIRFLOW__WEBSERVER__WORKERS": "1",
        "AIRFLOW__WEBSERVER__SECRET_KEY": secret,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
