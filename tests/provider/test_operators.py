"""The six operators of one call: templated, checked early, and the same in a retry."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from runs import NO_WAIT, RunDag, new_dag

from airflow_provider_segment.operators.segment import (
    SegmentAliasOperator,
    SegmentGroupOperator,
    SegmentIdentifyOperator,
    SegmentPageOperator,
    SegmentScreenOperator,
    SegmentTrackOperator,
)
from airflow_provider_segment.testing import SegmentServer

COMMON = {
    "timestamp": "2026-01-31T09:30:00Z",
    "context": {"dag": "{{ dag.dag_id }}"},
    "integrations": {"Mixpanel": True},
    "message_id": "{{ ti.task_id }}-id",
}
TEMPLATED: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "identify": (
        SegmentIdentifyOperator,
        {"user_id": "{{ params.user }}", "traits": {"task": "{{ ti.task_id }}", "tags": ["{{ params.user }}"]}},
        {"userId": "u7", "traits": {"task": "call", "tags": ["u7"]}},
    ),
    "track": (
        SegmentTrackOperator,
        {"event": "{{ params.user }} Paid", "anonymous_id": "{{ params.user }}", "properties": {"n": 1, "x": None}},
        {"event": "u7 Paid", "anonymousId": "u7", "properties": {"n": 1, "x": None}},
    ),
    "group": (
        SegmentGroupOperator,
        {"group_id": "g{{ params.user }}", "user_id": "{{ params.user }}", "traits": {"a": {"b": "{{ params.user }}"}}},
        {"groupId": "gu7", "userId": "u7", "traits": {"a": {"b": "u7"}}},
    ),
    "page": (
        SegmentPageOperator,
        {
            "name": "{{ params.word }} Page",
            "category": "{{ params.word }}s",
            "user_id": "{{ params.user }}",
            "properties": {"url": "https://x.test/{{ params.user }}", "n": 1, "x": None},
        },
        {
            "name": "Price Page",
            "category": "Prices",
            "userId": "u7",
            "properties": {
                "name": "Price Page",
                "category": "Prices",
                "url": "https://x.test/u7",
                "n": 1,
                "x": None,
            },
        },
    ),
    "screen": (
        SegmentScreenOperator,
        {"name": "{{ params.word }}", "anonymous_id": "{{ params.user }}", "properties": {"a": ["{{ params.user }}"]}},
        {"name": "Price", "anonymousId": "u7", "properties": {"name": "Price", "a": ["u7"]}},
    ),
    "alias": (
        SegmentAliasOperator,
        {"user_id": "{{ params.user }}", "previous_id": "old-{{ params.user }}"},
        {"userId": "u7", "previousId": "old-u7"},
    ),
}
USER = "user_id=... or anonymous_id=..."
INCOMPLETE: dict[str, tuple[Any, dict[str, Any], str]] = {
    "identify without a user": (SegmentIdentifyOperator, {"traits": {"plan": "pro"}}, USER),
    "track without a user": (SegmentTrackOperator, {"event": "Paid"}, USER),
    "group without a user": (SegmentGroupOperator, {"group_id": "g1"}, USER),
    "page without a user": (SegmentPageOperator, {"name": "Home"}, USER),
    "screen without a user": (SegmentScreenOperator, {"name": "Main"}, USER),
    "alias without its old id": (SegmentAliasOperator, {"user_id": "u1"}, "previous_id"),
    "alias without its new id": (SegmentAliasOperator, {"previous_id": "u0"}, "user_id"),
    "alias without anything": (SegmentAliasOperator, {}, "user_id and previous_id"),
}


@pytest.mark.parametrize("kind", TEMPLATED)
def test_templated_fields(segment: SegmentServer, run_dag: RunDag, kind: str) -> None:
    """Jinja in every field is rendered, at any depth, what is no text keeps its type, and the report is returned."""
    operator, fields, expected = TEMPLATED[kind]
    with new_dag(params={"user": "u7", "word": "Price"}) as dag:
        operator(task_id="call", **fields, **COMMON)
    run = run_dag(dag)
    assert run.state == "success"
    (message,) = segment.messages
    assert message["type"] == kind
    assert {name: message[name] for name in expected} == expected
    assert message["context"]["dag"] == dag.dag_id
    assert message["timestamp"] == "2026-01-31T09:30:00Z"
    assert message["integrations"] == {"Mixpanel": True}
    assert message["messageId"] == "call-id"
    report = run.xcom("call")
    assert (report["rows"], report["calls"], report["accepted"]) == (1, 1, 1)
    assert segment.dropped == []


def test_templated_connection(segment: SegmentServer, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection's id is rendered too."""
    other = {**json.loads(segment.connection), "password": "AnotherSourcesKey000000000000000"}
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(other))
    with new_dag(params={"source": "other"}) as dag:
        SegmentIdentifyOperator(task_id="call", user_id="u1", segment_conn_id="{{ params.source }}")
    assert run_dag(dag).state == "success"
    assert segment.write_keys == {"AnotherSourcesKey000000000000000"}


@pytest.mark.parametrize(("operator", "fields", "needed"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_incomplete(operator: Any, fields: dict[str, Any], needed: str) -> None:
    """A call that Segment would drop for want of an id fails when the DAG is parsed."""
    with pytest.raises(ValueError, match=f"^{operator.__name__} needs {re.escape(needed)}"):
        operator(task_id="call", **fields)


@pytest.mark.parametrize("kind", TEMPLATED)
def test_user_that_renders_to_nothing(segment: SegmentServer, run_dag: RunDag, kind: str) -> None:
    """A user that Jinja renders to nothing fails the task at once, and nothing is sent."""
    operator, fields, _ = TEMPLATED[kind]
    with new_dag(params={"user": "", "word": ""}) as dag:
        operator(task_id="call", **fields, retries=2, retry_delay=NO_WAIT)
    run = run_dag(dag)
    assert run.task("call") == ("failed", 1)
    assert run.xcom("call", "report")["invalid"] == 1
    assert segment.requests == []


def test_page_without_a_name(segment: SegmentServer, run_dag: RunDag) -> None:
    """A page and a screen need no name, and an empty one is left out, since Segment would drop the call."""
    with new_dag(params={"name": ""}) as dag:
        SegmentPageOperator(task_id="page", user_id="u1", name="{{ params.name }}")
        SegmentScreenOperator(task_id="screen", user_id="u1")
    assert run_dag(dag).state == "success"
    assert sorted(message["type"] for message in segment.messages) == ["page", "screen"]
    assert not any("name" in message for message in segment.messages)
    assert segment.dropped == []


def test_refused_call_is_not_retried(segment: SegmentServer, run_dag: RunDag) -> None:
    """A call that Segment refuses fails the task at once, whatever its retries."""
    segment.refuse(lambda _: True)
    with new_dag() as dag:
        SegmentTrackOperator(task_id="call", event="Paid", user_id="u1", retries=2, retry_delay=NO_WAIT)
    run = run_dag(dag)
    assert run.state == "failed"
    assert run.task("call") == ("failed", 1)
    assert len(segment.requests) == 1


def test_retry_repeats_the_id(segment: SegmentServer, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch) -> None:
    """A try whose answer was lost is repeated by the task with the same message id."""
    impatient = {**json.loads(segment.connection), "extra": {"deadline": 1e-9}}
    monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", json.dumps(impatient))
    segment.respond_with(["reset_after"])
    with new_dag() as dag:
        SegmentTrackOperator(task_id="call", event="Paid", user_id="u1", retries=2, retry_delay=NO_WAIT)
    assert run_dag(dag).task("call") == ("success", 2)
    assert len(segment.messages) == 1
    assert [message["messageId"] for message in segment.duplicates] == [segment.messages[0]["messageId"]]


def test_outage_is_retried(segment: SegmentServer, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage that outlasts the deadline fails the try, and the task's retry sends the call."""
    impatient = {**json.loads(segment.connection), "extra": {"deadline": 5}}
    monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", json.dumps(impatient))
    segment.respond_with([(503, {"Retry-After": "60"})])
    with new_dag() as dag:
        SegmentIdentifyOperator(task_id="call", user_id="u1", retries=1, retry_delay=NO_WAIT)
    assert run_dag(dag).task("call") == ("success", 2)
    assert [message["userId"] for message in segment.messages] == ["u1"]
    assert segment.duplicates == []


def test_two_tasks_of_a_run(segment: SegmentServer, run_dag: RunDag) -> None:
    """The same call in two tasks of a run is two events."""
    with new_dag() as dag:
        for name in ("one", "two"):
            SegmentTrackOperator(task_id=name, event="Paid", user_id="u1")
    assert run_dag(dag).state == "success"
    assert len(segment.messages) == 2
    assert segment.duplicates == []
