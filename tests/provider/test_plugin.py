"""The plugin of the page: loaded where Airflow has such views, left out without a word where it has not."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

import airflow
import pytest

from airflow_provider_segment.plugins.segment_syncs import SegmentSyncsPlugin

IN_AIRFLOW_2 = airflow.__version__.startswith("2.")


@pytest.mark.skipif(not IN_AIRFLOW_2, reason="Airflow 3 has it")
def test_left_out() -> None:
    """On Airflow 2.11 the entry point names nothing that Airflow takes for a plugin, and nothing breaks."""
    assert SegmentSyncsPlugin is None
    manager: Any = importlib.import_module("airflow.plugins_manager")
    assert not manager.is_valid_plugin(SegmentSyncsPlugin)


@pytest.mark.skipif(IN_AIRFLOW_2, reason="Airflow 2 has no such views")
def test_its_view() -> None:
    """It has one view in the navigation, and one application under an address of its own."""
    plugin = SegmentSyncsPlugin()
    (view,) = plugin.external_views
    assert (view["name"], view["destination"]) == ("Segment syncs", "nav")
    (app,) = plugin.fastapi_apps
    assert view["href"].endswith(f"{app['url_prefix']}/")


def test_its_import_is_cheap() -> None:
    """Each process of Airflow imports it: neither the pages nor FastAPI come along."""
    page = "airflow_provider_segment.plugins.page.app"
    look = f"import sys, airflow_provider_segment.plugins.segment_syncs; print({page!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)  # noqa: S603  ours
    assert done.stdout.split()[-1] == "False"
