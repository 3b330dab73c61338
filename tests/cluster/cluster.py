"""A whole Airflow on this machine: scheduler, DAG processor, triggerer, API server, a redis, two Celery workers."""

from __future__ import annotations

import datetime as dt
import itertools
import os
import secrets
import socket
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery import Celery
from cryptography.fernet import Fernet
from redis import RedisError
from rest_api import DagRun, RestApi
from services import Broker, Service, Worker
from waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 180.0
# A task whose worker is gone is noticed after so many seconds without a heartbeat.
HEARTBEAT_SECONDS = 10
_numbers = itertools.count(1)


class Cluster:
    """An Airflow whose parts are all processes of their own; each part can be killed and started again.

    :param home: an empty directory, with the DAGs, the logs and what each process wrote.
    :param database: Airflow's own: the URL of an empty PostgreSQL database, for SQLAlchemy.
    :param connections: for its tasks, by id, as JSON.
    """

    def __init__(self, home: Path, database: str, connections: Mapping[str, str]) -> None:
        self._dags, self._logs = home / "dags", home / "logs"
        self._dags.mkdir()
        self._home = home
        self.broker = Broker(_free_port(), home)
        self.api = RestApi(f"http://127.0.0.1:{_free_port()}")
        self._environment = os.environ | _settings(home, database, self.broker.url, self.api.url)
        self._environment |= {f"AIRFLOW_CONN_{name.upper()}": text for name, text in connections.items()}
        self.workers = [Worker(f"worker-{number}", self._environment, home) for number in (1, 2)]
        parts = ("api-server", "scheduler", "dag-processor", "triggerer")
        self.parts = {part: Service(part, _command(part), self._environment, home) for part in parts}

    def start(self) -> None:
        """Start all, and wait until all are ready."""
        self.broker.start()
        for worker in self.workers:  # they need no database of Airflow's: they come up while it is made
            worker.start()
        self._make_database()
        for part in self.parts.values():
            part.start()
        wait_for("Airflow", self._ready, START_SECONDS, every=0.5)
        self.wait_for_workers()

    def stop(self) -> None:
        """Kill all that was started."""
        for service in (*self.workers, *self.parts.values(), self.broker):
            service.kill()

    def wait_for_workers(self, seconds: float = START_SECONDS) -> None:
        """Wait until both workers answer, as after a kill and a start."""
        wait_for("answer of both workers", self._workers_answer, seconds)

    def add_dag(self, dag_id: str, source: str) -> None:
        """Write a DAG's file, or write it anew, and wait until Airflow has read it.

        :param dag_id: the id of the DAG; there is one in a file.
        :param source: the text of the file; it may be indented.
        :raises AssertionError: when Airflow cannot import it, with Airflow's words.
        """
        path, written = self._dags / f"{dag_id}.py", dt.datetime.now(dt.UTC)
        whole = path.with_suffix(".new")
        whole.write_text(textwrap.dedent(source))
        whole.replace(path)
        wait_for(f"DAG {dag_id}", lambda: self._is_read(dag_id, written), 60, every=0.25)

    def trigger(
        self,
        dag_id: str,
        logical_date: dt.datetime | None = None,
        conf: Mapping[str, Any] | None = None,
        run_id: str | None = None,
    ) -> DagRun:
        """Start a run of a DAG.

        :param dag_id: the DAG.
        :param logical_date: of the run; default none.
        :param conf: of the run.
        :param run_id: default a new one.
        """
        run_id = run_id or f"run_{next(_numbers)}"
        date = logical_date and logical_date.isoformat()
        body = {"dag_run_id": run_id, "logical_date": date, "conf": dict(conf or {})}
        assert self.api.ask("POST", f"/dags/{dag_id}/dagRuns", body), f"no DAG {dag_id}"
        return DagRun(self.api, self._logs, dag_id, run_id)

    def _make_database(self) -> None:
        command = _command("db", "migrate")
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)  # noqa: S603  our own command
        assert done.returncode == 0, done.stdout + done.stderr

    def _ready(self) -> bool:
        for service in (self.broker, *self.workers, *self.parts.values()):
            service.check()
        return self.api.healthy()

    def _workers_answer(self) -> bool:
        for worker in self.workers:
            worker.check()
        names = [f"celery@{worker.name}" for worker in self.workers]
        # A connection that is left over from before a kill of redis fails once.
        with suppress(RedisError), Celery(broker=self.broker.url) as app:
            return len(app.control.inspect(names, timeout=1, limit=len(names)).ping() or {}) == len(names)
        return False

    def _is_read(self, dag_id: str, written: dt.datetime) -> bool:
        for error in self.api.ask("GET", "/importErrors")["import_errors"]:
            assert not error["filename"].endswith(f"{dag_id}.py"), error["stack_trace"]
        dag = self.api.ask("GET", f"/dags/{dag_id}")
        return bool(dag and not dag["is_stale"] and dt.datetime.fromisoformat(dag["last_parsed_time"]) > written)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "airflow", *arguments]


def _settings(home: Path, database: str, broker: str, url: str) -> dict[str, str]:
    secret = secrets.token_hex(32)
    paths = [str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    settings = {
        "core": {
            "dags_folder": home / "dags",
            "executor": "CeleryExecutor",
            "parallelism": 32,
            "fernet_key": Fernet.generate_key().decode(),
            "dags_are_paused_at_creation": False,
            "simple_auth_manager_all_admins": True,
            "execution_api_server_url": f"{url}/execution/",
            "hostname_callable": "worker_name.get",
        },
        "logging": {"base_log_folder": home / "logs"},
        "database": {"sql_alchemy_conn": database},
        "api": {
            "base_url": url,
            "host": "127.0.0.1",
            "port": url.rpartition(":")[2],
            "workers": 1,
            "secret_key": secret,
        },
        "api_auth": {"jwt_secret": secret},
        "celery": {"broker_url": broker, "result_backend": f"db+{database}"},
    }
    environment = {
        f"AIRFLOW__{section}__{name}".upper(): str(value)
        for section, options in (settings | _PACE).items()
        for name, value in options.items()
    }
    return environment | {"AIRFLOW_HOME": str(home), "PYTHONPATH": os.pathsep.join(paths)}


# What waits for minutes in production is looked at each second.
_PACE: dict[str, dict[str, Any]] = {
    "scheduler": {
        "job_heartbeat_sec": 1,
        "scheduler_heartbeat_sec": 1,
        "scheduler_idle_sleep_time": 0.3,
        "task_instance_heartbeat_sec": 1,
        "task_instance_heartbeat_timeout": HEARTBEAT_SECONDS,
        "task_instance_heartbeat_timeout_detection_interval": 2,
        # Also the life of the token with which a task starts.
        "task_queued_timeout": 60,
        "task_queued_timeout_check_interval": 5,
    },
    "workers": {"min_heartbeat_interval": 1},
    "dag_processor": {
        "refresh_interval": 1,
        "bundle_refresh_check_interval": 1,
        # A file that did not change is not read again.
        "min_file_process_interval": 3600,
        "stale_bundle_cleanup_interval": 0,
    },
}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
