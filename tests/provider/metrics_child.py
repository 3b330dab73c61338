"""A process that runs a sync with Airflow's metrics set up as the process of a task has them."""

from __future__ import annotations

import importlib
from contextlib import suppress

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.hooks.segment import SegmentHook

if __name__ == "__main__":
    with suppress(ImportError):  # Airflow 2 does it by itself
        stats = importlib.import_module("airflow.sdk.observability.stats")
        utils = importlib.import_module("airflow.sdk.observability.metrics.stats_utils")
        stats.initialize(factory=utils.get_stats_factory(), export_legacy_names=False)
    rows = [{"id": f"u{n}", "plan": "free"} for n in range(30)] + [{"id": None, "plan": "free"}]
    calls = [Identify("id", traits=["plan"]), Track(Constant("Order Completed"), "id")]
    SegmentHook().sync(rows, calls, sync_id="customers", max_rejected=99)
