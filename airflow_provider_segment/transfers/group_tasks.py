"""The three tasks of SqlToSegmentTaskGroup: one plans, some send, one ends the run."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_segment.core.changes.shared_run import PICKUP_SECONDS
from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.core.options import positive
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator, check_schema

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_segment.compat import Context
    from airflow_provider_segment.transfers.group_run import GroupRun


class GroupTask(SqlToSegmentOperator):
    """A task of the group; its parameters are those of SqlToSegmentOperator.

    :param pickup_timeout: seconds for which the state is held for a task that waits in a queue.
    :param lease_timeout: seconds to wait for another run that holds the state.
    """

    def __init__(
        self,
        *,
        pickup_timeout: int = PICKUP_SECONDS,
        lease_timeout: int = 60,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pickup_timeout = positive("pickup_timeout", pickup_timeout)
        self.lease_timeout = positive("lease_timeout", lease_timeout)

    @staticmethod
    def _check_schema(schema: object, sync_mode: str) -> None:
        if schema is None:
            raise SettingError("warehouse_schema: a group needs it: the rows to send are laid out there for its tasks")
        check_schema(schema)

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Return what Airflow maps over: the tasks of a group share one state.

        :param kwargs: what all of them share.
        """
        return super(SqlToSegmentOperator, cls).partial(**kwargs)

    def execute(self, context: Context) -> Any:
        """Do this task's part of the run.

        :param context: of the task.
        """
        from airflow_provider_segment.transfers.group_run import GroupRun

        with self._begun(context) as (hook, task_run):
            return self._do(GroupRun(self, hook, task_run, context))

    @abstractmethod
    def _do(self, run: GroupRun) -> Any:
        """Do this task's part of the run, and return its result."""


class SqlToSegmentPlanOperator(GroupTask):
    """Lay out the rows that are due, check caps and deletions, and return which of them each task sends.

    :param shards: tasks that send, at most.
    :param rows_per_shard: fewer of them where these are as many rows.
    """

    def __init__(self, *, shards: int, rows_per_shard: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shards = shards
        self.rows_per_shard = positive("rows_per_shard", rows_per_shard)

    def _do(self, run: GroupRun) -> list[dict[str, Any]]:
        return run.plan(self.shards, self.rows_per_shard)

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any] | None:
        """Return the tables that the query reads; None without OpenLineage."""
        found = super().get_openlineage_facets_on_start()
        if found is not None:
            found.outputs = []
        return found


class SqlToSegmentSendOperator(GroupTask):
    """Send one part of the rows that the plan has laid out.

    :param shard: the part, as the plan returns it.
    """

    def __init__(self, *, shard: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shard = shard

    def _do(self, run: GroupRun) -> dict[str, Any]:
        return run.send(self.shard)


class SqlToSegmentFinalizeOperator(GroupTask):
    """End the run: make the calls of keys that are gone, leave the filter, and return the sum of all reports."""

    def _do(self, run: GroupRun) -> dict[str, Any]:
        return run.finalize()
