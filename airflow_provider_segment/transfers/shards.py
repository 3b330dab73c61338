"""Mapped tasks in ``sync_mode="changes"``: each shard needs a state of its own, which knows nothing of the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_segment.core.errors import SettingError

if TYPE_CHECKING:
    from airflow_provider_segment.compat import Context

_WAY = (
    "sync_id: mapped tasks with sync_mode='changes' share one state; give each shard its own: "
    ".partial(...).expand_kwargs([{'parameters': ..., 'sync_id': 'users-eu'}, ...])"
)


def sharded(partial: Any) -> Any:
    """Return what Airflow's ``partial`` gave, so that expanding it checks the shards.

    :param partial: Airflow's OperatorPartial, which is another class in Airflow 2 and 3.
    """
    if "sync_id" in partial.kwargs:
        raise SettingError(_WAY)
    kind: Any = type(partial)

    class ShardedPartial(kind):  # type: ignore[misc]  # its base is known only here
        def expand(self, **mapped: Any) -> Any:
            if "sync_id" not in mapped:
                raise SettingError(_WAY)
            _check_different([{"sync_id": value} for value in mapped["sync_id"]] if _is_list(mapped["sync_id"]) else [])
            return super().expand(**mapped)

        def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> Any:
            _check_different(kwargs if _is_list(kwargs) else [])
            return super().expand_kwargs(kwargs, strict=strict)

    partial._expand_called = True  # noqa: SLF001  Airflow warns of a partial that nobody expands; ours stands for it
    return ShardedPartial(operator_class=partial.operator_class, kwargs=partial.kwargs, params=partial.params)


def warn_of_deleted(operator: Any, context: Context) -> None:
    """Say that a shard cannot tell a row that moved to another shard from one that is gone.

    :param operator: whose calls they are.
    :param context: of the task.
    """
    from airflow_provider_segment.hooks import task

    deletes = any("deleted" in call.get("on_change", ()) and call.get("enabled", True) for call in operator.calls)
    if deletes and task.current(context).ids[3] >= 0:
        operator.log.warning(
            "A call on 'deleted' in a mapped task: a row that moves to another shard is told as deleted, and so are "
            "many when the number of shards changes. Make this call in a task that is not mapped, unless each mapped "
            "task reads a table of its own: docs/changes.md"
        )


def _check_different(shards: list[Any]) -> None:
    """Check the shards that are known when the DAG is parsed; those of an upstream task are checked when they run."""
    ids = [shard.get("sync_id") for shard in shards if isinstance(shard, Mapping)]
    if None in ids:
        raise SettingError(_WAY)
    if twice := sorted({str(one) for one in ids if ids.count(one) > 1}):
        raise SettingError(f"{_WAY}. Found twice: {', '.join(twice)}")


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))
