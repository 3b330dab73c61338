"""What a run did as metrics of Airflow: StatsD, Datadog or OpenTelemetry, as Airflow itself is set."""

from __future__ import annotations

import logging
import re
from datetime import timedelta

from airflow_provider_segment.compat import Stats
from airflow_provider_segment.core.report import ENDS, Report

log = logging.getLogger(__name__)


def emit(sync_id: str, report: Report) -> None:
    """Add the counts of a run to Airflow's metrics; a run does not fail for them.

    :param sync_id: a tag of each.
    :param report: of the run.
    """
    tags = {"sync_id": _tag(sync_id)}
    try:
        for call, counts in report.as_dict()["by_call"].items():
            for end in ENDS:
                if counts[end]:
                    Stats.incr("segment.calls", counts[end], tags=tags | {"call": _tag(call), "end": end})
        for name in ("requests", "retries"):
            if number := getattr(report, name):
                Stats.incr(f"segment.{name}", number, tags=tags)
        Stats.timing("segment.seconds", timedelta(seconds=report.seconds), tags=tags)
    except Exception as error:  # noqa: BLE001  whatever the backend of the metrics raises
        log.warning("Airflow's metrics did not take the counts (%s)", type(error).__name__)


def _tag(name: str) -> str:
    """Return a name as a tag: StatsD takes a colon for the end of it, and InfluxDB a comma and a blank."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)
