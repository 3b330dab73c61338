"""Airflow's REST API, and the runs of DAGs as it shows them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import requests
from waiting import wait_for

ENDED = ("success", "failed")


class RestApi:
    """The REST API of a running Airflow.

    :param url: of its API server.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Return the answer, or None if there is no such thing.

        :param path: after `/api/v2`.
        :param body: becomes JSON.
        """
        address, headers = f"{self.url}/api/v2{path}", {"Authorization": f"Bearer {self._token}"}
        answer = requests.request(method, address, json=body, params=query, headers=headers, timeout=30)
        if answer.status_code == requests.codes.not_found:
            return None
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def healthy(self) -> bool:
        """Tell whether all parts that report to it are well."""
        try:
            health = requests.get(f"{self.url}/api/v2/monitor/health", timeout=5)
        except (requests.ConnectionError, requests.Timeout):
            return False
        parts = ("metadatabase", "scheduler", "dag_processor", "triggerer")
        return health.ok and all(health.json()[part]["status"] == "healthy" for part in parts)

    @cached_property
    def _token(self) -> str:
        return str(requests.get(f"{self.url}/auth/token", timeout=30).json()["access_token"])


class DagRun:
    """A run of a DAG.

    :param api: of the Airflow that has it.
    :param logs: the folder of its tasks' logs.
    :param dag_id: the DAG.
    :param run_id: the run.
    """

    def __init__(self, api: RestApi, logs: Path, dag_id: str, run_id: str) -> None:
        self.dag_id, self.run_id = dag_id, run_id
        self._api = api
        self._path = f"/dags/{dag_id}/dagRuns/{run_id}"
        self._logs = logs / f"dag_id={dag_id}" / f"run_id={run_id}"

    @property
    def state(self) -> str:
        """Its state."""
        return str(self._api.ask("GET", self._path)["state"])

    def wait(self, seconds: float = 120.0) -> str:
        """Wait for its end, and return the state."""
        return self.wait_for("end of the run", lambda: (state := self.state) in ENDED and state, seconds)

    def wait_for(self, what: str, look: Callable[[], Any], seconds: float = 120.0) -> Any:
        """Wait for what `look` finds; if it does not come, the error has what the tasks are at."""
        try:
            return wait_for(what, look, seconds, every=0.25)
        except AssertionError as error:
            shown = ("task_id", "map_index", "try_number", "state", "hostname", "pid")
            tasks = [tuple(task[name] for name in shown) for task in self.instances()]
            raise AssertionError(f"{error}; the run is {self.state}: {tasks}") from None

    def instances(self, task_id: str | None = None) -> list[dict[str, Any]]:
        """Return its task instances, or those of one task, by map index: state, try_number, hostname, pid ..."""
        found = self._api.ask("GET", f"{self._path}/taskInstances", limit=1000)["task_instances"]
        ours = [instance for instance in found if task_id in (None, instance["task_id"])]
        return sorted(ours, key=lambda instance: (instance["task_id"], instance["map_index"]))

    def instance(self, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return one task instance."""
        return dict(self._api.ask("GET", f"{self._path}/taskInstances/{task_id}/{map_index}"))

    def tries(self, task_id: str, map_index: int = -1) -> list[dict[str, Any]]:
        """Return the tries of a task instance, first to last, each like an instance."""
        found = self._api.ask("GET", f"{self._path}/taskInstances/{task_id}/{map_index}/tries")
        return sorted(found["task_instances"], key=lambda instance: instance["try_number"])

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return what a task instance left behind, or None."""
        path = f"{self._path}/taskInstances/{task_id}/xcomEntries/{key}"
        found = self._api.ask("GET", path, map_index=map_index, stringify=False)
        return found and found["value"]

    def log(self, task_id: str, map_index: int = -1, try_number: int | None = None) -> str:
        """Return the log of one try of a task instance, or of all, as lines of JSON."""
        folder = self._logs / f"task_id={task_id}" / (f"map_index={map_index}" if map_index >= 0 else "")
        files = sorted(folder.glob(f"attempt={try_number or '*'}.log"), key=lambda file: (len(file.name), file.name))
        return "".join(file.read_text(errors="replace") for file in files)

    def clear(
        self, task_id: str, map_index: int | None = None, *, downstream: bool = True, only_failed: bool = False
    ) -> list[tuple[str, int]]:
        """Clear a task as the pages do, by default with what comes after it.

        :return: what was cleared: task ids and map indexes.
        """
        body = {"dry_run": False, "dag_run_id": self.run_id, "only_failed": only_failed}
        body |= {"task_ids": [task_id if map_index is None else [task_id, map_index]], "include_downstream": downstream}
        found = self._api.ask("POST", f"/dags/{self.dag_id}/clearTaskInstances", body)["task_instances"]
        return sorted((instance["task_id"], instance["map_index"]) for instance in found)

    def mark(self, state: str) -> None:
        """Mark the run as "failed" or "success"."""
        self._api.ask("PATCH", self._path, {"state": state})
