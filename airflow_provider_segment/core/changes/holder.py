"""Who runs a sync: the name by which a lease is held, and by which a run is written down."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Holder:
    """One try of a task in a DAG run; outside of a task only the run's id is set.

    :param dag_id: of the task.
    :param task_id: of the task.
    :param run_id: of the DAG run; outside of a task anything that no other run has.
    :param map_index: of a mapped task; -1 for others.
    :param try_number: which try it is.
    """

    dag_id: str = ""
    task_id: str = ""
    run_id: str = ""
    map_index: int = -1
    try_number: int = 0

    @property
    def name(self) -> str:
        """The same for all tries of a task in a run: a later one may go on where an earlier one was killed."""
        return "/".join(map(str, (self.dag_id, self.task_id, self.run_id, self.map_index)))

    def __str__(self) -> str:
        """Return what an operator looks for in Airflow."""
        if not self.dag_id:
            return "a run outside of a task"
        mapped = f", map index {self.map_index}" if self.map_index >= 0 else ""
        return f"DAG {self.dag_id}, task {self.task_id}{mapped}, run {self.run_id}, try {self.try_number}"
