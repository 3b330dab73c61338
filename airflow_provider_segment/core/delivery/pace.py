"""The rate that all senders of a task share, and the pause that one of them was told to make."""

from __future__ import annotations

import threading
import time

from airflow_provider_segment.core.delivery.batching import MAX_EVENTS

# Events that a batch may always have under a limit, as far as they are ten seconds' worth.
_SMALL_BATCH = 25


class Pace:
    """Holds all senders of a task to one rate, and all of them back when one is told to wait.

    :param events_per_second: 0 means no limit.
    """

    def __init__(self, events_per_second: float = 0) -> None:
        self.max_events = _batch_size(events_per_second) if events_per_second else MAX_EVENTS
        self._rate = events_per_second
        self._lock = threading.Lock()
        self._next = 0.0
        self._held_until = 0.0

    def wait(self, events: int, stopping: threading.Event) -> None:
        """Wait until some events may go, or until everything stops.

        :param events: how many.
        :param stopping: is set when the run ends early.
        """
        while not stopping.is_set():
            with self._lock:
                now = time.monotonic()
                start = max(self._next, self._held_until)
                if start <= now:
                    self._next = now + (events / self._rate if self._rate else 0.0)
                    return
            stopping.wait(start - now)  # then it is whose turn it is: another sender may have been told to wait

    def hold(self, seconds: float) -> None:
        """Let no sender go on before some seconds have passed.

        :param seconds: from now.
        """
        with self._lock:
            self._held_until = max(self._held_until, time.monotonic() + seconds)


def _batch_size(rate: float) -> int:
    """Return how many events a batch holds under a limit: any span of time has at most these above the limit.

    A tenth of a second's, since larger ones would come as bursts; of a small limit more, so that the requests do not
    outnumber what they carry.
    """
    return max(1, int(min(MAX_EVENTS, max(rate / 10, min(_SMALL_BATCH, rate * 10)))))
