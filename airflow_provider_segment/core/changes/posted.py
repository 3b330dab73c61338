"""The calls of a run as the state has them: in doubt before they are posted, and saved some batches at a time after."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from airflow_provider_segment.core.changes.changing_call import ChangingCall
from airflow_provider_segment.core.changes.connection import PATIENCE
from airflow_provider_segment.core.changes.dry_state import DryState
from airflow_provider_segment.core.changes.entries import EntryFields
from airflow_provider_segment.core.changes.in_flight import InFlight, accepted, in_doubt, keys_of
from airflow_provider_segment.core.changes.lease import LAST_PATIENCE
from airflow_provider_segment.core.changes.state import State

# One transaction of so many calls takes half the time of one a batch. A run that is killed before it sends them again,
# under the same ids.
SAVED_AT_ONCE = 20_000
# Seconds that a call waits at most while batches end.
LONGEST_WAIT = 1.0


class Posted:
    """Writes what was posted into the state.

    :param state: of the sync.
    :param calls: of the sync; what is saved is fresh no more.
    """

    def __init__(self, state: State | DryState, calls: Iterable[ChangingCall]) -> None:
        self._state = state
        self._calls = list(calls)
        self._batches: dict[InFlight, int] = {}  # by their first calls
        self._waiting: list[EntryFields] = []
        self._ended: list[int] = []
        self._others: list[InFlight] = []
        self._saved = time.monotonic()
        self._patience = PATIENCE

    def mark(self, in_flight: Sequence[InFlight]) -> None:
        """Say in the state, before a batch is sent, that Segment may get another content for its keys.

        Without it: A is saved, B is acknowledged, a crash comes before B is saved, and the source goes back to A. It
        would look unchanged, and Segment would keep B.

        :param in_flight: the calls of the batch.
        """
        doubts = in_doubt(in_flight)
        if doubts and isinstance(self._state, State):
            self._batches[in_flight[0]] = self._state.doubts.keep(doubts)

    def ended(self, in_flight: Sequence[InFlight], taken: Sequence[InFlight]) -> None:
        """Remember what became of a batch, until it is saved.

        :param in_flight: its calls.
        :param taken: those of them that Segment has accepted; the others stay in doubt.
        """
        self._waiting += accepted(taken)
        if len(taken) < len(in_flight):
            others = set(in_flight).difference(taken)
            self._waiting += in_doubt(others)
            self._others += others
        # Last: where a time-out came before, the whole batch is still in doubt.
        if (batch := self._batches.pop(in_flight[0], None)) is not None:
            self._ended.append(batch)

    def save_where_due(self) -> None:
        """Save what has ended when that is much, or some time has passed, or some calls of it were not accepted.

        :raises StateError: as save().
        """
        is_time = len(self._waiting) >= SAVED_AT_ONCE or time.monotonic() - self._saved >= LONGEST_WAIT
        if is_time or self._others:
            self.save()

    def save(self) -> None:
        """Save what has ended.

        :raises StateError: if it cannot be saved; the next run sends what was accepted again, under the same ids.
        """
        try:
            self._state.save(self._waiting, self._ended, patience=self._patience)
        except Exception:
            self._leave()
            raise
        self._leave()  # after a time-out they wait still: the end of the run saves them

    def hurry(self) -> None:
        """Have seconds for saving from now on: the task is about to end."""
        self._patience = LAST_PATIENCE

    def _leave(self) -> None:
        """Forget that calls were on their way."""
        settled = [*self._waiting, *self._others]
        self._waiting, self._ended, self._others = [], [], []
        self._saved = time.monotonic()
        for call in self._calls:
            call.fresh.drop(keys_of(settled, call.number))
