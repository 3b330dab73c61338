"""The plugin that puts the page "Segment syncs" into Airflow 3.1's navigation; each process of Airflow imports it."""

from __future__ import annotations

from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_segment.compat import AirflowPlugin, conf

PREFIX = "/segment"

# Airflow 2.11 and 3.0 have no such views: there is no plugin, and Airflow passes over it without a word.
SegmentSyncsPlugin: Any = None

if hasattr(AirflowPlugin, "external_views"):

    class _SegmentSyncsPlugin(AirflowPlugin):
        """Segment syncs: each sync with its runs and failures, and what became of one key."""

        name = "segment_syncs"

        @cached_property
        def fastapi_apps(self) -> list[Any]:  # type: ignore[override]  # Airflow only reads it
            """The pages; only Airflow's API server asks for them, and pays for the import."""
            from airflow_provider_segment.plugins.page.app import make_app

            return [{"name": "Segment syncs", "app": make_app(), "url_prefix": PREFIX}]

        @cached_property
        def external_views(self) -> list[Any]:  # type: ignore[override]  # as above
            """The link in the navigation, which shows the page within Airflow's own."""
            base = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
            here = f"{base}{PREFIX}"
            icons = {"icon": f"{here}/static/icon.svg", "icon_dark_mode": f"{here}/static/icon-dark.svg"}
            view = {"name": "Segment syncs", "href": f"{here}/", "url_route": "segment-syncs", "destination": "nav"}
            return [view | icons]

    SegmentSyncsPlugin = _SegmentSyncsPlugin
