"""Nothing is lost and nothing is said twice, whatever the wire, the source, the disk or the user does to a run."""

from __future__ import annotations

import datetime as dt
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hostile import GOOD, OK, Hostile, Step, answer, chunked
from hypothesis import given, settings
from hypothesis import strategies as st
from sending import KEY, LIBRARY, QUICK, adds_up, batch_of, event, run, transport_to
from waiting import until

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.core.delivery.answers import Response
from airflow_provider_segment.core.delivery.outcome import Outcome
from airflow_provider_segment.core.delivery.pace import Pace
from airflow_provider_segment.core.delivery.retries import RetryPolicy
from airflow_provider_segment.core.delivery.sender import Delivery
from airflow_provider_segment.core.delivery.transport import Transport
from airflow_provider_segment.core.errors import (
    CredentialsError,
    EndpointError,
    NotSentError,
    RejectsError,
    SegmentError,
    SourceError,
)
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.testing import Request, SegmentServer

ANY = Identify("id", traits=["x"])
COLUMNS = ["id", "x"]
TIMEOUT = 0.5  # seconds of the client; what hangs costs so much


@contextmanager
def once(condition: Callable[[], object], action: Callable[[], object]) -> Iterator[list[float]]:
    """Do something from another thread as soon as something is so, while the body runs; lend when it was done."""
    done: list[float] = []

    def act() -> None:
        until(condition)
        done.append(time.monotonic())
        action()

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield done
    finally:
        thread.join(30)


def senders() -> list[str]:
    """The names of our threads that are alive."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("segment")]


def pages_of(rows: int, size: int = 10) -> list[list[tuple[int, str]]]:
    return [[(n, "x") for n in range(first, min(first + size, rows))] for first in range(0, rows, size)]


def to(server: Hostile, timeout: float = TIMEOUT) -> Transport:
    return Transport(f"{server.url}/v1", KEY, library=LIBRARY, timeout=timeout)


# Every row of the retry table


@dataclass(frozen=True)
class Recorded(RetryPolicy):
    """A policy that remembers what was asked of it, and waits in fact not at all."""

    deadline: float = 1e9
    jitter: Callable[[], float] = lambda: 0.75
    asked: list[float | None] = field(default_factory=list)
    waits: list[float | None] = field(default_factory=list)

    def wait(self, attempt: int, elapsed: float, asked: float | None = None) -> float | None:
        seconds = super().wait(attempt, elapsed, asked)
        self.asked.append(asked)
        self.waits.append(seconds)
        return None if seconds is None else 0.0


class Tokens:
    """OAuth's tokens, without its server: `core/delivery/oauth.py` has tests of its own."""

    def __init__(self) -> None:
        self.made = 1

    def current(self) -> str | Response:
        return f"token-{self.made}"

    def forget(self, token: str) -> None:
        self.made += token == self.current()


RETRIED: list[Any] = [
    *(408, 410, 429, 460),
    *(status for status in range(500, 600) if status not in (501, 505, 511)),
    *("reset", "reset_after", "hang"),
    *((200, {}, body) for body in (b"", b"<html>", b"[]", b'{"success": false}', b'{"success":true', b"null")),
]


@pytest.mark.parametrize("fault", RETRIED, ids=str)
def test_what_may_pass_is_tried_until_it_has(segment: SegmentServer, fault: Any) -> None:
    """Each fault that may pass costs one request a time and a back-off that doubles, and the events are accepted."""
    policy = Recorded()
    times = 1 if fault == "hang" else 3
    segment.respond_with([fault] * times)
    with Delivery(transport_to(segment, timeout=0.2 if fault == "hang" else 10.0), policy, Pace()) as delivery:
        delivery.submit(batch_of([event(n) for n in range(3)]))
        (outcome,) = delivery.drain()
    assert (outcome.accepted, outcome.rejected, outcome.error) == ([range(3)], [], None)
    assert (outcome.requests, outcome.retries, len(segment.requests)) == (times + 1, times, times + 1)
    assert policy.asked == [None] * times
    assert policy.waits == [0.75 * 0.5 * 2**n for n in range(times)]


SOON = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(days=1), usegmt=True)
ASKED: list[tuple[dict[str, str], float]] = [
    ({"Retry-After": "7"}, 7.0),
    ({"Retry-After": "7", "X-RateLimit-Reset": "9"}, 7.0),
    ({"X-RateLimit-Reset": "9"}, 9.0),
    ({"Retry-After": "soon", "X-RateLimit-Reset": "9"}, 9.0),
    ({"Retry-After": "100000"}, 300.0),
    ({"X-RateLimit-Reset": "100000"}, 300.0),
    ({"Retry-After": SOON}, 300.0),
]


@pytest.mark.parametrize(("headers", "seconds"), ASKED)
@pytest.mark.parametrize("status", [408, 410, 429, 460, 500, 503])
def test_servers_wait_takes_the_place_of_ours(
    segment: SegmentServer, status: int, headers: dict[str, str], seconds: float
) -> None:
    """The wait that an answer asks for is kept on every status that is tried again, up to 300 seconds."""
    policy = Recorded()
    segment.respond_with([(status, headers)])
    with Delivery(transport_to(segment), policy, Pace()) as delivery:
        delivery.submit(batch_of([event(1)]))
        (outcome,) = delivery.drain()
    assert (policy.waits, outcome.requests, outcome.count()) == ([seconds], 2, 1)


CREDENTIALS = (401, 403)
FINAL: list[tuple[int, type[SegmentError]]] = [
    *((status, CredentialsError) for status in CREDENTIALS),
    *((status, EndpointError) for status in (201, 202, 204, 206, 300, 301, 302, 303, 304, 307, 308)),
    *((status, EndpointError) for status in (402, 404, 405, 406, 407, 409, 411, 412, 414, 415, 422, 426, 431, 451)),
    *((status, EndpointError) for status in (501, 505, 511)),
]


@pytest.mark.parametrize(("status", "error"), FINAL)
def test_what_lasts_is_asked_once(segment: SegmentServer, status: int, error: type[SegmentError]) -> None:
    """A final answer costs one request and no wait, whatever wait it asks for."""
    policy = Recorded()
    segment.respond_with(lambda _: (status, {"Retry-After": "1"}))
    with Delivery(transport_to(segment), policy, Pace()) as delivery:
        delivery.submit(batch_of([event(n) for n in range(3)]))
        (outcome,) = delivery.drain()
    assert (type(outcome.error), outcome.requests, outcome.count()) == (error, 1, 0)
    assert (outcome.rejected, policy.waits) == ([], [])


@pytest.mark.parametrize("status", [401, 403, 511])
def test_with_oauth_a_refused_token_is_replaced_once(segment: SegmentServer, status: int) -> None:
    """With OAuth 401, 403 and 511 cost one more request with a new token, without a wait; then they are final."""
    for answers, requests, error in (([status], 2, None), ([status] * 2, 2, CredentialsError)):
        segment.reset()
        segment.respond_with(answers)
        policy = Recorded()
        with Delivery(transport_to(segment, tokens=Tokens()), policy, Pace()) as delivery:
            delivery.submit(batch_of([event(1)]))
            (outcome,) = delivery.drain()
        used = [request.headers["authorization"] for request in segment.requests]
        assert (used, outcome.requests) == (["Bearer token-1", "Bearer token-2"], requests)
        assert (type(outcome.error) if error else outcome.error, policy.waits) == (error, [])


@pytest.mark.parametrize("status", [400, 413])
@pytest.mark.parametrize(("events", "requests"), [(1, 1), (2, 3), (4, 5), (8, 7), (1_024, 21)])
def test_refused_body_is_halved(segment: SegmentServer, status: int, events: int, requests: int) -> None:
    """One bad event of a refused body costs two requests for each halving, and no wait."""
    policy = Recorded()
    segment.respond_with(lambda request: status if b'"u0"' in request.body else None)
    with Delivery(transport_to(segment), policy, Pace()) as delivery:
        delivery.submit(batch_of([event(n) for n in range(events)]))
        (outcome,) = delivery.drain()
    assert [(place, reply.status) for place, reply in outcome.rejected] == [(0, status)]
    assert (outcome.count(), outcome.requests, outcome.retries) == (events - 1, requests, 0)
    assert (outcome.error, policy.waits) == (None, [])


# What comes over the wire

ODD: list[tuple[bytes, bool]] = [
    (b"HTTP/1.1 302 Found\r\nLocation: /caf\xe9\r\nContent-Length: 0\r\n\r\n", False),
    (b"HTTP/1.1 307 Found\r\nLocation: http://[bad\r\nContent-Length: 0\r\n\r\n", False),
    (b"HTTP/1.1 302 Found\r\nLocation: http://x:99999999/\r\nContent-Length: 0\r\n\r\n", False),
    (b"HTTP/1.1 302 Found\r\nLocation: //" + b"x" * 300 + b"\r\nContent-Length: 0\r\n\r\n", False),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\nContent-Length: 17\r\n\r\n" + OK, False),
    (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\nContent-Length: 16\r\n\r\n" + OK, False),
    (b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"Content-Length: 16\r\n\r\n" + OK, False),
    (answer(200, b"no gzip", "Content-Encoding: gzip"), False),
    (answer(200, b"[" * 100_000), False),
    (answer(200, b'{"success":NaN}'), False),
    (answer(200, b'{"success":true}x'), False),
    (b"HTTP/1.1 999 Odd\r\nContent-Length: 16\r\n\r\n" + OK, False),
    (b"HTTP/1.1 99 Odd\r\n\r\n", False),
    (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", False),
    (b"\x16\x03\x01\x02\x00 this is TLS\r\n\r\n", False),
    (OK, False),
    (b"", False),
    (answer(429, b"", "Retry-After: \xff\xfe"), False),
    (chunked(b'{"success"', b":true}"), True),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(200), True),
    (answer(200, OK, "Set-Cookie: \xff=\xfe; Expires=99999; Domain=["), True),
    (b"HTTP/1.1 200 OK\r\n\r\n" + OK, True),
]


@pytest.mark.parametrize(("data", "documented"), ODD, ids=lambda value: str(value)[:50])
def test_whatever_comes_back_is_a_response(data: bytes, documented: bool) -> None:
    """No answer, however odd its head or body, is an exception; only the documented one is an acknowledgement."""
    with Hostile([Step("odd", data, then="close")]) as server:
        response = to(server).post([event(1)])
        assert (response.documented and response.status == 200) is documented


def test_odd_redirects_lose_no_count(segment: SegmentServer) -> None:
    """A redirect to an address that cannot be read ends the run as another does, and its counts are true."""
    odd = Step("odd", b"HTTP/1.1 302 Found\r\nLocation: http://[bad\r\nContent-Length: 0\r\n\r\n", then="close")
    report = Report()
    with Hostile([GOOD, GOOD], lasting=odd) as server:
        delivery = Delivery(to(server), QUICK, Pace(30_000), 4)
        delivery.max_events = 5
        with pytest.raises(EndpointError, match="HTTP 302"):
            run(segment, COLUMNS, pages_of(100), ANY, delivery=delivery, report=report)
    assert adds_up(report)
    assert report.accepted == len(server.acknowledged) == 10


def test_sender_keeps_its_connection(segment: SegmentServer) -> None:
    """A sender opens one connection for all its batches, and a new one after trouble."""
    with Hostile([GOOD] * 5 + [Step("reset", then="reset")]) as server:
        delivery = Delivery(to(server), QUICK, Pace(), 1)
        delivery.max_events = 10
        report = run(segment, COLUMNS, pages_of(100), ANY, delivery=delivery)
    assert (report.accepted, report.requests, server.connections) == (100, 11, 2)


PASSING = [
    *(Step(f"HTTP {status}", answer(status, b"{}")) for status in (408, 410, 429, 460, 500, 502, 503, 599)),
    Step("429, at once", answer(429, b"", "Retry-After: 0")),
    Step("reset before the body", then="reset", early=True),
    Step("closed before the body", then="close", early=True),
    Step("reset after the body", then="reset", ingests=True),
    Step("closed without an answer", then="close", ingests=True),
    Step("half a status line", b"HTTP/1.", then="close", ingests=True),
    Step("closed after the head", answer(200, b"", length=16), then="close", ingests=True),
    Step("half a head", b"HTTP/1.1 200 OK\r\nContent-Len", then="close", ingests=True),
    Step("half a body", answer(200, OK[:9], length=16), then="close", ingests=True),
    Step("reset in the body", answer(200, OK[:9], length=16), then="reset", ingests=True),
    Step("all of a body that is said to be longer", answer(200, length=30), then="close", ingests=True),
    Step("chunks without an end", chunked(OK, end=b""), then="close", ingests=True),
    Step("half a body of no length", b"HTTP/1.1 200 OK\r\n\r\n" + OK[:15], then="close", ingests=True),
    *(Step(f"200 {body!r}", answer(200, body), ingests=True) for body in (b"", b"{}", b"<p>", b'{"success":false}')),
    Step("slow 500", answer(500, b"{}"), pause=0.0005),
]
FINE = [
    GOOD,
    Step("slow bytes", answer(200), pause=0.0005, ingests=True, acknowledges=True),
    Step("chunks", chunked(b'{"success"', b":true}"), ingests=True, acknowledges=True),
    Step("good, then closed", answer(200), then="close", ingests=True, acknowledges=True),
    Step("good, to be closed", answer(200, OK, "Connection: close"), then="close", ingests=True, acknowledges=True),
]
HANGS = [
    Step("hang", then="hang", ingests=True),
    Step("hang before the body", then="hang", early=True),
    Step("hang in the head", b"HTTP/1.1 200 OK\r\n", then="hang", ingests=True),
    Step("hang in the body", answer(200, OK[:9], length=16), then="hang", ingests=True),
]
REFUSING = [Step(f"HTTP {status}", answer(status, b'{"success":false}')) for status in (400, 413)]
LASTING = [Step(f"HTTP {status}", answer(status, b"{}")) for status in (401, 403, 404, 302, 501)]
STORM = Step("429 storm", answer(429, b"", "Retry-After: 0", "X-RateLimit-Reset: 0"))


class Watched(Delivery):
    """A delivery that remembers which events it called accepted."""

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.accepted: list[str] = []

    def make_room(self) -> Iterator[Outcome]:
        return self._seen(super().make_room())

    def drain(self, seconds: float | None = None) -> Iterator[Outcome]:
        return self._seen(super().drain(seconds))

    def _seen(self, outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
        for outcome in outcomes:
            places = [place for part in outcome.accepted for place in part]
            self.accepted += [json.loads(outcome.batch.events[place])["messageId"] for place in places]
            yield outcome


@settings(max_examples=60, deadline=None, report_multiple_bugs=False)
@given(
    script=st.lists(st.sampled_from([*PASSING, *FINE]), max_size=14),
    hangs=st.lists(st.tuples(st.integers(0, 10), st.sampled_from(HANGS)), max_size=1),
    refused=st.lists(st.tuples(st.integers(0, 10), st.sampled_from(REFUSING)), max_size=3),
    storm=st.tuples(st.integers(0, 10), st.integers(0, 12)),
    last=st.just(GOOD) | st.just(GOOD) | st.sampled_from(LASTING),
    many=st.integers(1, 8),
    limit=st.integers(1, 12),
    rows=st.integers(0, 80),
)
def test_accepted_is_what_was_acknowledged(
    script: list[Step],
    hangs: list[tuple[int, Step]],
    refused: list[tuple[int, Step]],
    storm: tuple[int, int],
    last: Step,
    many: int,
    limit: int,
    rows: int,
) -> None:
    """Under any faults, with any number of senders, the accepted are exactly those that the server acknowledged."""
    for place, step in (*hangs, *refused):
        script.insert(place, step)
    script[storm[0] : storm[0]] = [STORM] * storm[1]
    report, failed = Report(), None
    with Hostile(script, lasting=last) as server:
        delivery = Watched(to(server), QUICK, Pace(), many)
        delivery.max_events = limit
        try:
            with SegmentServer() as unused:
                run(unused, COLUMNS, pages_of(rows), ANY, delivery=delivery, report=report, max_rejected=1_000)
        except SegmentError as error:
            failed = error
        until(lambda: not senders())
    assert adds_up(report)
    assert len(delivery.accepted) == len(set(delivery.accepted)) == report.accepted
    assert set(delivery.accepted) == server.acknowledged
    assert server.acknowledged <= server.ingested
    assert report.requests >= server.heads  # one that met a closed connection never got here
    assert report.rejected == 0 or refused
    if failed is None:
        assert (report.rows, report.not_sent) == (rows, 0)
    else:
        assert failed.report is report
        assert refused or last is not GOOD


# One sender is told to wait


class WatchedPace(Pace):
    """A pace that tells when it was asked to hold."""

    def __init__(self, events_per_second: float = 0) -> None:
        super().__init__(events_per_second)
        self.held = threading.Event()

    def hold(self, seconds: float) -> None:
        super().hold(seconds)
        self.held.set()


def test_one_429_holds_every_sender(segment: SegmentServer) -> None:
    """When one of six senders is told to wait a second, none of the other five posts before it is over."""
    pace = WatchedPace()
    together = threading.Barrier(6, timeout=30)
    lock, number = threading.Lock(), [0]

    def first_six(request: Request) -> Any:
        with lock:
            number[0] += 1
            mine = number[0]
        if mine > 6:
            return None
        together.wait()
        if mine == 1:
            return (429, {"Retry-After": "1"})
        assert pace.held.wait(30)  # only then are the other five told to try again
        return 500 if mine % 2 else None

    segment.respond_with(first_six)
    delivery = Delivery(transport_to(segment), QUICK, pace, 6)
    delivery.max_events = 10
    report = run(segment, COLUMNS, pages_of(300), ANY, delivery=delivery)
    times = sorted(request.time for request in segment.requests)
    assert report.accepted == 300
    assert len(times) == 33
    assert times[6] - times[5] > 0.95
    assert times[6] - times[5] < 5


# The limit of events a second


def busiest_and_average(requests: Sequence[Request]) -> tuple[int, float]:
    """The most events that came in any second, whenever it began, and the average of the whole seconds."""
    came = sorted((request.time, request.events) for request in requests)
    first, last = came[0][0], came[-1][0]
    most = max(sum(events for time, events in came if start <= time < start + 1) for start, _ in came)
    whole = int(last - first)
    return most, sum(events for time, events in came if time < first + whole) / whole


def test_limit_is_smooth(segment: SegmentServer) -> None:
    """At 1,000 events a second no second sees more than 1,100, the first no burst, and the average is above 900."""
    averages: list[float] = []
    while not averages or (averages[-1] < 900 and len(averages) < 5):  # a busy machine can be slower than the limit
        before = len(segment.requests)
        delivery = Delivery(transport_to(segment), QUICK, Pace(1_000), 8)
        report = run(segment, COLUMNS, pages_of(3_200, 400), ANY, delivery=delivery)
        most, average = busiest_and_average(segment.requests[before:])
        assert report.accepted == 3_200
        assert most <= 1_100
        averages.append(average)
    assert max(averages) >= 900


@pytest.mark.parametrize("fault", [(429, {"Retry-After": "1"}), 500])
def test_limit_holds_after_trouble(segment: SegmentServer, fault: Any) -> None:
    """Senders that waited together do not go on together: no second sees more than the limit after it either."""
    segment.respond_with([None] * 3 + [fault])
    delivery = Delivery(transport_to(segment), RetryPolicy(first_wait=0.2, jitter=lambda: 1.0), Pace(1_000), 8)
    report = run(segment, COLUMNS, pages_of(2_000, 400), ANY, delivery=delivery)
    assert report.accepted == 2_000
    assert busiest_and_average(segment.requests)[0] <= 1_100


# Ends


@pytest.mark.parametrize(
    ("fault", "pace", "requests"),
    [
        ((429, {"Retry-After": "300"}), 0, 2),
        ((503, {"Retry-After": "300"}), 0, 2),
        (None, 1, 1),
    ],
    ids=["told to wait by a 429", "told to wait by a 503", "waiting for a turn"],
)
def test_stopping_from_another_thread_ends_every_wait(
    segment: SegmentServer, fault: Any, pace: float, requests: int
) -> None:
    """A run that waits for minutes ends at once when another thread stops it, and its counts are true."""
    segment.respond_with([None])
    segment.respond_with(lambda _: fault)
    delivery = Delivery(transport_to(segment), RetryPolicy(deadline=600.0), Pace(pace), 8)
    delivery.max_events = 10
    report = Report()
    with (
        once(lambda: len(segment.messages) == 10 and len(segment.requests) >= requests, delivery.stop) as stopped,
        pytest.raises(NotSentError, match="the run was stopped") as caught,
    ):
        run(segment, COLUMNS, pages_of(500), ANY, delivery=delivery, report=report)
    assert time.monotonic() - stopped[0] < 2
    assert caught.value.report is report
    assert adds_up(report)
    assert report.accepted == len(segment.messages) >= 10
    assert report.not_sent > 0
    until(lambda: not senders(), 5)


def test_stopping_does_not_wait_for_a_server_that_hangs(segment: SegmentServer) -> None:
    """A run that is stopped ends within Airflow's five seconds though the server hangs; what came back is counted."""
    segment.respond_with([None, None])
    segment.respond_with(lambda _: "hang")
    delivery = Delivery(transport_to(segment, timeout=20.0), QUICK, Pace(), 4)
    delivery.max_events = 10
    report = Report()
    with once(lambda: len(segment.requests) == 6, delivery.stop) as stopped, pytest.raises(NotSentError) as caught:
        run(segment, COLUMNS, pages_of(500), ANY, delivery=delivery, report=report)
    assert time.monotonic() - stopped[0] < 5
    assert caught.value.report is report
    assert (report.accepted, len(segment.messages), adds_up(report)) == (20, 20, True)
    segment.stop()
    until(lambda: not senders())


def test_source_that_dies_does_not_lose_what_is_on_its_way(segment: SegmentServer) -> None:
    """When the source fails, batches that are on their way are waited for, however slowly Segment answers them."""
    came = threading.Event()

    def source() -> Iterator[Any]:
        yield [(n, "x") for n in range(45)]
        until(lambda: len(segment.requests) == 4)
        came.set()
        raise SourceError("the database went away")

    segment.respond_with(lambda _: None if came.wait(30) else 500)
    segment.delay = 0.5
    delivery = Delivery(transport_to(segment), QUICK, Pace(), 8)
    delivery.max_events = 10
    report = Report()
    with pytest.raises(SourceError, match=r"went away\. 45 rows, 45 calls: 40 accepted"):
        run(segment, COLUMNS, source(), ANY, delivery=delivery, report=report)
    assert (report.accepted, report.not_sent, len(segment.messages)) == (40, 5, 40)
    assert adds_up(report)


def test_interrupt_does_not_wait_for_a_server_that_hangs(segment: SegmentServer) -> None:
    """Ctrl-C ends a run within a few seconds though the server hangs: what it had acknowledged is counted."""
    segment.respond_with([None, None])
    segment.respond_with(lambda _: "hang")
    delivery = Delivery(transport_to(segment, timeout=60.0), QUICK, Pace(), 4)
    delivery.max_events = 10
    report = Report()

    def interrupt() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with once(lambda: len(segment.requests) == 6, interrupt) as interrupted, pytest.raises(KeyboardInterrupt):
        run(segment, COLUMNS, pages_of(500), ANY, delivery=delivery, report=report)
    assert 2 < time.monotonic() - interrupted[0] < 5
    assert (report.accepted, len(segment.messages)) == (20, 20)
    assert report.not_sent == report.calls - 20 >= 40
    assert adds_up(report)
    segment.stop()
    until(lambda: not senders())


ENDLESS = """
import json, sys
sys.path.insert(0, {folder!r})
from sending import KEY, LIBRARY, QUICK, run
from airflow_provider_segment.calls import Identify
from airflow_provider_segment.core.delivery.pace import Pace
from airflow_provider_segment.core.delivery.sender import Delivery
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.core.delivery.transport import Transport

delivery = Delivery(Transport({url!r}, KEY, library=LIBRARY, timeout=60.0), QUICK, Pace(), 4)
delivery.max_events = 10
report = Report()
try:
    run(None, ["id", "x"], [[(n, "x") for n in range(500)]], Identify("id"), delivery=delivery, report=report)
except KeyboardInterrupt:
    print(json.dumps(report.as_dict()), flush=True)
"""


@pytest.mark.parametrize(
    "fault",
    [
        Step("hang", then="hang", ingests=True),
        Step("slow for ever", answer(200, OK * 10_000), pause=0.05, ingests=True),
    ],
    ids=repr,
)
def test_interrupted_process_ends(fault: Step) -> None:
    """The process of an interrupted run ends within seconds, though its senders still wait for a server that hangs."""
    with Hostile([GOOD, GOOD], lasting=fault) as server:
        script = ENDLESS.format(folder=str(Path(__file__).parent), url=f"{server.url}/v1")
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)  # noqa: S603
        try:
            until(lambda: len(server.came) == 6)
            child.send_signal(signal.SIGINT)
            assert child.stdout is not None
            report = json.loads(child.stdout.readline())
            assert (report["accepted"], report["not_sent"]) == (20, report["calls"] - 20)
            assert child.wait(5) == 0
        finally:
            child.kill()
            child.communicate()


FULL_DISK = """
import json, resource, sys
sys.path.insert(0, {folder!r})
from sending import QUICK, KEY, LIBRARY
from airflow_provider_segment.calls import Identify
from airflow_provider_segment.core.delivery.pace import Pace
from airflow_provider_segment.core.delivery.sender import Delivery
from airflow_provider_segment.core.errors import SegmentError
from airflow_provider_segment.core.mapping.message_ids import Namespace
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.core.job import SyncJob
from airflow_provider_segment.core.pipeline import sync
from airflow_provider_segment.core.delivery.rejects import LocalRejects
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.core.delivery.transport import Transport

resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))  # Python itself ignores SIGXFSZ
rejects, report = LocalRejects({path!r}), Report()
job = SyncJob([Identify("id")], Namespace("s"), Options(max_rejected=1_000), rejects)
good = [(f"good{{n}}",) for n in range(50)]
bad = [({bad},) for n in range(50)]
failed = None
delivery = Delivery(Transport({url!r}, KEY, library=LIBRARY), QUICK, Pace(), 2)
delivery.max_events = 10
with delivery:
    try:
        sync(Pages(["id"], [good, bad, good], "test"), job, delivery, report)
    except SegmentError as error:
        failed = error
rejects.close()
print(json.dumps([type(failed).__name__, str(failed), report.as_dict()]))
"""


@pytest.mark.parametrize(("bad", "stage"), [("' '", "invalid"), ("f'bad{n}'", "rejected")])
@pytest.mark.parametrize("size", [100, 1_000, 3_333])
def test_full_disk_under_the_rejects(segment: SegmentServer, tmp_path: Path, size: int, bad: str, stage: str) -> None:
    """When the disk takes no more rejects the run ends, what was accepted is counted, and the file has whole lines."""
    path = tmp_path / "rejects.jsonl"
    segment.refuse(lambda message: message["userId"].startswith("bad"))
    folder = str(Path(__file__).parent)
    script = FULL_DISK.format(folder=folder, size=size, path=str(path), bad=bad, url=f"{segment.url}/v1")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)  # noqa: S603
    name, text, counts = json.loads(done.stdout)
    assert name == RejectsError.__name__
    assert f"rejects_path: {path} cannot be written any more: " in text
    report = Report(**counts)
    assert adds_up(report)
    # Of the four full batches of the first page two have ended before the last is on its way.
    assert report.accepted == len(segment.messages) >= 20
    written = path.read_bytes()
    assert not written or written.endswith(b"\n")
    lines = [json.loads(line) for line in written.splitlines()]
    assert len(written) <= size
    assert len(lines) < counts[stage] <= 50
    assert len({line["row"] for line in lines}) == len(lines)
