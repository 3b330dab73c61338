"""What the browser's tests share: a running Airflow, Debian's chromium, and screenshots."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pictures
import pytest
from deployment import IN_AIRFLOW_2, ROOT, Deployment
from forms import Fab, Form, React
from pictures import Screenshot
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from airflow_provider_segment.testing import SegmentServer

sys.path.append(str(ROOT / "demo"))
from warehouse import fill


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests here, so that they run when they are asked for only."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def segment_server() -> Iterator[SegmentServer]:
    """A local Segment for as long as the Airflow runs."""
    with SegmentServer() as server:
        yield server


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory, segment_server: SegmentServer) -> Iterator[Deployment]:
    """An Airflow whose web server runs; its tasks have a warehouse, and a Segment."""
    home = tmp_path_factory.mktemp("airflow")
    fill(home / "warehouse.db", customers=1_000, accounts=50, orders=3_000)
    slugs = {"workspace_slug": "my-workspace", "source_slug": "warehouse"}
    connections = {
        "warehouse": json.dumps({"conn_type": "sqlite", "host": str(home / "warehouse.db")}),
        "segment_default": json.dumps(json.loads(segment_server.connection) | {"extra": slugs}),
    }
    deployment = Deployment(home, connections)
    try:
        deployment.serve()
        yield deployment
    finally:
        deployment.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """A chromium without a window."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "no-proxy-server", "hide-scrollbars"):
        options.add_argument(f"--{argument}")
    driver = Chrome(options, ChromeService(shutil.which("chromedriver")))
    size = {"width": 1400, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    yield driver
    driver.quit()


@pytest.fixture
def form(browser: Chrome, airflow: Deployment) -> Form:
    """The connection's form in the pages of the Airflow that is installed."""
    return (Fab if IN_AIRFLOW_2 else React)(browser, airflow)


@pytest.fixture
def screenshot(browser: Chrome) -> Screenshot:
    """Save what the browser shows under a name, if screenshots are asked for."""
    return partial(pictures.save, browser)
