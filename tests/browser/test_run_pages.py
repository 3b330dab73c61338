"""A run in Airflow 3's pages: the task's log, its rendered template and its button."""

from __future__ import annotations

import pytest
from deployment import IN_AIRFLOW_2, Deployment
from pictures import Screenshot
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from waiting import wait_for

DAG_ID, TASK_ID = "segment_warehouse", "orders"
DEBUGGER = "https://app.segment.com/my-workspace/sources/warehouse/debugger"

pytestmark = pytest.mark.skipif(IN_AIRFLOW_2, reason="The pages of Airflow 2 are others")


@pytest.fixture(scope="module")
def page(airflow: Deployment) -> str:
    """The address of the task in a run of the example DAG that went well."""
    airflow.run_dags()
    dag = f"/dags/{DAG_ID}"
    wait_for("DAG", lambda: airflow.api("GET", dag), 120)
    airflow.api("PATCH", dag, {"is_paused": False})
    asked = {"logical_date": None, "dag_run_id": "first", "conf": {"orders_since": "2021-01-01"}}
    airflow.api("POST", f"{dag}/dagRuns", asked)

    def ended() -> str:
        state = airflow.api("GET", f"{dag}/dagRuns/first")["state"]
        return state if state in ("success", "failed") else ""

    assert wait_for("end of the run", ended, 180) == "success"
    return f"{airflow.url}{dag}/runs/first/tasks/{TASK_ID}"


def test_log(page: str, browser: Chrome, screenshot: Screenshot) -> None:
    """The log says in a line what was sent."""
    browser.get(page)
    wait_for("log", lambda: "Done: 3,000 rows, 3,000 calls: 3,000 accepted" in shown(browser))
    browser.find_element(By.TAG_NAME, "body").send_keys("w")  # wraps long lines
    screenshot("task-log")


def test_rendered_template(page: str, browser: Chrome, screenshot: Screenshot) -> None:
    """The rendered template shows the query with its parameters, and the calls."""
    browser.get(f"{page}/rendered_templates")
    wait_for("query", lambda: "ordered_at" in shown(browser))
    screenshot("rendered-template")


def test_extra_link(page: str, browser: Chrome, screenshot: Screenshot) -> None:
    """The button leads to the source's Debugger."""
    browser.get(f"{page}/details")
    link = wait_for("button", lambda: browser.find_elements(By.PARTIAL_LINK_TEXT, "Segment Debugger"))[0]
    assert link.get_attribute("href") == DEBUGGER
    screenshot("extra-link")


def shown(browser: Chrome) -> str:
    """Return what the page says."""
    return browser.find_element(By.TAG_NAME, "body").text
