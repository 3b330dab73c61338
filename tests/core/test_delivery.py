"""A batch is posted until it is taken, refused or out of time, and many are on their way at once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sending import KEY, QUICK, batch_of, delivery_to, event, transport_to

from airflow_provider_segment.core.delivery.batching import MAX_BODY_BYTES, MAX_EVENTS
from airflow_provider_segment.core.delivery.outcome import Outcome
from airflow_provider_segment.core.delivery.pace import Pace
from airflow_provider_segment.core.delivery.retries import RetryPolicy, Success
from airflow_provider_segment.core.delivery.sender import Delivery
from airflow_provider_segment.core.errors import CredentialsError, EndpointError, NotSentError, SegmentError
from airflow_provider_segment.testing import Request, SegmentServer

AGAIN_AT_ONCE = (429, {"Retry-After": "0"})
OVER_AT_ONCE = RetryPolicy(deadline=0.0)


def outcome_of(server: SegmentServer, events: int = 3, policy: RetryPolicy = QUICK) -> Outcome:
    with delivery_to(server, policy) as delivery:
        delivery.submit(batch_of([event(n) for n in range(events)]))
        (outcome,) = delivery.drain()
    return outcome


def bodies(server: SegmentServer) -> list[list[str]]:
    """The users in each request's body."""
    return [[message["userId"] for message in json.loads(request.body)["batch"]] for request in server.requests]


def test_good_batch_takes_one_request(segment: SegmentServer) -> None:
    """A batch that is taken at once costs one request, and its bytes are counted."""
    outcome = outcome_of(segment)
    assert (outcome.accepted, outcome.rejected, outcome.error) == ([range(3)], [], None)
    assert (outcome.count(), outcome.requests, outcome.retries) == (3, 1, 0)
    assert outcome.bytes == len(segment.requests[0].body)
    assert [message["userId"] for message in segment.messages] == ["u0", "u1", "u2"]


PASSING: list[list[Any]] = [
    [500],
    [502, 503, 504],
    [408, 410, 460],
    [AGAIN_AT_ONCE],
    [429],
    [(503, {"Retry-After": "0"})],
    ["reset"],
    ["reset_after"],
    [(200, {}, b"<html>please log in</html>")],
    [500, AGAIN_AT_ONCE, "reset", "reset_after", 599],
]


@pytest.mark.parametrize("faults", PASSING)
def test_passing_trouble_is_sat_out(segment: SegmentServer, faults: list[Any]) -> None:
    """A batch is sent again, the same bytes but for sentAt, until the trouble has passed; every try is counted."""
    segment.respond_with(faults)
    outcome = outcome_of(segment)
    assert (outcome.accepted, outcome.error) == ([range(3)], None)
    assert (outcome.requests, outcome.retries) == (len(faults) + 1, len(faults))
    assert outcome.bytes == sum(len(request.body) for request in segment.requests)
    assert [message["userId"] for message in segment.messages] == ["u0", "u1", "u2"]
    sent = [json.loads(request.body) for request in segment.requests]
    assert all(body | {"sentAt": ""} == sent[0] | {"sentAt": ""} for body in sent)


# A host that is like Segment's, and answers in other words

LIKE_SEGMENT: list[tuple[Any, str]] = [
    ((200, {"Content-Type": "text/plain; charset=utf-8"}, b"OK"), "answers HTTP 200 text/plain 'OK' in place of"),
    (
        (200, {"Content-Type": "application/json"}, b'{"status":"ok"}'),
        'HTTP 200 application/json \'{"status":"ok"}\' in',
    ),
    ((202, {}, b""), "answers HTTP 202 application/json in place of"),
    ((204, {}, b""), "answers HTTP 204 application/json in place of"),
    ((200, {"Content-Type": "text/html"}, b"<html>" + b"please log in " * 9), "answers HTTP 200 text/html in place of"),
    ((200, {}, b"thanks, person@example.com"), "answers HTTP 200 application/json in place of"),
    ((200, {}, f"key {KEY}".encode()), "answers HTTP 200 application/json in place of"),
    ((200, {}, b"\x1b[31mOK"), "answers HTTP 200 application/json in place of"),
]


@pytest.mark.parametrize(("answer", "said"), LIKE_SEGMENT)
def test_the_first_answer_in_other_words_ends_the_run(segment: SegmentServer, answer: Any, said: str) -> None:
    """A host that is not Segment's and says 2xx in its own words is asked once; the error tells them and the mend."""
    segment.respond_with(lambda _: answer)
    with delivery_to(segment, success=Success.COMPATIBLE) as delivery:
        delivery.submit(batch_of([event(1, traits={"email": "person@example.com"}), event(2)]))
        (outcome,) = delivery.drain()
    assert isinstance(outcome.error, EndpointError)
    assert (outcome.requests, outcome.retries, outcome.count()) == (1, 0, 0)
    assert said in str(outcome.error)
    assert "set accept_any_2xx in the connection's extra" in str(outcome.error)
    for hidden in ("person@example.com", KEY, "\x1b"):
        assert hidden not in str(outcome.error)


@pytest.mark.parametrize("answer", [answer for answer, _ in LIKE_SEGMENT])
def test_any_2xx_is_an_acknowledgement_where_the_user_says_so(segment: SegmentServer, answer: Any) -> None:
    """With accept_any_2xx a batch is posted once, whatever words the host has for it; trouble is still sat out."""
    segment.respond_with([500, answer])
    with delivery_to(segment, success=Success.ANY_2XX) as delivery:
        delivery.submit(batch_of([event(1), event(2)]))
        (outcome,) = delivery.drain()
    assert (outcome.accepted, outcome.requests, outcome.error) == ([range(2)], 2, None)


def test_a_host_that_spoke_as_segment_does_may_stumble(segment: SegmentServer) -> None:
    """Once a host has acknowledged in Segment's words, a page of a proxy before it is trouble that may pass."""
    segment.respond_with([None, (200, {}, b"<html>back soon</html>")])
    with delivery_to(segment, success=Success.COMPATIBLE, max_in_flight=1) as delivery:
        for number in range(2):
            list(delivery.make_room())
            delivery.submit(batch_of([event(number)]))
        list(delivery.drain())
    assert [message["userId"] for message in segment.messages] == ["u0", "u1"]
    assert len(segment.requests) == 3


def test_outcomes_come_as_batches_end(segment: SegmentServer) -> None:
    """A batch that is held up holds up no other: results are taken in the order in which they come."""
    others_are_through = threading.Event()

    def slow_first(request: Request) -> Any:
        if b'"u0"' in request.body:
            assert others_are_through.wait(30)

    segment.respond_with(slow_first)
    ended: list[list[int]] = []
    with delivery_to(segment, max_in_flight=2) as delivery:
        for number in range(5):
            ended += [outcome.batch.rows for outcome in delivery.make_room()]
            delivery.submit(batch_of([event(number)], first=number))
        while len(ended) < 4:
            ended += [outcome.batch.rows for outcome in delivery.make_room()]
        others_are_through.set()
        ended += [outcome.batch.rows for outcome in delivery.drain()]
    assert ended == [[1], [2], [3], [4], [0]]


def test_no_more_are_on_their_way_than_allowed(segment: SegmentServer) -> None:
    """At most `max_in_flight` batches are posted at once, and that many are."""
    lock, now, most = threading.Lock(), [0], [0]
    full = threading.Barrier(3, timeout=30)

    def count(_: Request) -> Any:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        full.wait()
        with lock:
            now[0] -= 1

    segment.respond_with(count)
    with delivery_to(segment, max_in_flight=3) as delivery:
        outcomes = []
        for number in range(9):
            outcomes += delivery.make_room()
            delivery.submit(batch_of([event(number)]))
        outcomes += delivery.drain()
    assert (len(outcomes), most[0], len(segment.messages)) == (9, 3, 9)


# Refused bodies


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 40), data=st.data())
def test_halving_finds_exactly_the_refused_events(count: int, data: Any) -> None:
    """Of a batch that is refused with 400 all good events are accepted, and each bad one is found."""
    bad = data.draw(st.sets(st.integers(0, count - 1), max_size=5))
    with SegmentServer() as segment:
        segment.refuse(lambda message: int(message["userId"][1:]) in bad)
        outcome = outcome_of(segment, count)
    assert sorted(place for place, _ in outcome.rejected) == sorted(bad)
    assert sorted(place for part in outcome.accepted for place in part) == sorted({*range(count)} - bad)
    assert {answer.status for _, answer in outcome.rejected} <= {400}
    assert (outcome.error, outcome.requests, outcome.retries) == (None, len(segment.requests), 0)
    assert sorted(message["userId"] for message in segment.messages) == sorted(f"u{n}" for n in {*range(count)} - bad)
    assert segment.duplicates == []


def test_halving_goes_on_through_passing_trouble(segment: SegmentServer) -> None:
    """A fault in the midst of the halving is sat out like another."""
    segment.refuse(lambda message: message["userId"] == "u2")
    segment.respond_with([None, 500, "reset", None, 503])
    outcome = outcome_of(segment, 4)
    assert ([place for place, _ in outcome.rejected], outcome.count(), outcome.error) == ([2], 3, None)
    assert outcome.retries == 3


def test_413_is_halved_like_400(segment: SegmentServer) -> None:
    """A proxy that finds a body too large gets smaller ones."""
    segment.respond_with(lambda request: 413 if request.events > 2 else None)
    outcome = outcome_of(segment, 8)
    assert (outcome.accepted, outcome.rejected, outcome.error) == ([range(n, n + 2) for n in range(0, 8, 2)], [], None)


def test_refusal_keeps_segments_words(segment: SegmentServer) -> None:
    """What Segment said about a refused event stays with it."""
    segment.respond_with([(400, {}, b'{"success": false, "message": "Malformed JSON"}')])
    ((place, answer),) = outcome_of(segment, 1).rejected
    assert (place, answer.status, answer.message) == (0, 400, "Malformed JSON")


# What ends a run

ENDS: list[tuple[Any, type[SegmentError], str]] = [
    (401, CredentialsError, "HTTP 401"),
    (403, CredentialsError, "HTTP 403"),
    ((400, {}, b'{"success": false, "message": "An invalid write key was provided"}'), CredentialsError, "write key"),
    (404, EndpointError, "HTTP 404"),
    (405, EndpointError, "HTTP 405"),
    (204, EndpointError, "HTTP 204"),
    (501, EndpointError, "HTTP 501"),
    (511, EndpointError, "HTTP 511"),
    ((302, {"Location": "https://elsewhere.example/login?next=secret"}), EndpointError, "elsewhere.example/login"),
    ((301, {"Location": "/v1/batch/"}), EndpointError, "/v1/batch/"),
]


@pytest.mark.parametrize(("answer", "error", "words"), ENDS)
def test_lasting_trouble_ends_the_batch(
    segment: SegmentServer, answer: Any, error: type[SegmentError], words: str
) -> None:
    """Trouble that lasts is not tried again: the error says what to mend, and names the place of a redirect."""
    segment.respond_with(lambda _: answer)
    outcome = outcome_of(segment)
    assert type(outcome.error) is error
    assert words in str(outcome.error)
    assert segment.url in str(outcome.error)
    assert (outcome.requests, outcome.retries, outcome.count()) == (1, 0, 0)


def test_errors_show_neither_key_nor_query(segment: SegmentServer) -> None:
    """An error holds no write key, and nothing of a redirect's query, where tokens travel."""
    for answer, *_ in ENDS:
        segment.reset()
        segment.respond_with(lambda _, answer=answer: answer)
        text = repr(outcome_of(segment).error)
        assert (KEY in text, "secret" in text) == (False, False)


@pytest.mark.parametrize("fault", [500, "reset", AGAIN_AT_ONCE, (429, {"Retry-After": "60"})])
def test_deadline_ends_the_tries(segment: SegmentServer, fault: Any) -> None:
    """When the time for a batch is up, it was not sent, and that may pass: the error says what came last."""
    segment.respond_with(lambda _: fault)
    outcome = outcome_of(segment, policy=OVER_AT_ONCE)
    assert type(outcome.error) is NotSentError
    assert outcome.error.retry_helps
    assert ("the connection failed" if fault == "reset" else "HTTP ") in str(outcome.error)
    assert (outcome.count(), outcome.requests) == (0, 1)


def test_deadline_holds_for_all_tries_together(segment: SegmentServer) -> None:
    """The deadline counts from the first try: a server that fails for ever ends the batch soon after it."""
    segment.respond_with(lambda _: 500)
    started = time.monotonic()
    outcome = outcome_of(segment, policy=RetryPolicy(deadline=0.2, first_wait=0.01, longest_wait=0.01))
    assert isinstance(outcome.error, NotSentError)
    assert outcome.requests == outcome.retries + 1 > 3
    assert 0.15 < time.monotonic() - started < 10


def test_accepted_parts_count_though_the_rest_fails(segment: SegmentServer) -> None:
    """Halves that were acknowledged before the key was refused stay accepted, the rest does not."""
    segment.respond_with([400, None, 401])
    outcome = outcome_of(segment, 4)
    assert (outcome.accepted, type(outcome.error)) == ([range(2)], CredentialsError)
    assert len(segment.messages) == 2


def test_stopping_ends_waits_and_begins_nothing(segment: SegmentServer) -> None:
    """When the run stops, a batch that waits for its next try gives up at once, and none is posted any more."""
    posted = threading.Event()

    def fail(_: Request) -> Any:
        posted.set()
        return (503, {"Retry-After": "60"})

    segment.respond_with(fail)
    with delivery_to(segment, RetryPolicy(deadline=600.0)) as delivery:
        delivery.submit(batch_of([event(1)]))
        assert posted.wait(30)
        started = time.monotonic()
        delivery.stop()
        delivery.submit(batch_of([event(2)]))
        outcomes = list(delivery.drain())
    assert time.monotonic() - started < 30
    assert [type(outcome.error) for outcome in outcomes] == [NotSentError, NotSentError]
    assert {body[0] for body in bodies(segment)} == {"u1"}


# Tokens


def test_refused_token_is_renewed_once(segment: SegmentServer) -> None:
    """A batch whose token is refused is sent again with a new one, once."""

    class Tokens:
        made = 1

        def current(self) -> str:
            return f"token-{self.made}"

        def forget(self, token: str) -> None:
            assert token == self.current()
            self.made += 1

    def refuse(last_bad: int) -> Callable[[Request], Any]:
        return lambda request: 401 if int(request.headers["authorization"][-1]) <= last_bad else None

    for last_bad, error, requests in ((1, type(None), 2), (9, CredentialsError, 2)):
        segment.reset()
        segment.respond_with(refuse(last_bad))
        with Delivery(transport_to(segment, tokens=Tokens()), QUICK, Pace()) as delivery:
            delivery.submit(batch_of([event(1)]))
            (outcome,) = delivery.drain()
        assert (type(outcome.error), outcome.requests) == (error, requests)


# Pace

PACES = [
    (0, 2_500),
    (0.05, 1),
    (0.5, 5),
    (1, 10),
    (2.5, 25),
    (10, 25),
    (20, 25),
    (100, 25),
    (250, 25),
    (300, 30),
    (1_000, 100),
    (25_000, 2_500),
    (10**6, 2_500),
]


@pytest.mark.parametrize(("rate", "events"), PACES)
def test_batch_holds_a_tenth_of_a_second_or_a_few(rate: float, events: int) -> None:
    """Under a limit a batch holds a tenth of a second's events, or 25 as far as they are ten seconds' worth."""
    assert Pace(rate).max_events == events


class NotedPace(Pace):
    """A pace that notes when it let how many events go, by its own clock: a busy machine moves every other one."""

    def __init__(self, events_per_second: float) -> None:
        super().__init__(events_per_second)
        self.went: list[tuple[float, int]] = []

    def wait(self, events: int, stopping: threading.Event) -> None:
        super().wait(events, stopping)
        self.went.append((self._next - events / self._rate, events))


@pytest.mark.parametrize(("rate", "events", "requests"), [(20, 120, 5), (50, 120, 5), (1_000, 600, 6)])
def test_a_small_limit_paces_batches_and_does_not_shrink_them_to_nothing(
    segment: SegmentServer, rate: float, events: int, requests: int
) -> None:
    """A limit spreads full batches; in no span of time are there more events than the limit and one batch allow."""
    pace = NotedPace(rate)
    with delivery_to(segment, pace=pace, max_in_flight=1) as delivery:
        for first in range(0, events, delivery.max_events):
            list(delivery.make_room())
            delivery.submit(batch_of([event(n) for n in range(first, min(first + delivery.max_events, events))]))
        list(delivery.drain())
    assert (len(segment.requests), len(segment.messages), len(pace.went)) == (requests, events, requests)
    for start in range(requests):
        for end in range(start, requests):
            span = pace.went[end][0] - pace.went[start][0]
            went = sum(number for _, number in pace.went[start : end + 1])
            assert went <= rate * span + pace.max_events + 0.001  # of rounding


def test_limits_of_a_delivery(segment: SegmentServer) -> None:
    """A delivery says how large batches may be: the body's limit without the envelope, and the pace's count."""
    transport = transport_to(segment)
    with Delivery(transport, QUICK, Pace(1_000)) as delivery:
        assert (delivery.max_bytes, delivery.max_events) == (MAX_BODY_BYTES - transport.overhead, 100)
    with delivery_to(segment) as delivery:
        assert delivery.max_events == MAX_EVENTS


def test_pace_spreads_the_batches(segment: SegmentServer) -> None:
    """Several senders together keep one rate: eleven batches of 10 at 1,000 a second take a tenth of one or more."""
    with delivery_to(segment, pace=Pace(1_000)) as delivery:
        for number in range(11):
            list(delivery.make_room())
            delivery.submit(batch_of([event(number * 10 + n) for n in range(10)]))
        list(delivery.drain())
    times = [request.time for request in segment.requests]
    assert max(times) - min(times) > 0.09
    assert len(segment.messages) == 110


def test_pace_does_not_hold_who_stops() -> None:
    """A sender that waits for its turn goes on at once when the run stops."""
    pace, stopping = Pace(0.001), threading.Event()
    pace.wait(1, stopping)
    waiting = threading.Thread(target=pace.wait, args=(1, stopping))
    waiting.start()
    stopping.set()
    waiting.join(30)
    assert not waiting.is_alive()


class WatchedPace(Pace):
    """A pace that tells when it was asked to hold."""

    def __init__(self) -> None:
        super().__init__()
        self.held = threading.Event()

    def hold(self, seconds: float) -> None:
        super().hold(seconds)
        self.held.set()


def test_all_wait_when_one_has_to(segment: SegmentServer) -> None:
    """After a 429 that asks for a second no sender posts before it has passed."""
    segment.respond_with([(429, {"Retry-After": "1"})])
    pace = WatchedPace()
    with delivery_to(segment, pace=pace) as delivery:
        delivery.submit(batch_of([event(0)]))
        assert pace.held.wait(30)
        for number in range(1, 4):
            delivery.submit(batch_of([event(number)]))
        outcomes = list(delivery.drain())
    first, *others = sorted(request.time for request in segment.requests)
    assert (len(outcomes), len(others), len(segment.messages)) == (4, 4, 4)
    assert min(others) - first > 0.9
