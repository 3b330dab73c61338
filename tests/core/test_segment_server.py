"""The local Segment keeps its promises: checked over real HTTP."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_segment.testing import SegmentServer

KEY = "k" * 32
USER = {"userId": "u1"}
IDENTIFY = {"type": "identify", **USER}
TRACK = {"type": "track", "event": "E", **USER}
PAGE = {"type": "page", **USER}
GROUP = {"type": "group", "groupId": "g", **USER}
ALIAS = {"type": "alias", "previousId": "p", **USER}


@pytest.fixture
def segment() -> Iterator[SegmentServer]:
    with SegmentServer() as server:
        yield server


def post(server: SegmentServer, body: Any, path: str = "/v1/batch", **options: Any) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(server.url + path, data=data, timeout=10, **options)


def batch(*messages: Any, **envelope: Any) -> dict[str, Any]:
    return {"batch": list(messages), "writeKey": KEY, **envelope}


def codes(server: SegmentServer) -> list[str]:
    return [code for _, code in server.dropped]


# What is taken


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/import"])
def test_batch_is_taken(segment: SegmentServer, path: str) -> None:
    """A batch of good messages is answered 200 and kept in order."""
    messages = [{**message, "messageId": f"m{n}"} for n, message in enumerate((IDENTIFY, TRACK, PAGE, GROUP, ALIAS))]
    response = post(segment, batch(*messages), path)
    assert (response.status_code, response.json()) == (200, {"success": True})
    assert segment.messages == messages
    assert segment.dropped == []


@pytest.mark.parametrize("message", [IDENTIFY, TRACK, PAGE, {**PAGE, "type": "screen"}, GROUP, ALIAS])
def test_single_endpoint_gives_the_type(segment: SegmentServer, message: dict[str, Any]) -> None:
    """A call to an endpoint of its own needs no type and is kept with it, without the write key."""
    call = {name: value for name, value in message.items() if name != "type"}
    assert post(segment, {**call, "messageId": "m", "writeKey": KEY}, f"/v1/{message['type']}").status_code == 200
    assert segment.messages == [{**message, "messageId": "m"}]


def test_batch_context_lies_below(segment: SegmentServer) -> None:
    """The context and integrations of a batch reach each message, whose own keys win."""
    own = {**IDENTIFY, "context": {"ip": "own"}, "integrations": {"All": True}}
    post(segment, batch(own, IDENTIFY, context={"ip": "shared", "app": 1}, integrations={"All": False, "X": True}))
    assert [message["context"] for message in segment.messages] == [{"ip": "own", "app": 1}, {"ip": "shared", "app": 1}]
    assert [m["integrations"] for m in segment.messages] == [{"All": True, "X": True}, {"All": False, "X": True}]


def test_gzip_is_decompressed(segment: SegmentServer) -> None:
    """A compressed body counts as what it holds."""
    body = json.dumps(batch(IDENTIFY)).encode()
    assert post(segment, gzip.compress(body), headers={"Content-Encoding": "gzip"}).status_code == 200
    assert segment.requests[0].body == body


def test_missing_message_ids_are_made_up(segment: SegmentServer) -> None:
    """Messages without an id get one each, so that equal ones are no duplicates."""
    post(segment, batch(IDENTIFY, IDENTIFY))
    assert len({message["messageId"] for message in segment.messages}) == 2


def test_duplicates_are_set_apart(segment: SegmentServer) -> None:
    """A message id that was accepted before is a duplicate, whatever else the message says."""
    post(segment, batch({**IDENTIFY, "messageId": "a"}))
    post(segment, batch({**TRACK, "messageId": "a"}, {**TRACK, "messageId": "b"}))
    assert [message["messageId"] for message in segment.messages] == ["a", "b"]
    assert segment.duplicates == [{**TRACK, "messageId": "a"}]


def test_dropped_message_does_not_burn_its_id(segment: SegmentServer) -> None:
    """A message that was dropped may come again, mended, under the same id."""
    post(segment, batch({"type": "identify", "messageId": "a"}))
    post(segment, batch({**IDENTIFY, "messageId": "a"}))
    assert (codes(segment), len(segment.messages), segment.duplicates) == (["no_user_anon_id"], 1, [])


# What is dropped after a 200

DROPS = [
    ({"type": "identify"}, "no_user_anon_id"),
    ({"type": "identify", "userId": None, "anonymousId": None}, "no_user_anon_id"),
    ({"type": "group", "groupId": "g"}, "no_user_anon_id"),
    ({**IDENTIFY, "userId": 1}, "id_not_string"),
    ({**IDENTIFY, "userId": ""}, "id_not_string"),
    ({**IDENTIFY, "anonymousId": ""}, "id_not_string"),
    ({**IDENTIFY, "anonymousId": ["a"]}, "id_not_string"),
    ({**GROUP, "groupId": 7}, "id_not_string"),
    ({**ALIAS, "previousId": 7}, "id_not_string"),
    ({"type": "group", **USER}, "id_required"),
    ({"type": "alias", **USER}, "id_required"),
    ({"type": "alias", "previousId": "p"}, "id_required"),
    ({"type": "track", **USER}, "event_not_defined"),
    ({**TRACK, "event": None}, "event_not_defined"),
    ({**TRACK, "event": ""}, "event_not_string"),
    ({**TRACK, "event": 5}, "event_not_string"),
    ({**TRACK, "properties": [1]}, "properties_not_object"),
    ({**PAGE, "properties": "x"}, "properties_not_object"),
    ({**IDENTIFY, "traits": "x"}, "traits_not_object"),
    ({**GROUP, "traits": 0}, "traits_not_object"),
    ({**PAGE, "name": ""}, "name_not_string"),
    ({**PAGE, "type": "screen", "name": 1}, "name_not_string"),
    ({**PAGE, "category": ""}, "category_not_string"),
    ({**PAGE, "type": "screen", "category": {}}, "category_not_string"),
    (USER, "type_not_valid"),
    ({**IDENTIFY, "type": "import"}, "type_not_valid"),
    ({**IDENTIFY, "type": ["identify"]}, "type_not_valid"),
    ("identify", "type_not_valid"),
    ({**IDENTIFY, "messageId": "m" * 100}, "message_id_too_long"),
    ({**IDENTIFY, "messageId": 1}, "message_id_too_long"),
]


@pytest.mark.parametrize(("message", "code"), DROPS)
def test_bad_message_is_dropped_silently(segment: SegmentServer, message: Any, code: str) -> None:
    """A bad message is answered 200 like its good neighbours, and dropped alone with Segment's code."""
    assert post(segment, batch(IDENTIFY, message, TRACK)).status_code == 200
    assert segment.dropped == [(message, code)]
    assert [kept["type"] for kept in segment.messages] == ["identify", "track"]


NULLS = [
    {**IDENTIFY, "anonymousId": None, "traits": None},
    {**TRACK, "properties": None},
    {**PAGE, "name": None, "category": None},
    {**IDENTIFY, "messageId": None},
    {**IDENTIFY, "messageId": "m" * 99},
]


@pytest.mark.parametrize("message", NULLS)
def test_null_is_as_good_as_nothing(segment: SegmentServer, message: dict[str, Any]) -> None:
    """Optional fields that are null, as Segment's own SDK sends them, are no fault."""
    post(segment, batch(message))
    assert (len(segment.messages), segment.dropped) == (1, [])


@pytest.mark.parametrize("envelope", [{"batch": []}, {"batch": None}, {}])
def test_empty_batch_is_noted(segment: SegmentServer, envelope: dict[str, Any]) -> None:
    """A batch of nothing is answered 200 and noted as dropped."""
    assert post(segment, {"writeKey": KEY, **envelope}).status_code == 200
    assert segment.dropped == [({}, "empty_batch")]
    assert segment.requests[0].sizes == []


# Limits: at each the message or body is taken, one more byte or event and it is not


def sized(message: dict[str, Any], size: int, **dump: Any) -> bytes:
    empty = json.dumps({**message, "x": ""}, **dump).encode()
    return json.dumps({**message, "x": "x" * (size - len(empty))}, **dump).encode()


def as_compact(size: int) -> bytes:
    return sized(IDENTIFY, size, separators=(",", ":"))


def as_spaced(size: int) -> bytes:
    return b"{" + b" " * (size - len(json.dumps(IDENTIFY))) + json.dumps(IDENTIFY).encode()[1:]


def as_escaped(size: int) -> bytes:
    names = "\u00e9" * 1000
    return sized({**IDENTIFY, "name": names}, size)


@pytest.mark.parametrize("event", [as_compact, as_spaced, as_escaped])
@pytest.mark.parametrize(("size", "dropped"), [(32_768, []), (32_769, ["message_too_large"])])
def test_event_is_measured_as_it_was_sent(segment: SegmentServer, event: Any, size: int, dropped: list[str]) -> None:
    """An event in a batch may take 32,768 bytes, counted with its spaces and escapes; the rest of the batch is kept."""
    small = json.dumps(TRACK).encode()
    body = b'{"writeKey": "%s" , "context":{"app":"%s"}, "batch" : [ %s ,\n%s]}'
    assert post(segment, body % (KEY.encode(), b"c" * 90_000, small, event(size))).status_code == 200
    assert (codes(segment), len(segment.messages)) == (dropped, 2 - len(dropped))
    assert segment.requests[0].sizes == [len(small), size]


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [("/v1/batch", 500_000, 200), ("/v1/batch", 500_001, 400), ("/v1/track", 32_768, 200), ("/v1/track", 32_769, 400)],
)
def test_body_has_a_limit(segment: SegmentServer, path: str, size: int, status: int) -> None:
    """A body over the limit of its endpoint is refused whole."""
    message = batch(TRACK) if path == "/v1/batch" else {**TRACK, "writeKey": KEY}
    response = post(segment, sized(message, size), path)
    assert (response.status_code, response.json()["success"]) == (status, status == 200)
    assert len(segment.messages) == (status == 200)


def test_limit_counts_decompressed_bytes(segment: SegmentServer) -> None:
    """Compression makes no room in the limit."""
    body = gzip.compress(sized(batch(TRACK), 500_001))
    assert post(segment, body, headers={"Content-Encoding": "gzip"}).status_code == 400


def test_events_beyond_2500_are_dropped(segment: SegmentServer) -> None:
    """A batch of 2,501 is answered 200 and loses its last event."""
    assert post(segment, batch(*[{**IDENTIFY, "n": n} for n in range(2_501)])).status_code == 200
    assert (len(segment.messages), segment.dropped) == (2_500, [({**IDENTIFY, "n": 2_500}, "batch_too_many_events")])


# What is refused

BROKEN = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"batch"',
    b'{"batch": [NaN]}',
    b'{"a": "\xff"}',
    b'{"writeKey": "kkkkkkkk", "batch": {"a": 1}}',
]


@pytest.mark.parametrize("body", BROKEN)
def test_broken_body_is_refused(segment: SegmentServer, body: bytes) -> None:
    """A body that is not the JSON it should be is answered 400 with a reason."""
    response = post(segment, body)
    assert (response.status_code, response.json()["success"]) == (400, False)
    assert "JSON" in response.json()["message"]
    assert (segment.requests[0].status, segment.requests[0].sizes) == (400, [])


def test_broken_gzip_is_refused(segment: SegmentServer) -> None:
    """A body that claims to be compressed and is not gets 400."""
    body = json.dumps(batch(IDENTIFY)).encode()
    assert post(segment, body, headers={"Content-Encoding": "gzip"}).status_code == 400


@pytest.mark.parametrize(
    ("key", "auth", "status"),
    [
        (None, None, 400),
        ("", None, 400),
        (12345678, None, 400),
        ("abc123", None, 400),
        ("1234567", None, 400),
        ("12345678", None, 200),
        ("no such key", None, 200),
        (None, (KEY, ""), 200),
        ("", (KEY, ""), 200),
        (None, ("abc123", ""), 400),
    ],
)
def test_only_short_write_keys_are_refused(segment: SegmentServer, key: Any, auth: Any, status: int) -> None:
    """A write key may stand in the body or in HTTP Basic; wrong ones are taken, only very short ones are refused."""
    response = post(segment, {"batch": [IDENTIFY], "writeKey": key}, auth=auth)
    assert response.status_code == status
    if status == 400:
        assert response.json() == {"success": False, "message": "An invalid write key was provided"}
        assert segment.messages == []


def test_bearer_token_is_no_write_key(segment: SegmentServer) -> None:
    """An OAuth token is noted in the request and does not stand in for the write key."""
    headers = {"Authorization": "Bearer a-long-enough-token"}
    assert post(segment, {"batch": [IDENTIFY]}, headers=headers).status_code == 400
    assert post(segment, batch(IDENTIFY), headers=headers).status_code == 200
    assert segment.requests[1].headers["authorization"] == headers["Authorization"]
    assert segment.write_keys == {KEY}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/batch", 405), ("PUT", "/v1/track", 405), ("POST", "/v1/nothing", 404), ("POST", "/", 404)],
)
def test_unknown_ways_are_refused(segment: SegmentServer, method: str, path: str, status: int) -> None:
    """Another path or method is refused in JSON."""
    response = requests.request(method, segment.url + path, json=batch(IDENTIFY), timeout=10)
    assert (response.status_code, response.json()["success"]) == (status, False)
    assert segment.messages == []


def test_refused_message_takes_its_batch_along(segment: SegmentServer) -> None:
    """A request that holds a message to refuse is answered 400, and nothing of it is kept."""
    segment.refuse(lambda message: message.get("userId") == "poison")
    response = post(segment, batch(TRACK, {**IDENTIFY, "userId": "poison"}))
    assert (response.status_code, response.json()["success"]) == (400, False)
    assert (segment.messages, segment.dropped) == ([], [])
    assert post(segment, batch(TRACK)).status_code == 200


# Scripts


@pytest.mark.parametrize("status", [301, 400, 401, 413, 429, 460, 500, 503, 511])
def test_scripted_failure_keeps_nothing(segment: SegmentServer, status: int) -> None:
    """A scripted failure is answered once and keeps nothing; the next request is answered as usual."""
    segment.respond_with([status])
    assert post(segment, batch(IDENTIFY), allow_redirects=False).status_code == status
    assert segment.messages == []
    assert post(segment, batch(IDENTIFY)).status_code == 200
    assert [(request.status, request.events) for request in segment.requests] == [(status, 1), (200, 1)]


@pytest.mark.parametrize("step", [None, 200, 202, 204, (200, {}), (201, {"X": "y"}, b"{}")])
def test_scripted_success_keeps_the_messages(segment: SegmentServer, step: Any) -> None:
    """A scripted 2xx takes the place of the usual answer; the messages are kept."""
    segment.respond_with([step])
    assert post(segment, batch(IDENTIFY)).ok
    assert len(segment.messages) == 1


def test_scripted_headers_and_body_are_sent(segment: SegmentServer) -> None:
    """A step may say the headers and the body of its answer."""
    segment.respond_with([(429, {"Retry-After": "1"}), (502, {"Content-Type": "text/html"}, b"<h1>")])
    first, second = post(segment, batch(IDENTIFY)), post(segment, batch(IDENTIFY))
    assert (first.status_code, first.headers["Retry-After"], first.json()["success"]) == (429, "1", False)
    assert (second.status_code, second.headers["Content-Type"], second.content) == (502, "text/html", b"<h1>")


@pytest.mark.parametrize(("step", "kept"), [("reset", 0), ("reset_after", 1)])
def test_reset_leaves_the_client_in_doubt(segment: SegmentServer, step: Any, kept: int) -> None:
    """A reset looks the same to the client whether or not its messages were kept."""
    segment.respond_with([step])
    with pytest.raises(requests.ConnectionError, match="Connection reset by peer"):
        post(segment, batch(IDENTIFY))
    assert len(segment.messages) == kept
    assert segment.requests[0].status is None


def test_hang_ends_with_the_client(segment: SegmentServer) -> None:
    """A hanging request is never answered, keeps nothing and holds up no other."""
    segment.respond_with(["hang"])
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{segment.url}/v1/batch", json=batch(IDENTIFY), timeout=0.1)
    assert post(segment, batch(TRACK)).status_code == 200
    assert [message["type"] for message in segment.messages] == ["track"]


def test_script_may_be_a_function(segment: SegmentServer) -> None:
    """A function answers for ever, after the steps that were given before it."""
    segment.respond_with([503])
    segment.respond_with(lambda request: 500 if request.events > 1 else None)
    bodies = [batch(IDENTIFY), batch(IDENTIFY, TRACK), batch(IDENTIFY), batch(IDENTIFY, TRACK)]
    assert [post(segment, body).status_code for body in bodies] == [503, 500, 200, 500]


@pytest.mark.parametrize("step", ["explode", 99, 600, (500,), (500, "x"), 1.5])
def test_wrong_step_fails_when_given(segment: SegmentServer, step: Any) -> None:
    """A step that means nothing is an error in the test, not a strange answer later."""
    with pytest.raises(ValueError, match="Not "):
        segment.respond_with([step])


# Life and records


def test_keep_alive_serves_many_requests(segment: SegmentServer) -> None:
    """One connection carries many requests, after failures too."""
    segment.respond_with([None, 500, 404, (400, {}, b"")])
    ports = set()
    with requests.Session() as session:
        for _ in range(6):
            with session.post(f"{segment.url}/v1/batch", json=batch(IDENTIFY), timeout=10, stream=True) as response:
                ports.add(response.raw.connection.sock.getsockname())
                assert response.content is not None
    assert len(ports) == 1
    assert len(segment.messages) == 3


def test_delay_holds_back_answers(segment: SegmentServer) -> None:
    """Answers come no sooner than the delay, many at once."""
    segment.delay = 0.2
    started = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(lambda _: post(segment, batch(IDENTIFY)).ok, range(20)))
    assert 0.2 <= time.monotonic() - started < 20 * 0.2


@pytest.mark.parametrize("way", ["hang", "delay"])
def test_stop_does_not_wait_for_answers(way: str) -> None:
    """Stopping ends the requests that hang or are held back, and keeps the record as it was."""
    arrived = threading.Event()

    def script(_: Any) -> Any:
        arrived.set()
        return "hang" if way == "hang" else None

    server = SegmentServer()
    server.respond_with(script)
    server.delay = 60.0
    with ThreadPoolExecutor(1) as pool, server:
        answer = pool.submit(post, server, batch(IDENTIFY))
        assert arrived.wait(10)
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 2
        assert isinstance(answer.exception(10), requests.ConnectionError)
    assert server.requests[0].status is None


def test_stop_closes_kept_connections() -> None:
    """A stopped server answers nobody, and comes back on the same port with its record."""
    server = SegmentServer()
    with requests.Session() as session:
        with server:
            url = f"{server.url}/v1/batch"
            assert session.post(url, json=batch(IDENTIFY), timeout=10).ok
        with pytest.raises(requests.ConnectionError):
            session.post(url, json=batch(IDENTIFY), timeout=10)
        with server:
            assert session.post(url, json=batch(IDENTIFY), timeout=10).ok
    assert len(server.messages) == 2


def test_nothing_is_lost_among_threads(segment: SegmentServer) -> None:
    """Requests at the same time are all kept, and of the same message only one copy."""
    with ThreadPoolExecutor(16) as pool:
        bodies = [batch(*[{**IDENTIFY, "messageId": f"{n // 2}-{i}"} for i in range(50)]) for n in range(100)]
        assert all(response.ok for response in pool.map(lambda body: post(segment, body), bodies))
    assert (len(segment.messages), len(segment.duplicates), len(segment.requests)) == (2_500, 2_500, 100)


def test_requests_are_recorded(segment: SegmentServer) -> None:
    """A request can be looked at afterwards: path, headers, body, status, time and events."""
    before = time.monotonic()
    body = json.dumps(batch(IDENTIFY, TRACK)).encode()
    post(segment, body, "/v1/batch?x=1", headers={"User-Agent": "Me"})
    (request,) = segment.requests
    assert (request.method, request.path, request.body, request.status) == ("POST", "/v1/batch?x=1", body, 200)
    assert (request.events, request.sizes, request.headers["user-agent"]) == (2, [36, 47], "Me")
    assert before <= request.time <= time.monotonic()


def test_bodies_need_not_be_kept() -> None:
    """Without bodies the record stays small and the counts stay right."""
    with SegmentServer(keep_bodies=False) as server:
        post(server, batch(IDENTIFY, TRACK))
    assert [(request.body, request.events, request.sizes) for request in server.requests] == [(b"", 2, [])]


def test_reset_forgets_everything(segment: SegmentServer) -> None:
    """After a reset the server is as new: records, known ids, script, refusals and delay."""
    post(segment, batch({**IDENTIFY, "messageId": "a"}, {}))
    segment.respond_with([500])
    segment.refuse(lambda message: True)
    segment.delay = 60.0
    segment.reset()
    assert (segment.messages, segment.dropped, segment.requests, segment.write_keys) == ([], [], [], set())
    assert post(segment, batch({**IDENTIFY, "messageId": "a"})).status_code == 200
    assert (len(segment.messages), segment.duplicates) == (1, [])


def test_record_file_holds_the_accepted(tmp_path: Path) -> None:
    """Each accepted message, and no other, is appended to the file as a line of JSON."""
    path = tmp_path / "events.jsonl"
    for message_id in ("a", "b"):
        with SegmentServer(record=path) as server:
            message = {**IDENTIFY, "messageId": message_id}
            post(server, batch(message, message, {"type": "identify"}))
    assert [json.loads(line)["messageId"] for line in path.read_text().splitlines()] == ["a", "b"]


def test_no_write_key_in_a_repr(segment: SegmentServer) -> None:
    """Neither the server nor a request shows a write key when a failing test prints it."""
    post(segment, batch(IDENTIFY), auth=(KEY, ""))
    assert KEY not in repr(segment) + repr(segment.requests)
    assert segment.url in repr(segment)


def test_connection_is_what_airflow_reads(segment: SegmentServer) -> None:
    """The connection is JSON with the type, the URL and a write key that the server takes."""
    connection = json.loads(segment.connection)
    assert (connection["conn_type"], connection["host"]) == ("segment", segment.url)
    assert post(segment, {"batch": [IDENTIFY], "writeKey": connection["password"]}).status_code == 200


def test_url_is_known_from_the_start_on() -> None:
    """Asking for the URL of a server that was never started is an error that says what to do."""
    with pytest.raises(RuntimeError, match="with SegmentServer"):
        _ = SegmentServer().url


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_serves_until_it_is_stopped(tmp_path: Path, number: signal.Signals) -> None:
    """The command prints where it serves and the variable to set, records, and at its end says what came."""
    command = [sys.executable, "-m", "airflow_provider_segment.testing", "--port", "0", "--record", "events.jsonl"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        url = re.findall(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0]
        variable = process.stdout.readline().removeprefix("export AIRFLOW_CONN_SEGMENT_DEFAULT='").rstrip("'\n")
        assert json.loads(variable)["host"] == url
        message = {**IDENTIFY, "messageId": "a"}
        assert requests.post(f"{url}/v1/batch", json=batch(message, message, {}), timeout=10).ok
        process.send_signal(number)
        assert process.stdout.read() == "accepted 1, dropped 1, duplicates 1, requests 1\n"
    assert process.returncode == 0
    assert json.loads((tmp_path / "events.jsonl").read_text()) == message


def test_no_airflow_is_imported() -> None:
    """The local Segment comes without Airflow, for anyone's tests."""
    code = "import sys, airflow_provider_segment.testing; sys.exit('airflow' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0  # noqa: S603
