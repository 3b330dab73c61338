"""The state connections that the page reads: one that is slow or broken says so, and holds up no other."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from airflow_provider_segment.compat import conf
from airflow_provider_segment.core.changes.overview import Overview
from airflow_provider_segment.core.errors import SegmentError, StateError
from airflow_provider_segment.hooks.state_care import read_all_states

log = logging.getLogger(__name__)

# Seconds for which a page waits for a database, and questions that may wait for one at a time.
PATIENCE = 5.0
AT_ONCE = 32

T = TypeVar("T")


class Place(NamedTuple):
    """Where states are.

    :param conn_id: of the connection.
    :param schema: of its database.
    """

    conn_id: str
    schema: str | None = None

    def __str__(self) -> str:
        return self.conn_id if self.schema is None else f"{self.conn_id}@{self.schema}"


def places() -> list[Place]:
    """Return the places that ``[segment] state_conn_ids`` names."""
    named = conf.get("segment", "state_conn_ids", fallback="") or ""
    texts = dict.fromkeys(text.strip() for text in named.split(",") if text.strip())
    return [Place(conn_id, schema or None) for conn_id, _, schema in (text.partition("@") for text in texts)]


_gates: dict[Place, threading.BoundedSemaphore] = defaultdict(lambda: threading.BoundedSemaphore(AT_ONCE))


class Question(Generic[T]):
    """Asks one place in a thread of its own, since a driver may wait for minutes for a host that is gone.

    :param place: that is asked.
    :param ask: returns the answer.
    """

    def __init__(self, place: Place, ask: Callable[[], T]) -> None:
        self._place, self._ask = place, ask
        self._answers: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()
        self._until = time.monotonic() + PATIENCE
        self._is_asked = _gates[place].acquire(blocking=False)
        if self._is_asked:  # else so many questions wait already that this one would wait in vain
            threading.Thread(target=self._run, name=f"segment-syncs-{place}", daemon=True).start()

    def answer(self) -> T:
        """Wait for the answer.

        :raises SegmentError: if there is no such connection, or its database fails or does not answer in time.
        """
        late = StateError(f"It did not answer within {PATIENCE:g} seconds; the page will ask again when it is loaded")
        if not self._is_asked:
            raise late
        try:
            found, error = self._answers.get(timeout=max(0.0, self._until - time.monotonic()))
        except queue.Empty:
            raise late from None
        if error is not None:
            raise error
        return found  # type: ignore[return-value]  # without an error it is there

    def _run(self) -> None:
        try:
            self._answers.put((self._ask(), None))
        except SegmentError as error:
            self._answers.put((None, error))
        except Exception as error:  # noqa: BLE001  whatever a driver raises, it is told by its name alone
            log.warning("Segment syncs: reading the states at %s failed (%s)", self._place, type(error).__name__)
            self._answers.put((None, StateError(f"Reading it failed ({type(error).__name__})")))
        finally:
            _gates[self._place].release()


def look(place: Place, ask: Callable[[Overview], T]) -> Question[T]:
    """Ask a place something of its syncs.

    :param place: that is asked.
    :param ask: returns the answer.
    """

    def read() -> T:
        with read_all_states(*place) as overview:
            return ask(overview)

    return Question(place, read)
