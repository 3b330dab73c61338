"""What stands in a row in the place of a value that a driver could not turn into Python: whoever reads it refuses.

A column that no call reads may hold as many of them as it likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from airflow_provider_segment.core.errors import Refused


class Unreadable:
    """What a driver hands over in place of such a value.

    :param reason: what was found, never the value, and what to do about it in the query.
    """

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def refused(self, path: str = "", column: str = "") -> Refused:
        """Return why a row with it cannot be sent.

        :param path: where in the message it stands; empty where whoever reads it does not know.
        :param column: its name, where the path does not lead to it.
        """
        return Refused("value_not_readable", f"column {column}: {self.reason}" if column else self.reason, path)

    def __eq__(self, _: object) -> Any:
        """Refuse: nobody knows what it is equal to, so a condition on it is neither true nor false."""
        raise self.refused()

    def __hash__(self) -> NoReturn:
        """Refuse, for the same reason."""
        raise self.refused()

    def __repr__(self) -> str:
        return "<not readable>"


def unreadable_in(row: Sequence[Any], places: Sequence[int], names: Sequence[str], field: str) -> Refused | None:
    """Return why a row is refused that has a value which nobody can read where it decides about the row, if it has.

    :param row: the row.
    :param places: of the columns that decide.
    :param names: of all columns.
    :param field: what they decide, such as "when".
    """
    found = (row[place].refused(field, names[place]) for place in places if isinstance(row[place], Unreadable))
    return next(found, None)
