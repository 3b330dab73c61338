"""SqlToSegmentTaskGroup: one sync on all workers that Airflow has."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from airflow_provider_segment.compat import TaskGroup, max_map_length
from airflow_provider_segment.core.changes.shared_run import BUCKETS, PICKUP_SECONDS
from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.core.options import positive
from airflow_provider_segment.transfers.group_tasks import (
    SqlToSegmentFinalizeOperator,
    SqlToSegmentPlanOperator,
    SqlToSegmentSendOperator,
)
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator


class SqlToSegmentTaskGroup(TaskGroup):
    """Send the rows of a query from several tasks at once, with one state and one report (docs/many-workers.md).

    Its tasks are ``plan``, which lays out the rows in the warehouse and checks caps and deletions; ``send``, mapped,
    each of which sends a part of them; and ``finalize``, which ends the run, makes the calls of keys that are gone, and
    returns the report of the whole. The DAG run is red when any of them is.

    :param group_id: of the group; the default of ``sync_id`` is ``<dag_id>.<group_id>``.
    :param shards: tasks that send, at most; default 4, and no more than Airflow's ``max_map_length``, nor 1,024.
    :param rows_per_shard: fewer tasks send where these are as many rows; default 50,000.
    :param pickup_timeout: seconds for which the state is held for tasks that wait in a queue; default 3,600.
    :param lease_timeout: seconds to wait for another run of the sync to end, before ``plan`` fails for a retry;
        default 60.
    :param plan_args: more arguments of the task ``plan``, such as ``{"pool": "warehouse"}``.
    :param send_args: the same for ``send``, such as ``{"retries": 3, "max_active_tis_per_dagrun": 4}``.
    :param finalize_args: the same for ``finalize``, such as ``{"outlets": [segment_asset]}``.
    :param kwargs: those of SqlToSegmentOperator, which mean the same for the whole, but ``warehouse_schema`` is needed
        in each mode, and there is no ``cursor``; ``events_per_second`` of the connection is divided among the tasks
        that send, ``max_in_flight`` is for each. Others are Airflow's for a TaskGroup, such as ``default_args``.
    :raises ValueError: when the DAG is parsed, if a setting is not what it should be.
    """

    def __init__(
        self,
        group_id: str,
        *,
        shards: int = 4,
        rows_per_shard: int = 50_000,
        pickup_timeout: int = PICKUP_SECONDS,
        lease_timeout: int = 60,
        plan_args: Mapping[str, Any] | None = None,
        send_args: Mapping[str, Any] | None = None,
        finalize_args: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        most = min(BUCKETS, max_map_length())
        if positive("shards", shards) > most:
            raise SettingError(
                f"shards: expected at most {most:,} (Airflow's max_map_length, and 1,024), found {shards:,}"
            )
        of_sync = {name: kwargs.pop(name) for name in _PARAMETERS if name in kwargs}
        of_sync |= {"pickup_timeout": pickup_timeout, "lease_timeout": lease_timeout}
        super().__init__(group_id=group_id, **kwargs)
        with self:
            of_plan = {"shards": shards, "rows_per_shard": rows_per_shard} | dict(plan_args or {})
            plan = SqlToSegmentPlanOperator(task_id="plan", **of_sync, **of_plan)
            sends = SqlToSegmentSendOperator.partial(task_id="send", **of_sync, **send_args or {})
            send = sends.expand(shard=plan.output)
            finalize = SqlToSegmentFinalizeOperator(task_id="finalize", **of_sync, **finalize_args or {})
            # A teardown runs whatever became of the others; as a plain task it would make the run green.
            plan >> send >> finalize.as_teardown(setups=plan, on_failure_fail_dagrun=True)


_PARAMETERS = frozenset(inspect.signature(SqlToSegmentOperator.__init__).parameters) - {"self", "kwargs"}
