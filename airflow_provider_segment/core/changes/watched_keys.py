"""Keys of which an earlier run found rows with different contents: what Segment has stands as long as a row says it."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_segment.core.changes.gone_keys import Refuse
from airflow_provider_segment.core.changes.in_flight import DueCalls
from airflow_provider_segment.core.changes.rekeying import DifferingRow
from airflow_provider_segment.core.errors import Refused

_AGAIN = "found the key of an earlier row, with other content; a key is one row"


class WatchedKeys:
    """Holds back the rows of one call whose key is watched, until a row says what Segment has, or all were read.

    Without it two rows of one key would take turns at Segment, run by run.

    :param numbers: of the keys.
    """

    def __init__(self, numbers: frozenset[int]) -> None:
        self.numbers = numbers
        self._stands: set[int] = set()
        self._held: dict[int, DifferingRow] = {}

    def goes_on(self, one: DifferingRow, due: DueCalls, refuse: Refuse, *, is_unchanged: bool) -> bool:
        """Tell whether a row of a watched key goes on now: it is held, refused, or counted as a copy where it does not.

        :param one: the row.
        :param due: counts copies as unchanged.
        :param refuse: is told of rows that say something else.
        :param is_unchanged: whether it says what Segment has.
        """
        if is_unchanged:
            self._stands.add(one.number)
            if (held := self._held.pop(one.number, None)) is not None:
                refuse_again(held, refuse)
            return True
        if one.number in self._stands:
            refuse_again(one, refuse)
            return False
        first = self._held.setdefault(one.number, one)
        if first is not one and first.by_value == one.by_value:
            due.unchanged += 1
        elif first is not one:
            refuse_again(one, refuse)
        return False

    def rest(self) -> Sequence[DifferingRow]:
        """Return the rows that are held, now that all were read: the first of each key."""
        held, self._held, self.numbers = list(self._held.values()), {}, frozenset()
        return held


def refuse_again(one: DifferingRow, refuse: Refuse) -> None:
    """Refuse a row whose key another row has with other content.

    :param one: the row.
    :param refuse: is told.
    """
    refuse(one.row_number, one.key, Refused("key_again", _AGAIN, "key"))
