"""The button "Segment Debugger" on a task that sends: the page where Segment shows what arrived."""

from __future__ import annotations

from typing import Any

from airflow_provider_segment.compat import BaseOperatorLink, XCom

KEY = "segment_debugger"


class SegmentDebuggerLink(BaseOperatorLink):
    """A link to the source's Debugger, where the connection has ``workspace_slug`` and ``source_slug``."""

    name = "Segment Debugger"

    @property
    def xcom_key(self) -> str:
        """Where the task leaves the address: Airflow's webserver must not need the connection."""
        return KEY

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the address that a task left; empty where it left none.

        :param operator: of the task.
        :param ti_key: of the task instance.
        """
        return XCom.get_value(ti_key=ti_key, key=KEY) or ""
