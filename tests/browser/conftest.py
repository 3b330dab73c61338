"""What the browser's tests share: a running Airflow, Debian's chromium, and screenshots."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment import IN_AIRFLOW_2, Deployment
from forms import Fab, Form, React
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from airflow_provider_segment.testing import SegmentServer


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
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """An Airflow whose web server runs."""
    deployment = Deployment(tmp_path_factory.mktemp("airflow"), {})
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
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server", "--lang=en-US"):
        options.add_argument(argument)
    driver = Chrome(options, ChromeService(shutil.which("chromedriver")))
    driver.set_window_size(1400, 1000)
    yield driver
    driver.quit()


@pytest.fixture
def form(browser: Chrome, airflow: Deployment) -> Form:
    """The connection's form in the pages of the Airflow that is installed."""
    return (Fab if IN_AIRFLOW_2 else React)(browser, airflow)
