"""Waiting for what another thread or process does: a condition is looked at, no time is slept away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Look again and again whether something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not become so in time"
        threading.Event().wait(0.001)


def wait_for(what: str, look: Callable[[], Found], seconds: float = 30.0, every: float = 0.1) -> Found:
    """Look until something true is found.

    :param what: is waited for; the error says it.
    :param look: returns it, or something false.
    :param seconds: to wait at most.
    :param every: so many seconds it is looked.
    """
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"no {what} in {seconds:.0f} seconds"
        threading.Event().wait(every)
    return found
