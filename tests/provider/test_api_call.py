"""SegmentApiCallOperator: one request of any kind to Segment's API."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from core.answering import answering
from runs import NO_WAIT, RunDag, new_dag

from airflow_provider_segment.operators.segment import SegmentApiCallOperator
from airflow_provider_segment.testing import SegmentServer

KEY = "ApiCallKey0000000000000000000000"
ELSEWHERE: dict[str, Callable[[str], str]] = {
    "another host": lambda there: f"{there}/v1/group",
    "another host without a scheme": lambda there: f"{there.removeprefix('http:')}/v1/group",
    "a host rendered by Jinja": lambda there: f"{{{{ '{there}' }}}}/v1/group",
    "no path": lambda _: "v1/group",
}
REFUSED: dict[str, tuple[int, tuple[str, int]]] = {
    "a bad request": (400, ("failed", 1)),
    "a refused key": (401, ("failed", 1)),
    "no such path": (404, ("failed", 1)),
    "too many requests": (429, ("failed", 3)),
    "an outage": (503, ("failed", 3)),
}


def test_request(run_dag: RunDag, monkeypatch: pytest.MonkeyPatch) -> None:
    """Method, path, headers, query and body arrive as they render, and the answer's JSON is the XCom."""
    with answering(lambda _: (201, {"ok": [1, {"b": None}]})) as (url, asked):
        connect(monkeypatch, url)
        with new_dag(params={"kind": "group", "user": "u 7"}) as dag:
            SegmentApiCallOperator(
                task_id="call",
                method="{{ 'post' | upper }}",
                path="/v2/{{ params.kind }}",
                headers={"X-Run": "{{ run_id }}"},
                query={"q": "{{ params.user }}", "n": 2},
                json={"userId": "{{ params.user }}", "traits": {"a": [1, None]}},
                segment_conn_id="{{ 'segment' }}_api",
            )
        run = run_dag(dag)
    assert run.state == "success"
    assert run.xcom("call") == {"ok": [1, {"b": None}]}
    (request,) = asked
    assert (request.method, request.path) == ("POST", "/v2/group?q=u+7&n=2")
    assert json.loads(request.body) == {"userId": "u 7", "traits": {"a": [1, None]}}
    assert request.headers["x-run"] == run.run_id
    assert request.headers["content-type"] == "application/json"
    scheme, _, credentials = request.headers["authorization"].partition(" ")
    assert (scheme, base64.b64decode(credentials)) == ("Basic", f"{KEY}:".encode())


def test_message(segment: SegmentServer, run_dag: RunDag) -> None:
    """A call to one of Segment's own paths is taken by Segment."""
    with new_dag() as dag:
        SegmentApiCallOperator(task_id="call", method="POST", path="/v1/group", json={"userId": "u1", "groupId": "g1"})
    assert run_dag(dag).xcom("call") == {"success": True}
    assert [(message["type"], message["groupId"]) for message in segment.messages] == [("group", "g1")]


def test_no_answer_to_speak_of(run_dag: RunDag, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a body nothing is sent but the request, and an answer of null leaves no XCom."""
    with answering(lambda _: (200, None)) as (url, asked):
        connect(monkeypatch, url)
        with new_dag() as dag:
            operator(method="GET", path="/v1/x")
        run = run_dag(dag)
    assert run.state == "success"
    assert run.xcom("call") is None
    assert [(request.method, request.path, request.body) for request in asked] == [("GET", "/v1/x", b"")]


@pytest.mark.parametrize("path", ELSEWHERE.values(), ids=ELSEWHERE)
def test_another_host(
    run_dag: RunDag,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    path: Callable[[str], str],
) -> None:
    """A path that leads to another host, which must not see the key, fails the task at once without a request."""
    with answering(lambda _: (200, {})) as (url, asked), answering(lambda _: (200, {})) as (other, asked_there):
        connect(monkeypatch, url)
        with new_dag() as dag:
            operator(method="POST", path=path(other))
        assert run_dag(dag).task("call") == ("failed", 1)
    assert asked == asked_there == []
    shown = capfd.readouterr()
    assert "path: expected one " in shown.out + shown.err


def test_redirect(run_dag: RunDag, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """A redirect is not followed with the key, wherever it leads: the task fails at once and says so."""
    places: list[str] = []
    with (
        answering(lambda _: (200, {})) as (other, asked_there),
        answering(lambda _: (307, {}, {"Location": places.pop()})) as (url, asked),
    ):
        connect(monkeypatch, url)
        places += [f"{url}/elsewhere", f"{other}/elsewhere"]
        for _ in range(2):
            with new_dag() as dag:
                operator(method="POST", path="/v1/group")
            assert run_dag(dag).task("call") == ("failed", 1)
    assert [request.path for request in asked] == ["/v1/group"] * 2
    assert asked_there == []
    shown = capfd.readouterr()
    assert "HTTP 307" in shown.out + shown.err


@pytest.mark.parametrize(("status", "expected"), REFUSED.values(), ids=REFUSED)
def test_refused(
    run_dag: RunDag,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    status: int,
    expected: tuple[str, int],
) -> None:
    """What is not 2xx fails the try with Segment's own words; only what may pass is tried again."""
    with answering(lambda _: (status, {"message": "no luck today"})) as (url, asked):
        connect(monkeypatch, url)
        with new_dag() as dag:
            operator(method="DELETE", path="/v1/things/7")
        assert run_dag(dag).task("call") == expected
    assert [(request.method, request.path) for request in asked] == [("DELETE", "/v1/things/7")] * expected[1]
    shown = capfd.readouterr()
    assert f"HTTP {status}: no luck today" in shown.out + shown.err
    assert KEY not in shown.out + shown.err


def operator(**request: Any) -> SegmentApiCallOperator:
    """Return an operator that makes a request by the connection of connect(), with two retries."""
    settings = {"task_id": "call", "segment_conn_id": "segment_api", "retries": 2, "retry_delay": NO_WAIT}
    return SegmentApiCallOperator(**(settings | request))


def connect(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Put a connection to a server in place, with a key of its own."""
    monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_API", json.dumps({"conn_type": "segment", "host": url, "password": KEY}))
