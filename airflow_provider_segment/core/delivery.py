"""Batches on their way: each with its tries, several at once, taken back in the order in which they end."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Self

from airflow_provider_segment.core.batching import MAX_BODY_BYTES, MAX_EVENTS, Batch
from airflow_provider_segment.core.errors import CredentialsError, EndpointError, NotSentError, SegmentError
from airflow_provider_segment.core.retries import MAX_ASKED_WAIT, RetryPolicy, Verdict, asked_wait, judge
from airflow_provider_segment.core.transport import Response, Transport


@dataclass(slots=True)
class Outcome:
    """What became of one batch.

    :param batch: the batch.
    :param accepted: the ranges of events that were acknowledged.
    :param rejected: events that were refused, by place, each with the answer.
    :param error: why the run cannot go on, where it cannot.
    """

    batch: Batch
    accepted: list[range] = field(default_factory=list)
    rejected: list[tuple[int, Response]] = field(default_factory=list)
    error: SegmentError | None = None
    requests: int = 0
    retries: int = 0
    bytes: int = 0

    def count(self) -> int:
        """Return how many events were acknowledged."""
        return sum(map(len, self.accepted))


class Pace:
    """Holds all senders of a task to one rate, and all of them back when one is told to wait.

    :param events_per_second: 0 means no limit.
    """

    def __init__(self, events_per_second: float = 0) -> None:
        # Under a limit a batch holds a tenth of a second's events: larger ones would come as bursts.
        self.max_events = min(MAX_EVENTS, max(1, int(events_per_second // 10))) if events_per_second else MAX_EVENTS
        self._rate = events_per_second
        self._lock = threading.Lock()
        self._next = 0.0
        self._held_until = 0.0

    def wait(self, events: int, stopping: threading.Event) -> None:
        """Wait until some events may go, or until everything stops.

        :param events: how many.
        :param stopping: is set when the run ends early.
        """
        with self._lock:
            mine = max(time.monotonic(), self._next)
            self._next = mine + (events / self._rate if self._rate else 0.0)
        # Another sender may be told to wait while this one waits for its turn, so it looks again.
        while (left := max(mine, self._held_until) - time.monotonic()) > 0 and not stopping.wait(left):
            pass

    def hold(self, seconds: float) -> None:
        """Let no sender go on before some seconds have passed.

        :param seconds: from now.
        """
        with self._lock:
            self._held_until = max(self._held_until, time.monotonic() + seconds)


class Delivery:
    """Sends batches, several at once.

    :param transport: posts one body.
    :param policy: when to try again.
    :param pace: the limit that all senders share.
    :param max_in_flight: batches at once.
    """

    def __init__(self, transport: Transport, policy: RetryPolicy, pace: Pace, max_in_flight: int = 4) -> None:
        self.max_bytes = MAX_BODY_BYTES - transport.overhead
        self.max_events = pace.max_events
        self._transport = transport
        self._policy = policy
        self._pace = pace
        self._max_in_flight = max_in_flight
        # A batch has its deadline; after it one request may still wait for its turn, its answer and a last token.
        self._patience = policy.deadline + MAX_ASKED_WAIT + 4 * transport.timeout
        # Connecting and reading, each within the time-out; then a moment for the thread to say so.
        self.longest_request = 2 * transport.timeout + 1.0
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(max_in_flight, thread_name_prefix="segment")
        self._flying: set[Future[Outcome]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        # A request that outlived the grace of a failed run ends by its own time-out; nobody waits for it here.
        self._pool.shutdown(wait=not self._flying, cancel_futures=True)
        self._transport.close()

    def make_room(self) -> list[Outcome]:
        """Return the outcomes of batches that have ended; waits while too many are on their way.

        :raises NotSentError: if none ends in time, because the endpoint sends its answers byte by byte.
        """
        if len(self._flying) >= self._max_in_flight and not wait(self._flying, self._patience, FIRST_COMPLETED).done:
            raise NotSentError(f"{self._transport.endpoint} has not answered within {self._patience:g} seconds")
        return self._ended()

    def submit(self, batch: Batch) -> None:
        """Send a batch on its way."""
        self._flying.add(self._pool.submit(self._deliver, batch))

    def drain(self, seconds: float | None = None) -> list[Outcome]:
        """Wait for the batches that are on their way, and return their outcomes.

        :param seconds: how long to wait; by default as long as a batch can take.
        :raises NotSentError: if one does not end in that time.
        """
        if wait(self._flying, self._patience if seconds is None else seconds).not_done and seconds is None:
            raise NotSentError(f"{self._transport.endpoint} has not answered within {self._patience:g} seconds")
        return self._ended()

    @property
    def is_stopped(self) -> bool:
        """Whether somebody has stopped it."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Let requests that were made come back, and make no new ones."""
        self._stopping.set()

    def _ended(self) -> list[Outcome]:
        ended = {future for future in self._flying if future.done()}
        self._flying -= ended
        return [future.result() for future in ended]

    def _deliver(self, batch: Batch) -> Outcome:
        """Send a batch; when its body is refused, halve it until the bad events are found."""
        outcome = Outcome(batch)
        began = time.monotonic()
        parts = [range(len(batch))]
        while parts and outcome.error is None:
            part = parts.pop()
            response, verdict = self._post(outcome, batch.events[part.start : part.stop], began)
            if verdict is Verdict.ACCEPTED:
                outcome.accepted.append(part)
            elif verdict is Verdict.SPLIT and len(part) > 1:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
            elif verdict is Verdict.SPLIT:
                outcome.rejected.append((part.start, response))
            else:
                outcome.error = _error(verdict, response, self._transport.endpoint)
        return outcome

    def _post(self, outcome: Outcome, events: list[bytes], began: float) -> tuple[Response, Verdict]:
        """Post some events until there is an answer that another try would not change, or time is up."""
        renewed = False
        for attempt in itertools.count(1):
            self._pace.wait(len(events), self._stopping)
            if self._stopping.is_set():
                break
            response = self._transport.post(events)
            outcome.requests += response.sent > 0  # none was made where there was no token to make it with
            outcome.retries += attempt > 1
            outcome.bytes += response.sent
            verdict = judge(response.status, documented=response.documented, oauth=self._transport.has_tokens)
            if verdict is Verdict.SPLIT and "write key" in response.message.lower():
                verdict = Verdict.CREDENTIALS  # "An invalid write key was provided": halving would not find it
            if verdict is Verdict.CREDENTIALS and not renewed and self._transport.renew():
                renewed = True
                continue
            if verdict is not Verdict.RETRY:
                return response, verdict
            asked = asked_wait(response.headers, dt.datetime.now(dt.UTC))
            seconds = self._policy.wait(attempt, time.monotonic() - began, asked)
            if seconds is None:
                return response, verdict
            if response.status == 429:
                self._pace.hold(seconds)
            self._stopping.wait(seconds)
        return Response(None, trouble="the run was stopped"), Verdict.RETRY


def _error(verdict: Verdict, response: Response, endpoint: str) -> SegmentError:
    """Say why the run cannot go on, and what to do."""
    if verdict is Verdict.CREDENTIALS:
        if response.trouble:
            return CredentialsError(f"{response.trouble}: check the connection's OAuth app id, key id and private key")
        return CredentialsError(
            f"{endpoint} refuses the write key (HTTP {response.status}): check the connection's key"
        )
    if verdict is Verdict.MISPLACED:
        location = response.headers.get("location", "").partition("?")[0]
        moved = f", which points to {location} and is not followed with the key" if location else ""
        return EndpointError(
            f"{endpoint}/batch answers HTTP {response.status}{moved}: check the connection's host and region"
        )
    return NotSentError(f"{endpoint} could not take a batch within its deadline; the last answer: {response}")
