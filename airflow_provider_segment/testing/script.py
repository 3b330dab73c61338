"""What the local Segment was told to answer: steps, one for each coming request, or a function of the request."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from airflow_provider_segment.testing.listener import Fault, Headers, Reply, Request

Step = int | Fault | tuple[int, Headers] | Reply | None
Steps = Iterable[Step] | Callable[[Request], Step]

AS_USUAL: Reply = (200, {}, None)


class Script:
    """The steps that are left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: deque[Step | Callable[[Request], Step]] = deque()

    def extend(self, steps: Steps) -> None:
        """Add steps, or a function that gives one for ever.

        :param steps: as :meth:`SegmentServer.respond_with` says.
        :raises ValueError: for a step that is none.
        """
        added: list[Step | Callable[[Request], Step]] = [steps] if callable(steps) else list(steps)
        for step in added:
            if not callable(step):
                in_full(step)
        with self._lock:
            self._left.extend(added)

    def clear(self) -> None:
        """Answer as usual from now on."""
        with self._lock:
            self._left.clear()

    def step(self, request: Request) -> Reply | Fault:
        """Take the next step.

        :param request: that is answered.
        :raises ValueError: if a function gives none.
        """
        with self._lock:
            first = self._left[0] if self._left else None
            if self._left and not callable(first):
                self._left.popleft()
        return in_full(first(request) if callable(first) else first)


def in_full(step: Step) -> Reply | Fault:
    """Write a step of a script out in full.

    :param step: as the user gave it.
    :raises ValueError: if it is none.
    """
    match step:
        case None:
            return AS_USUAL
        case "reset" | "reset_after" | "hang":
            return step
        case int(status):
            reply: Reply = (status, {}, None)
        case (int(status), dict(headers)):
            reply = (status, headers, None)
        case (int(status), dict(headers), bytes() | None as body):
            reply = (status, headers, body)
        case _:
            raise ValueError(f"Not a step of a script: {step!r}")
    if not 200 <= reply[0] <= 599:
        raise ValueError(f"Not the status of an answer: {reply[0]}")
    return reply


def keeps_nothing(step: Reply | Fault) -> bool:
    """Tell whether a request that is answered so does nothing at Segment.

    :param step: in full.
    """
    return step in ("reset", "hang") or (isinstance(step, tuple) and not 200 <= step[0] < 300)
