"""How a task takes part in a run that several tasks do: one plans it, others send, and one ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_segment.core.changes.holder import Holder

PICKUP_SECONDS = 3_600
# Rows that must be sent by one task lie in one bucket; a task sends some buckets.
BUCKETS = 1_024


@dataclass(frozen=True)
class SharedRun:
    """A task's place in such a run.

    :param run: the number of the run, which another task has planned; None plans one, or goes on with that which an
        earlier try of the same task has planned, where it has not ended.
    :param generation: of the state then: one that was reset since counts its runs from 1 again.
    :param part: which part of the run's rows the task sends; None for the tasks that plan and end it.
    :param pickup_seconds: for so long the lease is held for a task that waits in a queue.
    :param wait_seconds: for so long another run's end is waited for.
    :param has_ended: tells whether the tasks of a run have ended, though none of them has given the lease back.
    """

    run: int | None = None
    generation: str | None = None
    part: int | None = None
    pickup_seconds: int = PICKUP_SECONDS
    wait_seconds: float = 60.0
    has_ended: Callable[[Holder], bool] = lambda _: False
