"""What a run's data interval has to do with a query that found no rows, or too few: docs/windows.md."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_provider_segment.core.errors import TooFewRowsError
from airflow_provider_segment.hooks import task

if TYPE_CHECKING:
    from airflow_provider_segment.compat import Context


def hint(context: Context | None) -> str:
    """Return a sentence about the run's data interval, with a full stop before it; nothing outside a task.

    :param context: of the task; by default the one that Airflow says is current.
    """
    known = task.current_context() if context is None else context
    start, end = known.get("data_interval_start"), known.get("data_interval_end")
    if start is None or end is None:
        return ". This run has no data interval (docs/windows.md)" if known.get("run_id") else ""
    if start == end:
        return (
            f". The run's data interval is empty, it starts and ends at {start.isoformat()}: a query for the rows in "
            "it finds none (docs/windows.md)"
        )
    return f". The run's data interval is {start.isoformat()} to {end.isoformat()}"


@contextmanager
def explained(context: Context | None) -> Iterator[None]:
    """Let the error of too few rows say what the run's data interval is.

    :param context: as for :func:`hint`.
    :raises TooFewRowsError: with it.
    """
    try:
        yield
    except TooFewRowsError as error:
        error.args = (f"{error}{hint(context)}",)
        raise
