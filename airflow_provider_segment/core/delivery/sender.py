"""Batches on their way: each with its tries, several at once, taken back in the order in which they end."""

from __future__ import annotations

import datetime as dt
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from typing import Self

from airflow_provider_segment.core.delivery.answers import Response
from airflow_provider_segment.core.delivery.batching import MAX_BODY_BYTES, Batch
from airflow_provider_segment.core.delivery.outcome import Outcome
from airflow_provider_segment.core.delivery.pace import Pace
from airflow_provider_segment.core.delivery.retries import (
    MAX_ASKED_WAIT,
    RetryPolicy,
    Success,
    Verdict,
    asked_wait,
    judge,
)
from airflow_provider_segment.core.delivery.transport import Transport
from airflow_provider_segment.core.errors import CredentialsError, EndpointError, NotSentError, SegmentError

# Seconds between looks at whether somebody has stopped the run.
_LOOK = 0.2
STOPPED = "the run was stopped"
# Stands for the answer that nobody waited for.
_NO_ANSWER = Response(None, trouble=STOPPED)


class Delivery:
    """Sends batches, several at once.

    :param transport: posts one body.
    :param policy: when to try again.
    :param pace: the limit that all senders share.
    :param max_in_flight: batches at once.
    :param success: what the endpoint answers when it has taken a batch.
    """

    def __init__(
        self,
        transport: Transport,
        policy: RetryPolicy,
        pace: Pace,
        max_in_flight: int = 8,
        success: Success = Success.SEGMENT,
    ) -> None:
        self.max_bytes = MAX_BODY_BYTES - transport.overhead
        self.max_events = pace.max_events
        self._transport = transport
        self._policy = policy
        self._pace = pace
        self._success = success
        self._max_in_flight = max_in_flight
        # A batch has its deadline; after it one request may still wait for its turn, its answer and a last token.
        self._patience = policy.deadline + MAX_ASKED_WAIT + 4 * transport.timeout
        # Connecting and reading, each within the time-out; then a moment for the thread to say so.
        self.longest_request = 2 * transport.timeout + 1.0
        self._stopping = threading.Event()
        self._flying: set[Future[Outcome]] = set()
        self._work: queue.SimpleQueue[tuple[Future[Outcome], Batch] | None] = queue.SimpleQueue()
        self._senders = [
            threading.Thread(target=self._send, name=f"segment_{number}", daemon=True)
            for number in range(max_in_flight)
        ]
        for sender in self._senders:
            sender.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        for _ in self._senders:
            self._work.put(None)
        if not self._flying:
            for sender in self._senders:
                sender.join()
        # A request that outlived the grace of a failed run ends by its own time-out; nobody waits for it, since
        # senders are daemons: Airflow may have seconds left to end the process.
        self._transport.close()

    def make_room(self) -> Iterator[Outcome]:
        """Wait while too many batches are on their way, and yield the outcomes of those that have ended.

        :raises NotSentError: if none ends in time, because the endpoint sends its answers byte by byte; or the run was
            stopped.
        """
        self.check()
        self._wait_until(lambda: len(self._flying) - sum(f.done() for f in self._flying) < self._max_in_flight)
        return self._ended()

    def submit(self, batch: Batch) -> None:
        """Send a batch on its way."""
        future: Future[Outcome] = Future()
        self._flying.add(future)
        self._work.put((future, batch))

    def drain(self, seconds: float | None = None) -> Iterator[Outcome]:
        """Wait for the batches that are on their way, and yield their outcomes.

        :param seconds: how long to wait; by default as long as a batch can take.
        :raises NotSentError: if one does not end in that time.
        """
        if seconds is None and not self._stopping.is_set():
            self._wait_until(lambda: all(future.done() for future in self._flying))
        else:
            wait(self._flying, self.longest_request if seconds is None else seconds)
        return self._ended()

    @property
    def is_stopped(self) -> bool:
        """Whether somebody has stopped it."""
        return self._stopping.is_set()

    def check(self) -> None:
        """Say so when somebody has stopped it.

        :raises NotSentError: then.
        """
        if self._stopping.is_set():
            raise NotSentError(STOPPED)

    def stop(self) -> None:
        """Let requests that were made come back, and make no new ones."""
        self._stopping.set()

    def _send(self) -> None:
        """Be one sender: deliver batches until there are none."""
        while (work := self._work.get()) is not None:
            future, batch = work
            outcome = Outcome(batch)
            try:
                self._deliver(outcome)
            except BaseException as error:  # noqa: BLE001  a bug; whoever counts the outcome raises it
                outcome.error = error
            future.set_result(outcome)

    def _wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait for batches to end, and look from time to time whether somebody has stopped the run.

        :raises NotSentError: if somebody has, or none ends in time.
        """
        deadline = time.monotonic() + self._patience
        while not is_so():
            self.check()
            if time.monotonic() > deadline:
                raise NotSentError(f"{self._transport.endpoint} has not answered within {self._patience:g} seconds")
            wait({future for future in self._flying if not future.done()}, _LOOK, FIRST_COMPLETED)

    def _ended(self) -> Iterator[Outcome]:
        """Yield what has ended; what a time-out keeps from being looked at whole comes to whoever drains next."""
        for future in [future for future in self._flying if future.done()]:
            yield future.result()
            self._flying.remove(future)

    def _deliver(self, outcome: Outcome) -> None:
        """Send a batch; when its body is refused, halve it until the bad events are found."""
        batch, began = outcome.batch, time.monotonic()
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
                if batch.is_quoted_by(response.text, part):
                    response = replace(response, text="")
                outcome.error = _error(verdict, response, self._transport.endpoint)

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
            verdict = self._judge(response)
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
        return _NO_ANSWER, Verdict.RETRY

    def _judge(self, response: Response) -> Verdict:
        oauth = self._transport.has_tokens
        verdict = judge(response.status, documented=response.documented, oauth=oauth, success=self._success)
        if verdict is Verdict.ACCEPTED and self._success is Success.COMPATIBLE:
            self._success = Success.SEGMENT  # it speaks as Segment does: what sounds otherwise from now on may pass
        return verdict


def _error(verdict: Verdict, response: Response, endpoint: str) -> SegmentError:
    """Say why the run cannot go on, and what to do."""
    if response is _NO_ANSWER:
        return NotSentError(STOPPED)
    if verdict is Verdict.CREDENTIALS:
        if response.trouble:
            return CredentialsError(f"{response.trouble}: check the connection's OAuth app id, key id and private key")
        return CredentialsError(
            f"{endpoint} refuses the write key (HTTP {response.status}): check the connection's key"
        )
    if verdict is Verdict.UNCLEAR:
        kind = response.headers.get("content-type", "").partition(";")[0]
        found = " ".join(filter(None, (str(response), kind[:40], repr(response.text) if response.text else "")))
        return EndpointError(
            f'{endpoint}/batch answers {found} in place of HTTP 200 with {{"success": true}}. If it is a server like '
            "Segment's, such as RudderStack, and this means that it took the events, set accept_any_2xx in the "
            "connection's extra; otherwise check the connection's host"
        )
    if verdict is Verdict.MISPLACED:
        location = response.headers.get("location", "").partition("?")[0]
        moved = f", which points to {location} and is not followed with the key" if location else ""
        return EndpointError(
            f"{endpoint}/batch answers HTTP {response.status}{moved}: check the connection's host and region"
        )
    return NotSentError(f"{endpoint} could not take a batch within its deadline; the last answer: {response}")
