"""The pages of "Segment syncs" over states that are large, old, new, broken or not there; and who may not see them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from filtered import Sync, made_source

from airflow_provider_segment.plugins.segment_syncs import SegmentSyncsPlugin
from airflow_provider_segment.testing import SegmentServer

pytestmark = pytest.mark.skipif(SegmentSyncsPlugin is None, reason="The page is a plugin of Airflow 3.1 and later")
CANARY = "canary-8f3a"
MAY_READ, MAY_NOT = "VIEWER", None
USERS = "sync?state=segment_state&id=users"


@pytest.fixture
def sync(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sync:
    """A sync of 20 users, whose state is behind a connection that the page reads, beside two that are broken."""
    source = made_source("sqlite", request, tmp_path, monkeypatch)
    source.fill([(n, f"{CANARY}{n}") for n in range(1, 21)])
    found = Sync(source, "client", tmp_path / "state.db", "users")
    (tmp_path / "torn.db").write_bytes(b"no database" * 1_000)
    for name, path in (("segment_state", found.path), ("torn", tmp_path / "torn.db")):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    monkeypatch.setenv("AIRFLOW__SEGMENT__STATE_CONN_IDS", "segment_state,torn,not_there")
    return found


@pytest.fixture
def get() -> Callable[..., Any]:
    """Ask for a page as a user of Airflow's simple auth manager."""
    from airflow.api_fastapi.app import init_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.api_fastapi.core_api.security import get_user
    from fastapi.testclient import TestClient

    from airflow_provider_segment.plugins.page.app import make_app

    init_auth_manager()
    app = make_app()

    def ask(address: str = "", role: str | None = MAY_READ, **form: str) -> Any:
        app.dependency_overrides[get_user] = lambda: SimpleAuthManagerUser(username="somebody", role=role)
        client = TestClient(app)
        return client.post(f"/{address}", data=form) if form else client.get(f"/{address}")

    return ask


def test_broken_states_break_nothing_else(segment: SegmentServer, sync: Sync, get: Callable[..., Any]) -> None:
    """A file that is no database, and a connection that is not there, are named; the other syncs are shown."""
    sync.send()
    page = get().text
    assert USERS.replace("&", "&amp;") in page
    assert "<dt>torn</dt>" in page
    assert "no connection &#39;not_there&#39;" in page


def test_no_rights(segment: SegmentServer, sync: Sync, get: Callable[..., Any]) -> None:
    """Who may read no DAG gets 403 of each page, and no name of a sync; nor is there more for who asks for no sync."""
    sync.send()
    for address in ("", USERS, "key", "sync?state=segment_state&id=none"):
        answer = get(address, MAY_NOT)
        assert answer.status_code == 403
        assert "users" not in answer.text
        assert "frame-ancestors 'self'" in answer.headers["Content-Security-Policy"]
    assert get("sync?state=segment_state&id=none").status_code == 404


def test_no_value_of_a_row(segment: SegmentServer, sync: Sync, get: Callable[..., Any]) -> None:
    """Pages of runs that refused rows hold none of their values; a key's answer neither."""
    segment.refuse(lambda message: message["userId"] == "3")
    sync.send(max_rejected=9)
    of_sync = '{"state": "segment_state", "id": "users"}'
    asked = "&".join(f"{name}={value}" for name, value in json.loads(of_sync).items())
    pages = [get().text, get(USERS).text, get("key", key="3", sync=asked).text]
    assert "http_400" in pages[1]
    assert "refused" in pages[2]
    assert not [page for page in pages if CANARY in page]


def test_ten_thousand_runs(segment: SegmentServer, sync: Sync, get: Callable[..., Any]) -> None:
    """A page of a sync shows 60 of them, and leads to those before."""
    sync.send()
    with closing(sqlite3.connect(sync.path)) as database, database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(segment_run)")]
        others = ", ".join(name for name in columns if name != "run")
        numbers = "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)"
        copied = f"SELECT i, {others} FROM segment_run, n WHERE run = 1"  # noqa: S608  names of columns
        database.execute(f"{numbers} INSERT INTO segment_run (run, {others}) {copied}")
    page = get(USERS).text
    assert page.count('class="bar') == 60
    assert "before=9941" in page
    assert "Run 5000 " in get(f"{USERS}&run=5000").text
    assert get().status_code == 200


def test_states_of_other_versions(segment: SegmentServer, sync: Sync, get: Callable[..., Any]) -> None:
    """Where an older version made no tables of runs, its sync stands there without; a newer one asks for an upgrade."""
    sync.send()
    sync.state("DROP TABLE segment_run")
    sync.state("DROP TABLE segment_refusal")
    assert "no runs" in get().text
    assert "No run is written down" in get(USERS).text
    sync.state("UPDATE segment_sync SET layout = 99")
    assert "newer version" in get().text
    assert "newer version" in get(USERS).text
