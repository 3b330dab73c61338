"""SegmentHook: single calls, many messages, many rows, and the test of a connection."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, get_current_context, task
from runs import NO_WAIT, RunDag, new_dag

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.core.errors import NotSentError
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.testing import SegmentServer

WHEN = "2026-01-31T09:30:00Z"
CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "identify": (
        {"user_id": "u1", "anonymous_id": "a1", "traits": {"plan": "pro"}, "timestamp": WHEN},
        {"userId": "u1", "anonymousId": "a1", "traits": {"plan": "pro"}, "timestamp": WHEN},
    ),
    "track": (
        {"event": "Signed Up", "user_id": 7, "properties": {"plan": "pro", "seats": [1, 2]}},
        {"event": "Signed Up", "userId": "7", "properties": {"plan": "pro", "seats": [1, 2]}},
    ),
    "group": (
        {"group_id": "g1", "user_id": "u1", "traits": {"employees": 42}, "integrations": {"All": False}},
        {"groupId": "g1", "userId": "u1", "traits": {"employees": 42}, "integrations": {"All": False}},
    ),
    "page": (
        {"name": "Home", "category": "Docs", "anonymous_id": "a1", "properties": {"url": "https://x.test"}},
        {
            "name": "Home",
            "category": "Docs",
            "anonymousId": "a1",
            "properties": {"url": "https://x.test", "name": "Home", "category": "Docs"},
        },
    ),
    "screen": (
        {"name": "Main", "user_id": "u1", "context": {"ip": "192.0.2.1"}},
        {"name": "Main", "userId": "u1"},
    ),
    "alias": ({"user_id": "new", "previous_id": "old"}, {"userId": "new", "previousId": "old"}),
}


@pytest.mark.parametrize("kind", CALLS)
def test_call(segment: SegmentServer, kind: str) -> None:
    """Each call arrives as it was said, in Segment's words."""
    said, expected = CALLS[kind]
    getattr(SegmentHook(), kind)(**said)
    (message,) = segment.messages
    assert {name: message.get(name) for name in expected} == expected
    assert message["type"] == kind
    assert message["context"]["library"]["name"] == "airflow-provider-segment"
    assert segment.dropped == []


def test_call_keeps_its_context_and_message_id(segment: SegmentServer) -> None:
    """What the caller says of context and message id stands."""
    SegmentHook().track("Paid", "u1", context={"ip": "192.0.2.1"}, message_id="mine-1")
    (message,) = segment.messages
    assert message["context"]["ip"] == "192.0.2.1"
    assert message["messageId"] == "mine-1"


def test_call_without_a_user(segment: SegmentServer) -> None:
    """A call without a user raises, and is not sent."""
    with pytest.raises(AirflowFailException, match="no_user_anon_id"):
        SegmentHook().identify(traits={"plan": "pro"})
    assert segment.requests == []


def test_call_with_an_unknown_field(segment: SegmentServer) -> None:
    """A misspelt field raises, and is not sent."""
    with pytest.raises(TypeError, match=r"track\(\) knows no contxt; it knows timestamp, context"):
        SegmentHook().track("Paid", "u1", contxt={})
    assert segment.requests == []


def test_refused_call(segment: SegmentServer) -> None:
    """A call that Segment refuses raises an error that no retry of the task can mend, with Segment's words."""
    segment.refuse(lambda message: message["userId"] == "bad")
    with pytest.raises(AirflowFailException, match="A message of the request was refused"):
        SegmentHook().identify("bad")
    assert segment.messages == []


@pytest.mark.parametrize("status", [401, 403])
def test_refused_key(segment: SegmentServer, status: int) -> None:
    """A refused key raises an error that names the key's place and does not show it."""
    segment.respond_with([status])
    with pytest.raises(AirflowFailException, match="refuses the write key") as caught:
        SegmentHook().identify("u1")
    assert json.loads(segment.connection)["password"] not in str(caught.value)


def test_misplaced_host(segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is no Tracking API raises an error that names the host and its answer."""
    monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", connection(segment, host=f"{segment.url}/elsewhere"))
    with pytest.raises(
        AirflowFailException, match=r"/elsewhere/v1/batch answers HTTP 404.*check the connection's host"
    ):
        SegmentHook().identify("u1")


def test_call_that_times_out(segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that Segment could not take in time raises an error that a retry of the task may mend."""
    monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", connection(segment, extra={"deadline": 5}))
    segment.respond_with([(503, {"Retry-After": "60"})])
    with pytest.raises(NotSentError, match="HTTP 503"):
        SegmentHook().identify("u1")
    assert segment.messages == []


def test_connection_that_works(segment: SegmentServer) -> None:
    """A good connection tests well, without an event, and says what could not be tested."""
    good, text = connected(segment, password="k" * 32)
    assert good
    assert f"{segment.url}/v1 answers" in text
    assert "Segment does not confirm write keys" in text
    assert "characters" not in text
    assert segment.messages == []
    assert segment.dropped == []
    assert [request.events for request in segment.requests] == [0]


def test_connection_with_an_odd_key(segment: SegmentServer) -> None:
    """A key of an odd length is pointed out, and not shown."""
    good, text = connected(segment, password="shortkey123")
    assert good
    assert "Segment's write keys have 32 characters; this one has 11." in text
    assert "shortkey123" not in text


def test_connection_that_is_not_reached(segment: SegmentServer) -> None:
    """A host where nothing answers tests badly, with its URL."""
    segment.stop()
    good, text = connected(segment)
    assert not good
    assert text.startswith(f"{segment.url}/v1 cannot be reached: ")


def test_connection_that_is_wrong(segment: SegmentServer) -> None:
    """A bad field tests badly, with its name, and nothing is asked."""
    good, text = connected(segment, password="", extra={})
    assert not good
    assert "has no write key" in text
    assert segment.requests == []


def test_send(segment: SegmentServer) -> None:
    """Messages as on the wire are sent in one batch; those with an id keep it, the others get one."""
    messages = [
        {"type": "identify", "userId": "u1", "messageId": "mine"},
        {"type": "track", "userId": "u1", "event": "Paid", "properties": {"revenue": 1.5}},
    ]
    report = SegmentHook().send(messages)
    assert (report.calls, report.accepted, report.requests) == (2, 2, 1)
    assert [message["type"] for message in segment.messages] == ["identify", "track"]
    assert segment.messages[0]["messageId"] == "mine"
    assert 32 <= len(segment.messages[1]["messageId"]) < 100
    assert "messageId" not in messages[1]


def test_send_with_a_bad_message(segment: SegmentServer) -> None:
    """A bad message raises, and the good ones are sent and counted."""
    with pytest.raises(AirflowFailException, match="1 of 2 calls were refused") as caught:
        SegmentHook().send([{"type": "identify"}, {"type": "identify", "userId": "u2"}])
    assert [message["userId"] for message in segment.messages] == ["u2"]
    report = caught.value.report  # type: ignore[attr-defined]
    assert (report.calls, report.accepted, report.invalid) == (2, 1, 1)


def test_send_nothing(segment: SegmentServer) -> None:
    """No message is no request."""
    assert SegmentHook().send([]).as_dict()["calls"] == 0
    assert segment.requests == []


def test_ids_outside_a_task(segment: SegmentServer) -> None:
    """Outside a task, the same call twice is two events."""
    for _ in range(2):
        SegmentHook().track("Paid", "u1")
    assert len({message["messageId"] for message in segment.messages}) == 2
    assert segment.duplicates == []


def test_sync_in_a_task(segment: SegmentServer, run_dag: RunDag) -> None:
    """A @task function sends its rows as an operator would, and returns the report."""
    with new_dag() as dag:

        @task
        def push() -> dict[str, Any]:
            rows = [{"id": n, "plan": "pro" if n % 2 else None} for n in range(10)]
            calls = [
                Identify(user_id="id", traits={"plan": "plan", "source": Constant("dwh")}),
                Track(event=Constant("Upgraded"), user_id="id", when={"plan": "pro"}),
            ]
            return SegmentHook().sync(rows, calls, nulls="omit").as_dict()

        push()

    run = run_dag(dag)
    assert run.state == "success"
    report = run.xcom("push")
    assert (report["rows"], report["calls"], report["accepted"]) == (10, 15, 15)
    assert Counter(message["type"] for message in segment.messages) == {"identify": 10, "track": 5}
    traits = {message["userId"]: message["traits"] for message in segment.messages if message["type"] == "identify"}
    assert traits["0"] == {"source": "dwh"}
    assert traits["1"] == {"source": "dwh", "plan": "pro"}


def test_ids_in_a_task(segment: SegmentServer, run_dag: RunDag) -> None:
    """In a task, equal messages are events of their own, whichever hook sends them, and a retry repeats their ids."""
    with new_dag() as dag:

        @task(retries=1, retry_delay=NO_WAIT)
        def push() -> None:
            first, second = SegmentHook(), SegmentHook()
            first.track("Paid", "u1")
            first.track("Paid", "u1")
            second.track("Paid", "u1")
            second.send([{"type": "track", "event": "Paid", "userId": "u1"}] * 2)
            if get_current_context()["ti"].try_number == 1:
                raise RuntimeError("the first try fails after all was sent")

        push()

    run = run_dag(dag)
    assert run.task("push") == ("success", 2)
    ids = [message["messageId"] for message in segment.messages]
    assert len(set(ids)) == 5
    assert [message["messageId"] for message in segment.duplicates] == ids


def test_ids_of_another_run(segment: SegmentServer, run_dag: RunDag) -> None:
    """The next run of the same task sends events of its own."""
    with new_dag() as dag:

        @task
        def push() -> None:
            SegmentHook().track("Paid", "u1")
            SegmentHook().sync([{"id": 1}], Identify(user_id="id"))

        push()

    assert [run_dag(dag).state, run_dag(dag).state] == ["success", "success"]
    assert len({message["messageId"] for message in segment.messages}) == 4
    assert segment.duplicates == []


def test_ids_of_a_sync_with_a_run_id(segment: SegmentServer) -> None:
    """Outside a task, the run id that the caller gives makes a later try repeat the ids."""
    for run_id in ("monday", "monday", "tuesday"):
        SegmentHook().sync([{"id": 1}, {"id": 2}], Identify(user_id="id"), sync_id="users", run_id=run_id)
    assert len(segment.messages) == 4
    assert len(segment.duplicates) == 2


def connection(segment: SegmentServer, **fields: Any) -> str:
    """Return the connection to the local Segment with some fields changed."""
    return json.dumps({**json.loads(segment.connection), **fields})


def connected(segment: SegmentServer, **fields: Any) -> tuple[bool, str]:
    """Test the connection to the local Segment with some fields changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_TRIED", connection(segment, **fields))
        return SegmentHook("tried").test_connection()
