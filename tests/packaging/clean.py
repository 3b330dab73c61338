"""An Airflow in a virtual environment of its own, outside of the checkout, into which what we build is installed."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

DAGS = Path(__file__).parent / "dags"
CUSTOMERS = [("c1", "ann@example.com"), ("c2", "bob@example.com"), ("c3", "eve@example.com")]


class CleanAirflow:
    """A virtual environment, and an Airflow that has its home beside it.

    :param folder: is made; outside of the checkout, so that nothing of it can be imported.
    :param requirements: what is installed, as pip reads it.
    :param constraints: a file of the versions that a managed Airflow pins, for all that is ever installed.
    """

    def __init__(self, folder: Path, *requirements: str, constraints: Path | None = None) -> None:
        self._work = folder / "work"
        self._python = folder / "venv" / "bin" / "python"
        self._work.mkdir(parents=True)
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "PYTHON", "PYTEST_"))
        } | {
            "AIRFLOW_HOME": str(folder / "home"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self._work / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "AIRFLOW_CONN_WAREHOUSE": json.dumps({"conn_type": "sqlite", "host": str(self._work / "warehouse.db")}),
        }
        if constraints is not None:
            self._environment["PIP_CONSTRAINT"] = str(constraints)
        done = subprocess.run([sys.executable, "-m", "venv", folder / "venv"], capture_output=True, check=False)  # noqa: S603
        assert done.returncode == 0, done.stdout
        self.install(*requirements)
        self._fill()
        self.airflow("db", "migrate")

    def install(self, *requirements: str) -> None:
        """Install more, as users do."""
        self.python("-m", "pip", "install", "--quiet", *requirements)

    def python(self, *arguments: str, **environment: str) -> str:
        """Run the environment's Python in an empty folder, and return what it printed."""
        return self._done([str(self._python), *arguments], **environment)

    def airflow(self, *arguments: str) -> str:
        """Run one of Airflow's commands, and return what it printed."""
        return self._done([str(self._python.with_name("airflow")), *arguments])

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        """Run one of Airflow's commands that list something, and return it."""
        printed = self.airflow(*arguments, "--output", "json")
        rows: list[dict[str, Any]] = json.loads(printed[printed.index("[{") :])
        return rows

    def try_dag(self, name: str, dag_id: str, **environment: str) -> str:
        """Run a DAG of the folder `dags`, and return all that was said, however it ended."""
        (self._work / "dags").mkdir(exist_ok=True)
        shutil.copy(DAGS / name, self._work / "dags")
        self.airflow("dags", "reserialize")  # Airflow 3.0 tries only what stands in its database
        done = self._run([str(self._python.with_name("airflow")), "dags", "test", dag_id], **environment)
        return done.stdout + done.stderr

    def _fill(self) -> None:
        with closing(sqlite3.connect(self._work / "warehouse.db")) as database:
            database.execute("CREATE TABLE customers (id TEXT PRIMARY KEY, email TEXT)")
            database.executemany("INSERT INTO customers VALUES (?, ?)", CUSTOMERS)
            database.commit()

    def _done(self, command: list[str], **environment: str) -> str:
        done = self._run(command, **environment)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _run(self, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603  our own commands
            command, cwd=self._work, env=self._environment | environment, capture_output=True, text=True, check=False
        )
