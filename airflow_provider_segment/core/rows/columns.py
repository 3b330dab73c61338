"""The columns that a query returned, and the names that they take in a message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from airflow_provider_segment.core.errors import ColumnError


class Columns:
    """The columns that a query returned, found by name: exactly first, then without regard to case.

    :param names: as the driver gives them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._count = Counter(self.names)

    def index(self, name: str, where: str) -> int:
        """Return the place of a column in a row.

        :param name: as the mapping says it.
        :param where: the setting that names it, for the error.
        :raises ColumnError: if the query does not return it, returns it twice, or in two cases.
        """
        alike = [name] if name in self._count else [n for n in self._count if n.lower() == name.lower()]
        if not alike:
            raise ColumnError(
                f"{where} names the column {name!r}, which the query does not return; it returns {self._listed()}. "
                f"If a fixed value is meant, write Constant({name!r})"
            )
        if len(alike) > 1:
            raise ColumnError(
                f"{where} names the column {name!r}, and the query returns {' and '.join(alike)}: say which"
            )
        if self._count[alike[0]] > 1:
            raise ColumnError(f"{where} names the column {name!r}, which the query returns twice: rename one with AS")
        return self.names.index(alike[0])

    def _listed(self) -> str:
        shown = ", ".join(self.names[:60])
        return f"{shown}, and {len(self.names) - 60} more" if len(self.names) > 60 else shown


def _words(name: str) -> list[str]:
    """Return the words of a column's name: FIRST_NAME, firstName and first-name have the same two."""
    spaced = "".join(char if char.isalnum() else " " for char in name)
    parts = [
        f" {char}" if char.isupper() and (spaced[i - 1].islower() or spaced[i + 1 : i + 2].islower()) else char
        for i, char in enumerate(spaced)
    ]
    return "".join(parts).lower().split() or [name]


def _snake_case(name: str) -> str:
    return "_".join(_words(name))


def _camel_case(name: str) -> str:
    first, *rest = _words(name)
    return first + "".join(word.capitalize() for word in rest)


# How AllColumns makes a trait's or property's name of a column's.
RENAMES: dict[str, Callable[[str], str]] = {"as_is": str, "snake_case": _snake_case, "camelCase": _camel_case}
