"""One POST, one Response: what is on the wire, and that trouble is a value."""

from __future__ import annotations

import base64
import gzip
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sending import KEY, LIBRARY, event, transport_to

from airflow_provider_segment.core.delivery.answers import Response
from airflow_provider_segment.core.delivery.batching import MAX_BODY_BYTES
from airflow_provider_segment.core.delivery.transport import Transport, reach
from airflow_provider_segment.testing import Request, SegmentServer


def test_body_is_what_segment_documents(segment: SegmentServer) -> None:
    """A body holds the events, the write key, the library and when it was sent; the key is in HTTP Basic too."""
    response = transport_to(segment).post([event(1), event(2)])
    (request,) = segment.requests
    body = json.loads(request.body)
    assert body.pop("sentAt").endswith("Z")
    assert body == {
        "context": {"library": LIBRARY},
        "writeKey": KEY,
        "batch": [json.loads(event(1)), json.loads(event(2))],
    }
    assert (request.method, request.path, request.headers["content-type"]) == ("POST", "/v1/batch", "application/json")
    assert request.headers["authorization"] == "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()
    assert (response.status, response.documented, response.sent) == (200, True, len(request.body))
    assert [message["context"]["library"] for message in segment.messages] == [LIBRARY, LIBRARY]


def test_sent_at_is_of_each_try(segment: SegmentServer) -> None:
    """Each try says when it was sent itself: Segment reads the clock's skew from it."""
    transport = transport_to(segment)
    segment.respond_with([500, 500])
    segment.delay = 0.002  # the clock of sentAt ticks in milliseconds
    for _ in range(3):
        transport.post([event(1)])
    sent = [json.loads(request.body)["sentAt"] for request in segment.requests]
    assert sent == sorted(set(sent))
    assert len(sent) == 3


@pytest.mark.parametrize("key", ["k" * 32, 'k"ey\\with{%b}%s%%', "clé-d'écriture"])
@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_overhead_is_exact(segment: SegmentServer, key: str, count: int) -> None:
    """A body is as long as the overhead and the joined events, whatever is in the key or the library."""
    transport = Transport(f"{segment.url}/v1", key, library={"name": 'a"%b', "version": "é"})
    events = [event(n) for n in range(count)]
    assert transport.post(events).sent == transport.overhead + len(b",".join(events))
    (request,) = segment.requests
    assert len(request.body) == transport.overhead + len(b",".join(events))
    assert orjson.loads(request.body)["writeKey"] == key


def test_largest_body_is_taken(segment: SegmentServer) -> None:
    """A body at our limit is below Segment's."""
    transport = transport_to(segment)
    room = MAX_BODY_BYTES - transport.overhead
    events = [event(n, traits={"t": "x" * 1_000}) for n in range(1_000)]
    while len(b",".join(events)) > room:
        events.pop()
    assert transport.post(events).status == 200
    assert len(segment.messages) == len(events) > 400


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(segment: SegmentServer, status: int) -> None:
    """A redirect is an answer like another: neither key nor events go where it points."""
    with SegmentServer() as other:
        segment.respond_with([(status, {"Location": f"{other.url}/v1/batch"})])
        response = transport_to(segment).post([event(1)])
        assert other.requests == []
    assert (response.status, response.headers["location"]) == (status, f"{other.url}/v1/batch")
    assert len(segment.requests) == 1


@pytest.mark.parametrize("fault", ["reset", "reset_after"])
def test_reset_is_a_response(segment: SegmentServer, fault: Any) -> None:
    """A connection that breaks is a Response without a status, and the next try has a new connection."""
    segment.respond_with([fault])
    transport = transport_to(segment)
    broken = transport.post([event(1)])
    assert (broken.status, broken.documented, broken.sent) == (None, False, len(segment.requests[0].body))
    assert "connection failed" in str(broken)
    assert transport.post([event(1)]).status == 200


def test_silence_is_a_response(segment: SegmentServer) -> None:
    """A server that does not answer in time is a Response without a status."""
    segment.respond_with(["hang"])
    response = transport_to(segment, timeout=0.05).post([event(1)])
    assert (response.status, "no answer in time" in str(response)) == (None, True)


def test_nobody_there_is_a_response() -> None:
    """A port that nobody listens on, or a name that nobody knows, is a Response without a status."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        urls = [f"http://127.0.0.1:{free.getsockname()[1]}/v1", "http://nobody.invalid/v1", "http://[::1/v1"]
        for url in urls:
            response = Transport(url, KEY, library=LIBRARY, timeout=5).post([event(1)])
            assert response.status is None, url
            assert KEY not in repr(response)


ANSWERS: list[tuple[Any, int, bool, str]] = [
    ((200, {}, b'{"success": true}'), 200, True, ""),
    ((200, {}, b'{"success": false}'), 200, False, ""),
    ((200, {}, b'{"success": "true"}'), 200, False, ""),
    ((200, {}, b"[true]"), 200, False, ""),
    ((200, {}, b"<html>log in</html>"), 200, False, ""),
    ((200, {}, b""), 200, False, ""),
    ((200, {"Content-Encoding": "gzip"}, gzip.compress(b'{"success": true}')), 200, True, ""),
    ((400, {}, b'{"success": false, "message": "Malformed JSON"}'), 400, False, "Malformed JSON"),
    ((400, {}, b'{"message": ["x"]}'), 400, False, ""),
    ((400, {}, b'{"message": "' + b"x" * 5_000 + b'"}'), 400, False, "x" * 200),
    ((502, {}, b"x" * 3_000_000), 502, False, ""),
]


@pytest.mark.parametrize(("answer", "status", "documented", "message"), ANSWERS)
def test_answer_is_read(segment: SegmentServer, answer: Any, status: int, documented: bool, message: str) -> None:
    """An answer gives its status, whether it is the documented one, and Segment's own words, shortened."""
    segment.respond_with([answer])
    response = transport_to(segment).post([event(1)])
    assert (response.status, response.documented, response.message) == (status, documented, message)


def test_answer_that_cannot_be_unpacked_is_trouble(segment: SegmentServer) -> None:
    """An answer that claims to be compressed and is not is trouble on the network."""
    segment.respond_with([(200, {"Content-Encoding": "gzip"}, b"no gzip")])
    assert transport_to(segment).post([event(1)]).status is None


def test_header_names_are_in_small_letters(segment: SegmentServer) -> None:
    """Headers are found by their names in small letters."""
    segment.respond_with([(429, {"RETRY-AFTER": "7"})])
    assert transport_to(segment).post([event(1)]).headers["retry-after"] == "7"


def test_connection_is_used_again(segment: SegmentServer) -> None:
    """A thread keeps its connection from one request to the next."""
    transport = transport_to(segment)
    segment.respond_with(lambda request: None)
    with ThreadPoolExecutor(1) as thread:
        answers = [thread.submit(transport.post, [event(n)]).result() for n in range(5)]
        assert len(transport._sessions) == 1
    assert [answer.status for answer in answers] == [200] * 5


def test_threads_do_not_disturb_each_other(segment: SegmentServer) -> None:
    """Many threads post at once, each its own events."""
    transport = transport_to(segment)
    with ThreadPoolExecutor(8) as threads:
        answers = [*threads.map(lambda n: transport.post([event(n)]), range(80))]
    transport.close()
    assert {answer.status for answer in answers} == {200}
    assert sorted(message["userId"] for message in segment.messages) == sorted(f"u{n}" for n in range(80))


def test_nothing_shows_the_key(segment: SegmentServer) -> None:
    """Neither a transport nor a response shows the write key when it is printed."""
    transport = transport_to(segment)
    segment.respond_with([(400, {}, json.dumps({"message": "no", "echo": KEY}).encode()), "reset"])
    shown = [transport, *(transport.post([event(1)]) for _ in range(3))]
    assert KEY not in " ".join(f"{thing!r} {thing}" for thing in shown)
    assert segment.url in repr(transport)


def test_netrc_does_not_replace_the_key(
    segment: SegmentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials that a netrc file has for the host are not sent in place of the key, nor where no key is sent."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    transport_to(segment).post([event(1)])
    reach(f"{segment.url}/v1", timeout=5, proxy=None)
    assert segment.requests[0].headers["authorization"] == "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()
    assert "authorization" not in segment.requests[1].headers


def test_reaching_sends_neither_key_nor_event(segment: SegmentServer) -> None:
    """Asking whether anything answers is a GET without a body, and its answer a value."""
    assert reach(f"{segment.url}/v1", timeout=5, proxy=None).status == 404
    (request,) = segment.requests
    assert (request.method, request.body) == ("GET", b"")
    segment.stop()
    assert reach(f"{segment.url}/v1", timeout=5, proxy=None).status is None


@given(st.none() | st.integers() | st.text() | st.dictionaries(st.sampled_from(["success", "message"]), st.integers()))
def test_any_content_is_readable(content: Any) -> None:
    """Whatever JSON an answer holds, asking it is no error."""
    response = Response(200, content=content)
    assert (response.documented, response.message) == (False, "")


def test_tokens_stand_in_for_basic(segment: SegmentServer) -> None:
    """With a token the Authorization header carries it, and the body still carries the key."""

    class Tokens:
        def __init__(self) -> None:
            self.forgotten: list[str] = []

        def current(self) -> str | Response:
            return f"token-{len(self.forgotten)}"

        def forget(self, token: str) -> None:
            self.forgotten.append(token)

    tokens = Tokens()
    transport = transport_to(segment, tokens=tokens)
    assert (transport.post([event(1)]).status, transport.renew()) == (200, True)
    assert (transport.post([event(2)]).status, tokens.forgotten) == (200, ["token-0"])
    seen: list[Request] = segment.requests
    assert [request.headers["authorization"] for request in seen] == ["Bearer token-0", "Bearer token-1"]
    assert segment.write_keys == {KEY}
    assert KEY not in repr(transport)


def test_without_tokens_there_is_nothing_to_renew(segment: SegmentServer) -> None:
    """A refused write key cannot be made anew."""
    transport = transport_to(segment)
    transport.post([event(1)])
    assert (transport.renew(), transport.has_tokens) == (False, False)


def test_missing_token_is_the_answer(segment: SegmentServer) -> None:
    """Where no token is to be had, what came back instead is the answer, and nothing is posted."""

    class NoTokens:
        def current(self) -> str | Response:
            return Response(None, trouble="the OAuth server: HTTP 503")

        def forget(self, token: str) -> None:
            raise AssertionError(token)

    transport = transport_to(segment, tokens=NoTokens())
    assert "OAuth server" in str(transport.post([event(1)]))
    assert (segment.requests, transport.renew()) == ([], False)
