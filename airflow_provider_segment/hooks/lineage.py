"""What Airflow is told of a run: the source as an output of the hook, and the counts on the task's asset events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# The one of `sdk` has no assets on Airflow 2, where they are called datasets.
from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector

if TYPE_CHECKING:
    from airflow_provider_segment.compat import Context
    from airflow_provider_segment.core.report import Report


def add_output(hook: Any, uri: str) -> None:
    """Say that a hook wrote to a source; where nobody reads hook lineage, this does nothing.

    :param hook: that wrote.
    :param uri: of the source as an asset.
    """
    collector: Any = get_hook_lineage_collector()  # type: ignore[no-untyped-call]
    collector.add_output_asset(context=hook, uri=uri)


def note_events(context: Context, report: Report) -> None:
    """Put the counts of a run on the events of the task's outlets that are Segment sources.

    :param context: of the task.
    :param report: of the run.
    """
    known: Any = context
    for outlet in getattr(known.get("task"), "outlets", ()):
        if str(getattr(outlet, "uri", "")).startswith("segment://"):
            known["outlet_events"][outlet].extra.update(report.as_dict())
