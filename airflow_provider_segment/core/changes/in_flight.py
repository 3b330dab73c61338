"""Calls that are due, and what is remembered of each while it is on its way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from airflow_provider_segment.core.changes.entries import AS_KNOWN, AS_NEW, EntryFields
from airflow_provider_segment.core.changes.tables import GONE

# As it is saved before the call is posted; in_doubt is UNMARKED where nothing is saved then.
InFlight: TypeAlias = EntryFields
IN_DOUBT = {"added": AS_NEW, "updated": AS_KNOWN, "deleted": AS_KNOWN}
UNMARKED = 0


@dataclass(slots=True)
class DueCalls:
    """The calls that are to be sent, in parallel lists, and the number of those that are not."""

    rows: Sequence[int] = ()
    events: Sequence[bytes] = ()
    keys: Sequence[bytes] = ()
    in_flight: list[InFlight] = field(default_factory=list)
    unchanged: int = 0

    @property
    def kinds(self) -> dict[str, int]:
        """How many there are of each kind of change."""
        return kinds_of(self.in_flight)


def in_doubt(in_flight: Iterable[InFlight]) -> list[EntryFields]:
    """Return what is saved of calls before they are posted.

    A new key needs nothing before: its first id is made of its content alone. But after a run that left calls of
    unknown fate, Segment may have another content under such an id.

    :param in_flight: the calls.
    """
    return [one for one in in_flight if one[5] != UNMARKED]


def accepted(in_flight: Iterable[InFlight]) -> list[EntryFields]:
    """Return what is saved of calls when Segment has accepted them.

    :param in_flight: the calls.
    """
    return [
        (call, key, content, sent + 1, run, 0, ids, meaning)
        for call, key, content, sent, run, _, ids, meaning in in_flight
    ]


def kinds_of(in_flight: Sequence[InFlight]) -> dict[str, int]:
    """Count calls by the kind of the change.

    :param in_flight: the calls.
    """
    counts = Counter([one[5] for one in in_flight])
    deleted = [one[2] for one in in_flight].count(GONE) if counts[AS_KNOWN] else 0  # no call is new and gone
    return {
        "added": counts[UNMARKED] + counts[AS_NEW],
        "updated": counts[AS_KNOWN] - deleted,
        "deleted": deleted,
    }


def keys_of(in_flight: Iterable[InFlight], call: int) -> list[int]:
    """Return the keys of one call.

    :param in_flight: the calls.
    :param call: its number.
    """
    return [one[1] for one in in_flight if one[0] == call]
