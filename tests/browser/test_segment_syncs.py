"""The page "Segment syncs" in a browser: pages and links, three users, the keyboard, 400 px, no scripts, the frame."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
from deployment import IN_AIRFLOW_2, Deployment
from pictures import Screenshot
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from three_users import USERS
from waiting import wait_for

HERE = Path(__file__).parent
CANARY = "canary8f3a"
SYNCS = ["billing.accounts", "crm.customers", "shop.orders"]
OF_CUSTOMERS = "sync?state=segment_state&id=crm.customers"
PAGES = ["", OF_CUSTOMERS, "sync?state=segment_state&id=billing.accounts", "key"]
ZONE = "Europe/Berlin"

pytestmark = [
    pytest.mark.skipif(IN_AIRFLOW_2, reason="The page is a plugin of Airflow 3.1 and later"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """An Airflow with thirty runs of three syncs, and users who may read all DAGs, one, or none."""
    home = tmp_path_factory.mktemp("syncs")
    files = {"warehouse": home / "warehouse.db", "segment_state": home / "state.db"}
    connections = {name: json.dumps({"conn_type": "sqlite", "host": str(path)}) for name, path in files.items()}
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps({name: name for name in ("all", "one", "nothing")}))
    settings = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "page_dags"),
        "AIRFLOW__CORE__AUTH_MANAGER": "three_users.ThreeUsers",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": USERS,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__SEGMENT__STATE_CONN_IDS": "segment_state",
        "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)]),
    }
    deployment = Deployment(home, connections, settings)
    try:
        deployment.serve()
        deployment.run("dags", "reserialize")
        for dag_id in ("billing", "crm", "shop"):
            deployment.run("dags", "unpause", dag_id, "--yes")
        deployment.run_python(str(HERE / "make_thirty_runs.py"), str(files["warehouse"]))
        set_apart(files["segment_state"])
        yield deployment
    finally:
        deployment.stop()


def set_apart(state: Path) -> None:
    """Write other times into the history: as if the runs had not followed each other within two minutes."""
    with closing(sqlite3.connect(state)) as database, database:
        found = database.execute("SELECT sync_no, run, started, ended FROM segment_run").fetchall()
        assert len(found) == 30
        for sync_no, run, started, ended in found:
            newer = sum(1 for one in found if one[0] == sync_no and one[1] > run)
            moved = newer * (3_600, 86_400, 6 * 3_600)[sync_no - 1]
            times = (started - moved, None if ended is None else ended - moved)
            database.execute(
                "UPDATE segment_run SET started = ?, ended = ? WHERE sync_no = ? AND run = ?", (*times, sync_no, run)
            )


def token(site: Deployment, user: str) -> str:
    """Return what a user's log-in gives."""
    body = {"username": user, "password": user}
    return str(requests.post(f"{site.url}/auth/token", json=body, timeout=30).json()["access_token"])


@pytest.fixture
def page(site: Deployment, browser: Chrome) -> Iterator[Page]:
    """The browser of a user who may read all DAGs."""
    found = Page(browser, site)
    found.log_in("all")
    yield found
    found.look()
    browser.get("about:blank")


class Page:
    """What a user does.

    :param browser: the user's.
    :param site: the Airflow.
    """

    def __init__(self, browser: Chrome, site: Deployment) -> None:
        self.browser, self.site = browser, site
        self.look()

    def look(self, scheme: str = "light", width: int = 1280, zone: str = "UTC", *, scripts: bool = True) -> None:
        """Set how the user looks at it."""
        commands = {
            "Emulation.setEmulatedMedia": {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
            "Emulation.setDeviceMetricsOverride": {
                "width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False,
            },
            "Emulation.setTimezoneOverride": {"timezoneId": zone},
            "Emulation.setScriptExecutionDisabled": {"value": not scripts},
        }  # fmt: skip
        for command, values in commands.items():
            self.browser.execute_cdp_cmd(command, values)

    def log_in(self, user: str) -> None:
        """Become a user, as the cookie of Airflow's log-in makes one."""
        self.browser.get(f"{self.site.url}/segment/static/icon.svg")
        self.browser.delete_all_cookies()
        self.browser.add_cookie({"name": "_token", "value": token(self.site, user), "path": "/"})

    def open(self, address: str = "") -> None:
        """Open one of our pages."""
        self.browser.get(f"{self.site.url}/segment/{address}")

    def all(self, selector: str) -> list[WebElement]:
        """Return elements."""
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    @property
    def text(self) -> str:
        """What the page says."""
        return self.browser.find_element(By.TAG_NAME, "body").text

    def fits(self) -> bool:
        """Whether nothing stands over the right edge."""
        return not self.browser.execute_script("return document.documentElement.scrollWidth > window.innerWidth")


def test_the_list(page: Page, screenshot: Screenshot) -> None:
    """Each sync has its line: how its last run ended, its counts, when it is due, and its calls a run."""
    for scheme in ("light", "dark"):
        page.look(scheme)
        page.open()
        screenshot(f"segment-syncs-{scheme}")
    assert [link.text for link in page.all("tbody th a")] == SYNCS
    assert [state.text for state in page.all("td .state")] == ["success"] * 3
    assert len(page.all("svg.spark polyline")) == 3
    billing, crm, shop = page.all("tbody tr")
    assert "no time" in billing.text
    assert len(crm.find_elements(By.CSS_SELECTOR, "time")) == len(shop.find_elements(By.CSS_SELECTOR, "time")) == 2
    assert all(heading.get_attribute("title") for heading in page.all("thead th"))


def test_one_sync(page: Page, screenshot: Screenshot) -> None:
    """Its page has its runs as bars by kind, the plan beside what was done, the reasons of refusals, and links."""
    for scheme in ("light", "dark"):
        page.look(scheme)
        page.open()
        page.all("tbody th a")[1].click()
        page.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 1280, "height": 2000, "deviceScaleFactor": 1, "mobile": False},
        )
        screenshot(f"segment-sync-{scheme}")
    bars = page.all("svg a.bar title")
    assert len(bars) == len(page.all("table.runs tbody tr")) == 11
    assert "1,800 added" in (bars[0].get_attribute("textContent") or "")
    assert {state.text for state in page.all("table.runs .state")} == {"success", "failed", "killed"}
    assert page.all("table.plan caption")[0].text == "Planned and done, in calls"
    assert "timestamp_not_iso8601" in page.text
    assert "http_400" in page.text
    page.all("table.runs tbody tr")[3].find_element(By.CSS_SELECTOR, "th a").click()
    assert "could not take a batch within its deadline" in page.text


def test_links(page: Page) -> None:
    """A run leads to its task's log, a sync to its DAG and to Segment's Debugger, all where Airflow has them."""
    page.open(OF_CUSTOMERS)
    (debugger,) = [link for link in page.all("a") if link.text == "Segment Debugger"]
    assert debugger.get_attribute("href") == "https://app.segment.com/my-workspace/sources/warehouse/debugger"
    page.all("table.runs td a")[0].click()
    wait_for("task's log", lambda: "/dags/crm/runs/manual__2026-11-01T10" in page.browser.current_url)
    wait_for("task's page", lambda: "customers" in page.text)
    page.open("sync?state=segment_state&id=billing.accounts")
    (dag,) = [link for link in page.all("a") if link.text == "DAG"]
    dag.click()
    wait_for("DAG's page", lambda: page.browser.current_url.endswith("/dags/billing") and "billing" in page.text)


def test_find_a_key(page: Page, screenshot: Screenshot) -> None:
    """With the keyboard alone: what is known of each call of a key; the key stands in no address."""
    for scheme in ("light", "dark"):
        page.look(scheme)
        page.open(OF_CUSTOMERS)
        next(link for link in page.all(".actions a") if link.text == "Find a key").send_keys(Keys.ENTER)
        wait_for("form", lambda: page.all("#key"))
        ActionChains(page.browser).send_keys("C31", Keys.ENTER).perform()
        wait_for("answer", lambda: page.all("#found"))
        screenshot(f"segment-key-{scheme}")
    assert [state.text for state in page.all("td .state")] == ["refused", "accepted", "remembered"]
    assert page.browser.current_url.endswith("/segment/key")


def test_the_keyboard(page: Page) -> None:
    """From the top of the list, Tab and Enter lead to a sync; what has the focus is outlined."""
    page.open()
    seen = []
    for _ in range(8):
        ActionChains(page.browser).send_keys(Keys.TAB).perform()
        focused = page.browser.switch_to.active_element
        seen.append(focused.text)
        assert focused.value_of_css_property("outline-style") == "solid"
    assert seen[:2] == ["Skip to the content", "Segment syncs"]
    assert seen[5:8] == SYNCS
    ActionChains(page.browser).send_keys(Keys.ENTER).perform()
    wait_for("page of the sync", lambda: "shop.orders" in page.all("h1")[0].text)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 800, 1280])
def test_narrow_pages(page: Page, width: int, scheme: str) -> None:
    """Nothing stands over the edge of a narrow window."""
    page.look(scheme, width)
    for address in PAGES:
        page.open(address)
        assert page.fits(), address


def test_times(page: Page) -> None:
    """Times are those of the user's zone with UTC beside; without scripts they are UTC, and all else is there too."""
    page.look(zone=ZONE)
    page.open()
    time = page.all("time")[0]
    local, utc = time.text.split()[1], time.text.split()[2]
    assert (int(local[:2]) - int(utc[:2])) % 24 == 1
    assert ZONE.replace("_", " ") in page.text
    page.look(scripts=False)
    for address in PAGES:
        page.open(address)
        assert "UTC" in page.text
    page.open()
    assert len(page.all("time")) == 5
    page.look()


@pytest.mark.parametrize(
    ("user", "status", "syncs"), [("all", 200, SYNCS), ("one", 200, SYNCS[2:]), ("nothing", 403, [])]
)
def test_three_users(page: Page, user: str, status: int, syncs: list[str]) -> None:
    """Each sees the syncs of the DAGs that Airflow lets them read, and nowhere the name of another."""
    page.log_in(user)
    shown = []
    for address in PAGES:
        page.open(address)
        shown.append(page.browser.page_source)
    page.open()
    assert [link.text for link in page.all("tbody th a")] == syncs
    hidden = [name for name in SYNCS if name not in syncs]
    assert not [name for name in hidden for source in shown if name in source]
    cookies = {"_token": token(page.site, user)}
    answer = requests.get(f"{page.site.url}/segment/", cookies=cookies, timeout=30)
    assert answer.status_code == status


def test_nothing_of_a_row(page: Page) -> None:
    """No page holds a value of a row, loads anything from elsewhere, or breaks its own rules."""
    for address in PAGES:
        page.open(address)
        assert CANARY not in page.browser.page_source
        loaded = page.browser.execute_script("return performance.getEntriesByType('resource').map(one => one.name)")
        assert all(name.startswith(f"{page.site.url}/segment/static/") for name in loaded), loaded
    assert not [entry for entry in page.browser.get_log("browser") if "Content Security Policy" in entry["message"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_within_airflow(page: Page, screenshot: Screenshot, scheme: str) -> None:
    """The navigation shows the page in a frame, as light or dark as Airflow; its links lead out of the frame."""
    page.look(scheme, width=1400)
    page.browser.get(page.site.url)
    link = wait_for("link", lambda: page.browser.find_elements(By.XPATH, "//a[contains(., 'Segment syncs')]"))[0]
    link.click()
    frame = wait_for("frame", lambda: page.all("iframe[title='Segment syncs']"))[0]
    page.browser.switch_to.frame(frame)
    wait_for("list", lambda: [one.text for one in page.all("tbody th a")] == SYNCS)
    screenshot(f"segment-syncs-in-airflow-{scheme}")
    dark = page.browser.execute_script("return matchMedia('(prefers-color-scheme: dark)').matches")
    assert dark == (scheme == "dark")
    page.all("tbody th a")[1].click()
    wait_for("log", lambda: page.all("table.runs td a"))[0].click()
    page.browser.switch_to.default_content()
    wait_for("task's log", lambda: "/dags/crm/runs/manual__2026-11-01T10" in page.browser.current_url)
    assert not page.all("iframe")
