"""The calls of a run as the state has them: in doubt before they are posted, and saved some batches at a time after."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from airflow_provider_segment.core.changes.changing_call import ChangingCall
from airflow_provider_segment.core.changes.dry_state import DryState
from airflow_provider_segment.core.changes.in_flight import InFlight, accepted, in_doubt, keys_of
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
        self._accepted: list[InFlight] = []
        self._saved = time.monotonic()

    def mark(self, in_flight: Sequence[InFlight]) -> None:
        """Say in the state, before they are sent, that Segment may get another content for these keys.

        Without it: A is saved, B is acknowledged, a crash comes before B is saved, and the source goes back to A. It
        would look unchanged, and Segment would keep B.

        :param in_flight: the calls.
        """
        self._state.save(in_doubt(in_flight))

    def ended(self, in_flight: Sequence[InFlight], taken: Sequence[InFlight]) -> None:
        """Remember what became of calls, and save what Segment has accepted when it is much, or some time has passed.

        :param in_flight: that were on their way.
        :param taken: those of them that Segment has accepted.
        :raises StateError: if they cannot be saved; the next run sends them again, under the same ids.
        """
        self._accepted += taken
        if len(taken) < len(in_flight):
            self._forget(set(in_flight).difference(taken))
        if len(self._accepted) >= SAVED_AT_ONCE or time.monotonic() - self._saved >= LONGEST_WAIT:
            self.save()

    def save(self) -> None:
        """Save what Segment has accepted.

        :raises StateError: as ended().
        """
        taken, self._accepted = self._accepted, []
        try:
            self._state.save(accepted(taken))
        finally:
            self._forget(taken)
            self._saved = time.monotonic()

    def _forget(self, in_flight: Iterable[InFlight]) -> None:
        """Forget that calls were on their way."""
        for call in self._calls:
            call.fresh.drop(keys_of(in_flight, call.number))
