"""One task's part of a run that several tasks do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_provider_segment.core.changes.shared_run import SharedRun
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.core.stages import Stage


@dataclass(frozen=True)
class RunPart:
    """What a task does of the run.

    :param stage: of the run.
    :param shared: the task's place in the run's state, with "changes".
    :param senders: tasks that may send at once; each has its share of the connection's ``events_per_second``.
    :param is_done: tells whether an earlier try has done it, of the state, which is a SharedState, or None with "all".
    :param on_end: is called with the state and the report when it went well, while the state is still held.
    """

    stage: Stage
    shared: SharedRun | None = None
    senders: int = 1
    is_done: Callable[[Any], bool] = lambda _: False
    on_end: Callable[[Any, Report], None] = lambda *_: None
