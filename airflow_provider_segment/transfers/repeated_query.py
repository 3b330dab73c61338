"""Events in ``sync_mode="all"``: says so when a run asks for what the run before asked for, since all is sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_segment.core.mapping.message_ids import content_digest
from airflow_provider_segment.hooks import task

if TYPE_CHECKING:
    from airflow_provider_segment.compat import Context

KEY = "segment_query"
EVENTS = ("track", "page", "screen")  # they are counted; an Identify or Group that comes again says the same


def warn_if_repeated(operator: Any, context: Context) -> None:
    """Compare the rendered query with that of the task's run before, which left a hash of it as XCom.

    :param operator: whose query it is, rendered.
    :param context: of the task.
    """
    task_run = task.current(context)
    if task_run.instance is None or not any(
        call["call"] in EVENTS and call.get("enabled", True) for call in operator.calls
    ):
        return
    dag_id, task_id, run_id, _ = task_run.ids
    asked = content_digest([dag_id, task_id, operator.sql_conn_id, operator.sql, operator.parameters]).hex()
    before = _left_before(operator, task_run)
    task_run.push(KEY, {"run_id": run_id, "query": asked})
    if before.get("query") == asked and before["run_id"] != run_id:
        operator.log.warning(
            "The query and its parameters are those of the run before (%s). With sync_mode='all' each run sends all of "
            "its rows as new events. To send each row once, use sync_mode='changes' with a key and a state, or a query "
            "of the rows of the run's own window: docs/windows.md",
            before["run_id"],
        )


def _left_before(operator: Any, task_run: task.TaskRun) -> dict[str, Any]:
    """Return what the latest run left that is not later than this one; empty where that is not known."""
    try:
        found = task_run.instance.xcom_pull(
            task_ids=task_run.ids[1], key=KEY, map_indexes=task_run.ids[3], include_prior_dates=True
        )
    except Exception as error:  # noqa: BLE001  the run can do without it
        operator.log.info("What the run before asked for is not known (%s)", type(error).__name__)
        return {}
    return found if isinstance(found, dict) else {}
