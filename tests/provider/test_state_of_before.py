"""A state that an earlier version left is read as it is, and gets what it lacks with the next run; nothing goes again.

state_of_before.sql is a state of commit ef62501: 20 users, then one gone, three changed and one of those refused.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.hooks.state import database
from airflow_provider_segment.testing import SegmentServer

DUMP = Path(__file__).with_name("state_of_before.sql")
KEY = "of_the_tests_write_key_of_32_char"
CALLS = [Identify("id", traits=["email"]), Track(Constant("Left"), "id", on_change="deleted")]
ROWS = [(n, "b" if n < 4 else f"user{n}") for n in range(1, 20)]
# What that version did not have, by table; None is the table as a whole.
NEW = {
    "segment_refusal": None,
    "segment_doubt": None,
    "segment_part": None,
    "segment_filter": None,
    "segment_arrival": None,
    "segment_day": None,
    "segment_run": ["plan", "report", "error"],
    "segment_sync": ["first_id"],
}


@pytest.fixture(autouse=True)
def _connection(segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", json.dumps(json.loads(segment.connection) | {"password": KEY}))


@pytest.fixture(params=["file", "postgres", "mariadb"])
def where(request: pytest.FixtureRequest, tmp_path: Path, segment: SegmentServer, _connection: None) -> dict[str, Any]:
    """The state: the file is that of then, in the others what is new is taken away from one of today."""
    if request.param == "file":
        path = tmp_path / "state.db"
        with closing(sqlite3.connect(path)) as opened:
            opened.executescript(DUMP.read_text())
        return {"state_path": str(path)}
    if request.param == "mariadb":
        place = {"state_conn_id": request.getfixturevalue("mariadb_connection")}
    else:
        request.getfixturevalue("postgres")
        place = {"state_conn_id": "postgres"}
    send(place, [(n, f"user{n}") for n in range(1, 21)])
    segment.refuse(lambda message: message["userId"] == "3" and message["type"] == "identify")
    send(place, ROWS)
    engine = database(place["state_conn_id"])
    with engine.begin() as connection:
        for table, columns in NEW.items():
            for column in columns or ():
                connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
            if columns is None:
                connection.exec_driver_sql(f"DROP TABLE {table}")
    engine.dispose()
    segment.reset()
    return place


def send(where: dict[str, Any], rows: list[tuple[int, str]], **settings: Any) -> Any:
    named = [{"id": n, "email": email} for n, email in rows]
    common = {"sync_id": "users", "sync_mode": "changes", "key": "id", "max_rejected": 9, "max_deleted": 1}
    return SegmentHook().sync(named, CALLS, **{**common, **where, **settings})


def test_it_is_read_as_it_is(where: dict[str, Any]) -> None:
    """History and explain know what it knows, before any run has changed it."""
    newest, first = SegmentHook().history("users", **where)
    assert (newest["run"], newest["state"], newest["accepted"], newest["error"]) == (2, "success", None, None)
    assert first["started"] <= newest["started"]
    found = SegmentHook().explain("users", [1, 3, 20, 99], **where)
    said = {(one["key"], one["call"]): one["state"] for one in found}
    assert said[1, "identify"] == "accepted"
    assert said[2, "identify"] == "on its way"  # that version did not remember what was refused
    assert said[3, "track:Left"] == "gone"
    assert said[4, "identify"] == "never seen"
    hook = SegmentHook()
    assert hook.reset("users", refused=True, validate_only=True, **where) == 0
    assert hook.reset("users", run=2, validate_only=True, **where) >= 2
    assert send(where, ROWS, validate_only=True).planned["identify"] == {"added": 0, "updated": 1, "deleted": 0}


def test_the_next_run(segment: SegmentServer, where: dict[str, Any]) -> None:
    """It sends what is due and no more, and from then on all is remembered; so it is on the day after."""
    report = send(where, ROWS)
    assert (report.accepted, report.unchanged) == (1, len(ROWS) * 2 - 1)
    assert [message["userId"] for message in segment.messages] == ["3"]
    assert SegmentHook().history("users", **where)[0]["accepted"] == 1
    assert send(where, ROWS).accepted == 0
    everything = send(where, [(n, "all changed") for n, _ in ROWS])
    assert everything.updated == len(ROWS)


@pytest.mark.parametrize("what", ["rename", "release", "reset"])
def test_what_an_operator_does(where: dict[str, Any], what: str) -> None:
    """Each command works on it, too, before any run has."""
    hook = SegmentHook()
    if what == "rename":
        hook.rename("users", "people", **where)
        assert send(where, ROWS, sync_id="people").accepted == 1
    elif what == "release":
        assert hook.release("users", **where) == ""
    else:
        assert hook.reset("users", [1, 2], **where) == 4
        assert send(where, ROWS).accepted == 3
