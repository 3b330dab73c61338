"""Calls that are due, and what is remembered of each while it is on its way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from airflow_provider_segment.core.changes.entries import AS_KNOWN, AS_NEW, Entry, StoredEntry
from airflow_provider_segment.core.changes.tables import GONE
from airflow_provider_segment.core.mapping.encoding import has_own_id
from airflow_provider_segment.core.mapping.message_ids import MessageIds, with_id

IN_DOUBT = {"added": AS_NEW, "updated": AS_KNOWN, "deleted": AS_KNOWN}
NOT_KNOWN = (0, None, 0, 0, 0, None)


class InFlight(NamedTuple):
    """What to remember of a call that is on its way.

    :param kind: "added", "updated" or "deleted".
    :param entry: as it is saved when Segment has accepted the call.
    :param in_doubt: as it is saved before the call is posted; None where that needs no saving.
    """

    kind: str
    entry: Entry
    in_doubt: Entry | None


def packed(one: InFlight) -> tuple[str, tuple[Any, ...], tuple[Any, ...] | None]:
    """Return what is remembered of a call as plain tuples.

    :param one: of a call.
    """
    return one.kind, tuple(one.entry), one.in_doubt and tuple(one.in_doubt)


def unpacked(plain: tuple[str, tuple[Any, ...], tuple[Any, ...] | None]) -> InFlight:
    """Return what packed() has packed.

    :param plain: of a call.
    """
    kind, entry, in_doubt = plain
    return InFlight(kind, Entry(*entry), Entry(*in_doubt) if in_doubt is not None else None)


@dataclass(slots=True)
class DueCalls:
    """The calls that are to be sent, in parallel lists, and the number of those that are not."""

    rows: list[int] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    in_flight: list[InFlight] = field(default_factory=list)
    unchanged: int = 0

    def add(self, row: int, event: bytes, key: bytes, one: InFlight) -> None:
        """Add a call."""
        self.rows.append(row)
        self.events.append(event)
        self.keys.append(key)
        self.in_flight.append(one)


def in_flight(kind: str, posted: Entry, known: StoredEntry | None, *, is_recovering: bool) -> InFlight:
    """Return what to remember of a call before it is posted, and when it is accepted.

    A new key needs nothing before: its first id is made of its content alone. But after a run that left calls of
    unknown fate, Segment may have another content under such an id.

    :param kind: "added", "updated" or "deleted".
    :param posted: the entry while nobody knows whether the call was accepted.
    :param known: the entry before; None where there is none.
    :param is_recovering: whether the run before left calls of unknown fate.
    """
    _, was, was_sent, _, was_in_doubt, _ = known or NOT_KNOWN
    is_new = was in (None, GONE) and not was_in_doubt
    is_said = (was, was_sent, was_in_doubt) == (posted.content, posted.sent, posted.in_doubt)
    before = None if is_said or (is_new and not is_recovering) else posted
    call, key, content, sent, run, _, ids, meaning = posted  # _replace() takes four times as long
    return InFlight(kind, Entry(call, key, content, sent + 1, run, 0, ids, meaning), before)


def named(content: bytes, row_key: bytes, sent: int, ids: MessageIds) -> bytes:
    """Return a message with its id, which is another one for each call that is accepted of a key.

    :param content: the encoded message; one that has an id of the user's own keeps it.
    :param row_key: of its row.
    :param sent: the calls that were accepted of its key so far.
    :param ids: of the call.
    """
    return content if has_own_id(content) else with_id(content, ids.make(b"%b#%d" % (row_key, sent), content))
