"""A person who answers what a DAG run asks (Airflow 3.1 and later), as the page *Required Actions* does."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from functools import cache
from typing import Any, Self

import pytest

CAN_BE_ASKED = importlib.util.find_spec("airflow.models.hitl") is not None
WAITS = "Waiting for Human-in-the-loop input"


class Person(logging.Handler):
    """Answers by Airflow's REST API, each time that `dag.test()` says in its log that it waits.

    A thread that answers as soon as it sees the question may be too early: `dag.test()` writes once more that the task
    waits, and so undoes the answer.

    :param answers: to the first question, the second one, and so on.
    :param meanwhile: is called between each question and its answer.
    """

    def __init__(self, *answers: str, meanwhile: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.asked: list[dict[str, Any]] = []
        self._answers = iter(answers)
        self._meanwhile = meanwhile
        self._log = logging.getLogger("airflow.sdk.definitions.dag")
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> Self:
        self._patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "True")  # the API asks for no token then
        self._api = _api()
        self._log.addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        self._log.removeHandler(self)
        self._patch.undo()

    def emit(self, record: logging.LogRecord) -> None:
        """Answer the newest question; what goes wrong is raised in `dag.test()`, and ends it."""
        if not record.getMessage().startswith(WAITS):
            return
        newest = {"state": "awaiting_input", "order_by": "-created_at", "limit": 1}
        (question,) = self._ask("GET", "/dags/~/dagRuns/~/hitlDetails", params=newest)
        self.asked.append(question)
        self._meanwhile()
        task = question["task_instance"]
        run = f"/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}"
        answer = {"chosen_options": [next(self._answers)]}
        self._ask("PATCH", f"{run}/taskInstances/{task['task_id']}/{task['map_index']}/hitlDetails", json=answer)

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        answer = self._api.request(method, f"/api/v2{path}", **more)
        assert answer.is_success, answer.text
        return answer.json().get("hitl_details")


@cache
def _api() -> Any:
    """Return a client of Airflow's web server, which answers in this process."""
    from airflow.api_fastapi.app import create_app
    from fastapi.testclient import TestClient

    return TestClient(create_app(apps="core"))
