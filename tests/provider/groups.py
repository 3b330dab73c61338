"""The tasks of a group, run one after another in this process, with a stand-in of Airflow that keeps their XComs."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from airflow_provider_segment.transfers.group_tasks import (
    SqlToSegmentFinalizeOperator,
    SqlToSegmentPlanOperator,
    SqlToSegmentSendOperator,
)

_runs = itertools.count(1)


class Instance:
    """A task instance, as far as our tasks ask it.

    :param group: whose task it is.
    :param name: of the task.
    :param map_index: of a mapped task.
    """

    def __init__(self, group: GroupRun, name: str, map_index: int = -1) -> None:
        self.dag_id, self.task_id, self.run_id = "dag", f"{group.group_id}.{name}", group.run_id
        group.tries[name, map_index] += 1
        self.map_index, self.try_number = map_index, group.tries[name, map_index]
        self._xcoms = group.xcoms

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep what a task leaves."""
        self._xcoms[self.task_id, self.map_index, key] = value

    def xcom_pull(self, task_ids: Sequence[str], key: str) -> list[Any]:
        """Return what some tasks have left."""
        found = sorted(self._xcoms.items(), key=lambda item: item[0][1])
        return [value for (task, _, name), value in found if task in task_ids and name == key]


class GroupRun:
    """One run of a group.

    :param settings: of the group.
    :param run_id: of the DAG run; the same one is a run that was cleared.
    """

    def __init__(self, settings: dict[str, Any], run_id: str | None = None) -> None:
        self.settings, self.group_id = settings, "users"
        self.run_id = run_id or f"run_{next(_runs)}"
        self.xcoms: dict[tuple[str, int, str], Any] = {}
        self.tries: Counter[tuple[str, int]] = Counter()

    def plan(self) -> list[dict[str, Any]]:
        """Run `plan`, and return the shards."""
        shards: list[dict[str, Any]] = self._run(SqlToSegmentPlanOperator, "plan")
        return shards

    def send(self, number: int, **changed: Any) -> dict[str, Any]:
        """Run one `send`."""
        shard = self.xcoms[f"{self.group_id}.plan", -1, "return_value"][number]
        result: dict[str, Any] = self._run(SqlToSegmentSendOperator, "send", number, shard=shard, **changed)
        return result

    def finalize(self) -> dict[str, Any]:
        """Run `finalize`, and return the report of the whole."""
        report: dict[str, Any] = self._run(SqlToSegmentFinalizeOperator, "finalize")
        return report

    def all(self) -> dict[str, Any]:
        """Run the group; `finalize` runs also where a task that sends has failed, as a teardown does."""
        failed: Exception | None = None
        for number in range(len(self.plan())):
            try:
                self.send(number)
            except Exception as error:  # noqa: BLE001  whatever it is, it is raised at the end
                failed = failed or error
        try:
            return self.finalize()
        finally:
            if failed is not None:
                raise failed

    def _run(self, operator: Callable[..., Any], name: str, map_index: int = -1, **changed: Any) -> Any:
        instance = Instance(self, name, map_index)
        for key in ("return_value", "report", "plan"):
            self.xcoms.pop((instance.task_id, map_index, key), None)
        size = {"shards": 4, "rows_per_shard": 50_000} if name == "plan" else {}
        own = {key: value for key, value in self.settings.items() if key not in ("shards", "rows_per_shard")}
        own |= {key: self.settings.get(key, default) for key, default in size.items()}
        task = operator(task_id=instance.task_id, **own | changed)
        result = task.execute({"ti": instance, "run_id": self.run_id, "task": task})
        instance.xcom_push("return_value", result)
        return result
