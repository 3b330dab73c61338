"""The local Segment's Public API answers as documented, from what really came, and fails as it is told."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from airflow_provider_segment.core.delivery.retries import RetryPolicy
from airflow_provider_segment.core.errors import SegmentError
from airflow_provider_segment.core.public_api.client import PublicApi
from airflow_provider_segment.core.public_api.write_key import fetch_write_key
from airflow_provider_segment.testing import SegmentServer

RECEIVED, FAILED, FILTERED = (
    f"/delivery-overview/{name}" for name in ("successfully-received", "failed-on-ingest", "filtered-at-source")
)
BY_EVENT = {"groupBy.0": "eventName", "groupBy.1": "eventType"}
REGULATION = {"regulationType": "SUPPRESS_ONLY", "subjectType": "USER_ID", "subjectIds": ["u1", "u2"]}
SYNC = {"sourceId": "local-source", "modelId": "m1", "subscriptionId": "s1"}


@pytest.fixture
def segment() -> Iterator[SegmentServer]:
    """A local Segment."""
    with SegmentServer() as server:
        yield server


@pytest.fixture
def api(segment: SegmentServer) -> PublicApi:
    """Our client of its Public API, which asks once."""
    return PublicApi(segment.url, segment.public_api.token, timeout=10, policy=RetryPolicy(deadline=0))


def send(segment: SegmentServer, *messages: dict[str, Any]) -> None:
    """Send some messages to the Tracking API."""
    body = {"batch": list(messages), "writeKey": "k" * 32}
    assert requests.post(f"{segment.url}/v1/batch", json=body, timeout=10).ok


def window(segment: SegmentServer, **more: str) -> dict[str, str]:
    """Return the query for the hour around now."""
    now = dt.datetime.now(dt.UTC)
    start, end = (now + dt.timedelta(minutes=n) for n in (-30, 30))
    times = {"startTime": start.isoformat(), "endTime": end.isoformat(), "granularity": "MINUTE"}
    return {"sourceId": segment.public_api.source_id, **times, **more}


def groups(found: dict[str, Any]) -> dict[tuple[Any, ...], Any]:
    """Return the totals of an answer's groups."""
    names = ("eventType", "eventName", "discardReason")
    return {tuple(one.get(name) for name in names if name in one): one["total"] for one in found["dataset"]}


def test_what_came_is_counted(segment: SegmentServer, api: PublicApi) -> None:
    """Received, dropped and filtered events are counted by name, type and reason; repeats are not counted."""
    segment.public_api.delivery.filter(lambda message: message.get("event") == "Blocked", "unplanned")
    user = {"userId": "u"}
    track = {"type": "track", "event": "Bought", "messageId": "m1", **user}
    send(segment, track, track, {"type": "identify", **user}, {"type": "identify"})
    send(segment, {"type": "track", "event": "Blocked", **user}, {"type": "track", "event": "Bought", **user})
    received = api.get(RECEIVED, window(segment, **BY_EVENT))
    assert groups(received) == {("track", "Bought"): 2, ("identify",): 1}
    assert received["total"] == 3
    assert sum(point["count"] for one in received["dataset"] for point in one["series"]) == 3
    by_reason = BY_EVENT | {"groupBy.2": "discardReason"}
    assert groups(api.get(FAILED, window(segment, **by_reason))) == {("identify", "no_user_anon_id"): 1}
    assert groups(api.get(FILTERED, window(segment, **by_reason))) == {("track", "Blocked", "unplanned"): 1}


def test_another_sender_and_text(segment: SegmentServer, api: PublicApi) -> None:
    """Counts of others are added, also in the past; they come as text where that is asked for; pages are whole."""
    overview = segment.public_api.delivery
    before = dt.datetime.now(dt.UTC) - dt.timedelta(days=2)
    overview.add("successfully-received", 7, event_name="Theirs", at=before)
    for number in range(25):
        overview.add("successfully-received", number + 1, event_name=f"Event {number}")
    overview.as_text = True
    found = api.get(RECEIVED, window(segment, **BY_EVENT, **{"pagination.count": "10"}))
    assert (found["total"], len(found["dataset"])) == (str(25 * 26 // 2), 25)
    day = {"granularity": "DAY", "startTime": (before - dt.timedelta(hours=1)).isoformat()}
    assert api.get(RECEIVED, window(segment) | day)["total"] == str(25 * 26 // 2 + 7)


NOW = dt.datetime.now(dt.UTC)
WRONG = {
    "no start": {"startTime": ""},
    "no date": {"startTime": "yesterday"},
    "a time without a zone": {"startTime": "2026-01-01T00:00:00"},
    "an end before the start": {"endTime": (NOW - dt.timedelta(days=1)).isoformat()},
    "too long for minutes": {"startTime": (NOW - dt.timedelta(hours=5)).isoformat()},
    "too old for hours": {"startTime": (NOW - dt.timedelta(days=31)).isoformat(), "granularity": "HOUR"},
    "another granularity": {"granularity": "SECOND"},
    "another group": {"groupBy.0": "userId"},
    "too large a page": {"pagination.count": "1001"},
    "a cursor of one's own": {"pagination.cursor": "5"},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_question_that_segment_would_not_answer(
    segment: SegmentServer, api: PublicApi, wrong: dict[str, str]
) -> None:
    """What is over a documented limit is refused with 422."""
    with pytest.raises(SegmentError, match="HTTP 422"):
        api.get(RECEIVED, window(segment) | wrong)


@pytest.mark.parametrize("source", [{}, {"sourceId": "local-source"}])
def test_regulations_are_made_and_looked_at(segment: SegmentServer, api: PublicApi, source: dict[str, str]) -> None:
    """A regulation of the workspace or the source goes through its statuses, and is in the list of its own."""
    path = "/regulations/sources/{sourceId}" if source else "/regulations"
    regulations = segment.public_api.regulations
    regulations.go_through(["RUNNING", "PARTIAL_SUCCESS"], {"Mixpanel": "FAILED", "Braze": "FINISHED"})
    regulate_id = api.post(path, REGULATION, **source)["regulateId"]
    looks = [api.get("/regulations/{regulateId}", regulateId=regulate_id)["regulation"] for _ in range(3)]
    assert [look["overallStatus"] for look in looks] == ["RUNNING", "PARTIAL_SUCCESS", "PARTIAL_SUCCESS"]
    assert ["finishedAt" in look for look in looks] == [False, True, True]
    at = {one["name"]: one["status"] for one in looks[2]["streamStatus"][0]["destinationStatus"]}
    assert at == {"Mixpanel": "FAILED", "Braze": "FINISHED"}
    (made,) = regulations.made
    assert (made["subjects"], made["sourceId"]) == (["u1", "u2"], source.get("sourceId"))
    other = "/regulations" if source else "/regulations/sources/{sourceId}"
    assert [one["id"] for one in api.get(path, **source)["regulations"]] == [regulate_id]
    assert api.get(other, sourceId="local-source")["regulations"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"regulationType": "FORGET"},
        {"regulationType": "DELETE_ARCHIVE_ONLY"},
        {"subjectType": "ANONYMOUS_ID"},
        {"subjectIds": []},
        {"subjectIds": ["u"] * 5_001},
        {"subjectIds": [1]},
        {"subjectIds": "u1"},
    ],
)
def test_a_regulation_that_segment_would_not_take(segment: SegmentServer, api: PublicApi, wrong: Any) -> None:
    """What is not documented is refused with 422, and nothing is made of it."""
    with pytest.raises(SegmentError, match=rf"HTTP 422|{next(iter(wrong))}"):
        api.post("/regulations", REGULATION | wrong)
    assert segment.public_api.regulations.made == []


@pytest.mark.parametrize("as_text", [True, False])
def test_a_sync_is_started_and_looked_at(segment: SegmentServer, api: PublicApi, as_text: bool) -> None:
    """A sync of Reverse ETL goes through its statuses, with counts as text or as numbers."""
    reverse_etl = segment.public_api.reverse_etl
    reverse_etl.as_text = as_text
    reverse_etl.go_through(["IN_PROGRESS", "PARTIAL_SUCCESS"], extractCount=3, deliverFailureCount=1)
    ids = {"modelId": "m1", "syncId": api.post("/reverse-etl-syncs", SYNC)["reverseETLManualSync"]["syncId"]}
    path = "/reverse-etl-models/{modelId}/syncs/{syncId}"
    looks = [api.get(path, **ids)["reverseETLSyncStatus"] for _ in range(2)]
    assert [look["syncStatus"] for look in looks] == ["IN_PROGRESS", "PARTIAL_SUCCESS"]
    failures = looks[1]["loadPhase"]["deliverFailureCount"]
    assert (failures, looks[1]["extractPhase"]["extractCount"]) == (("1", "3") if as_text else (1, 3))
    assert api.post(f"{path}/cancel", {}, **ids)["errorCode"] == "SyncFinishedCannotCancel"


def test_a_sync_is_cancelled(segment: SegmentServer, api: PublicApi) -> None:
    """A sync that runs can be cancelled once, and fails then."""
    segment.public_api.reverse_etl.go_through(["IN_PROGRESS"])
    ids = {"modelId": "m1", "syncId": api.post("/reverse-etl-syncs", SYNC)["reverseETLManualSync"]["syncId"]}
    path = "/reverse-etl-models/{modelId}/syncs/{syncId}"
    assert api.post(f"{path}/cancel", {"reasonForCanceling": 4}, **ids)["status"] == "CANCELLING"
    assert api.post(f"{path}/cancel", {}, **ids)["errorCode"] == "SyncAlreadyCanceled"
    assert api.get(path, **ids)["reverseETLSyncStatus"]["syncStatus"] == "FAIL"
    assert [sync["isCancelled"] for sync in segment.public_api.reverse_etl.started] == [True]


def test_who_may_ask_and_for_what(segment: SegmentServer, api: PublicApi) -> None:
    """Another token gets 401; another source, id, path or method is not there; the source's write key is told."""
    assert len(fetch_write_key(api, "local-source")) >= 31
    for path, ids in (
        ("/sources/{sourceId}", {"sourceId": "other"}),
        ("/regulations/{regulateId}", {"regulateId": "other"}),
        ("/reverse-etl-models/{modelId}/syncs/{syncId}", {"modelId": "m", "syncId": "s"}),
        ("/delivery-overview/other", {}),
    ):
        with pytest.raises(SegmentError, match="HTTP 404"):
            api.get(path, **ids)
    with pytest.raises(SegmentError, match="HTTP 404"):
        api.get(RECEIVED, window(segment, sourceId="other"))
    with pytest.raises(SegmentError, match="HTTP 405"):
        api.delete("/regulations")
    with pytest.raises(SegmentError, match="HTTP 401"):
        PublicApi(segment.url, "other").get("/regulations")


def test_faults_are_scripted_for_the_public_api_alone(segment: SegmentServer, api: PublicApi) -> None:
    """Steps for the Public API are taken by its requests; a request that fails makes nothing, a lost answer does."""
    segment.public_api.respond_with([429, (503, {"Retry-After": "7"}), "reset", "reset_after"])
    send(segment, {"type": "identify", "userId": "u"})
    for text in ("HTTP 429", "HTTP 503", "failed", "failed"):
        with pytest.raises(SegmentError, match=text):
            api.post("/regulations", REGULATION)
    assert len(segment.public_api.regulations.made) == 1
    segment.respond_with([500])
    assert len(api.get("/regulations")["regulations"]) == 1


@pytest.mark.parametrize("wrong", [["DONE"], ["FINISHED", "LOST"]])
def test_a_status_that_is_none_fails_when_given(segment: SegmentServer, wrong: list[str]) -> None:
    """A status that Segment does not know is an error in the test, not a strange answer later."""
    for states in (segment.public_api.regulations, segment.public_api.reverse_etl):
        with pytest.raises(ValueError, match="Not a status"):
            states.go_through(wrong)
