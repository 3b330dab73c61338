"""SIGTERM in a task that sends: what is on its way may come back, and the try sends nothing more.

Airflow sends it to a task that is marked failed or cleared, and so does a worker that shuts down. Airflow 2 raises its
own error in the task. Airflow 3 calls `on_kill()` of the operator, which does nothing in a `@task`, lets the task go
on, and kills the process five seconds later.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from airflow_provider_segment.core.delivery.sender import STOPPED
from airflow_provider_segment.core.errors import NotSentError
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.hooks.task import TaskRun

T = TypeVar("T")
_END: Any = object()
# Seconds between looks at whether the task was told to end.
_LOOK = 0.2


class _Stopped(BaseException):
    """Gets the main thread out of waiting for rows, through whatever catches Exception there."""


class _Sigterm:
    """What a SIGTERM does to the sending of the task that runs in this process; a process runs one at a time."""

    def __init__(self) -> None:
        self._try: object = None
        self._ended: object = None
        self._is_reported = False
        self._stops: set[Callable[[], None]] = set()
        self._is_waiting = False
        self._installed: Callable[..., None] | None = None

    def watch(self, task_run: TaskRun) -> None:
        """Listen to SIGTERM from now on, for as long as the task runs: Airflow gives each task a handler of its own.

        It may also come between two calls of a `@task`. Outside a task it is left to whoever owns the process.

        :param task_run: the task.
        :raises NotSentError: if it has come before.
        """
        if not task_run.is_task:
            return
        self._try = (task_run.ids, task_run.try_number)
        if self._try == self._ended:
            raise self._refusal()
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread set handlers
            before = signal.getsignal(signal.SIGTERM)
            if callable(before) and before is not self._installed:
                self._installed = self._before(before)
                signal.signal(signal.SIGTERM, self._installed)

    def _refusal(self) -> NotSentError:
        """Return what a task gets that tries to go on; the report of what was stopped stands, and is not replaced."""
        error = NotSentError("the task was told to end (SIGTERM); it sends nothing more")
        error.report = Report() if self._is_reported else None
        self._is_reported = True
        return error

    def _before(self, other: Callable[..., Any]) -> Callable[..., None]:
        """Return a handler that stops what is being sent and then does what another one does."""
        pid = os.getpid()

        def handle(number: int, frame: Any) -> None:
            is_ours = os.getpid() == pid  # a process that the task has forked has the handler too
            if is_ours:
                self._ended, self._is_reported = self._try, False
                for stop in tuple(self._stops):
                    stop()
            other(number, frame)
            if is_ours and self._is_waiting:
                self._is_waiting = False
                raise _Stopped

        return handle

    @contextmanager
    def stops(self, task_run: TaskRun, stop: Callable[[], None]) -> Iterator[None]:
        """Stop a delivery when the signal comes.

        :param task_run: the task that is being watched; what is sent outside of it, as by its callbacks, goes on.
        :param stop: is called by the signal's handler.
        """
        if not task_run.is_task:
            yield
            return
        self._stops.add(stop)
        if self._ended == (task_run.ids, task_run.try_number):
            stop()  # it has come since the task was asked to listen
        try:
            yield
        except BaseException:
            self._is_reported = True  # by the run that ended so
            raise
        finally:
            self._stops.discard(stop)

    @contextmanager
    def waits(self) -> Iterator[None]:
        """Wait for rows, or a lease, which may take longer than the signal leaves time for.

        :raises NotSentError: when the signal comes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        try:
            self._is_waiting = True
            yield
            self._is_waiting = False
        except _Stopped:
            raise NotSentError(STOPPED) from None
        finally:
            self._is_waiting = False

    def waited(self, pages: Iterable[T]) -> Iterator[T]:
        """Yield what is waited for.

        :param pages: of rows.
        :raises NotSentError: when the signal comes while one is waited for.
        """
        remaining = iter(pages)
        while True:
            with self.waits():
                page = next(remaining, _END)
            if page is _END:
                return
            yield page


def pause(seconds: float, is_stopped: Callable[[], bool]) -> None:
    """Sleep, unless the task was told to end: a library may have lost the exception that would have ended it.

    :param seconds: to sleep.
    :param is_stopped: tells whether the task was told to end.
    :raises NotSentError: if it was.
    """
    until = time.monotonic() + seconds
    while not is_stopped():
        left = until - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, _LOOK))
    raise NotSentError(STOPPED)


_this_process = _Sigterm()
watch, stops, waits, waited = _this_process.watch, _this_process.stops, _this_process.waits, _this_process.waited
