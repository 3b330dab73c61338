"""The ids of users, groups and messages: words for nothing are refused, and what looks wrong is counted, by the page.

One id for many rows makes one profile of them, and nobody can take it apart again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any
from uuid import UUID

import orjson

from airflow_provider_segment.core.errors import Refused
from airflow_provider_segment.core.mapping import values

# What programs write for a value that is not there: SQL, JSON, Python, pandas, JavaScript, Go, C and MySQL's exports.
_SHORT = ("null", "none", "nan", "nat")  # in any case
_LONG = ("undefined", "[object Object]", "<nil>", "<null>", "(null)", "<NA>", "\\N")  # as they are, and in one case
_IN_ANY_CASE = {"".join(letters) for word in _SHORT for letters in product(*zip(word, word.upper(), strict=True))}
_WORDS = _IN_ANY_CASE | {spelt for word in _LONG for spelt in (word, word.lower(), word.upper(), word.capitalize())}
PLACEHOLDERS = frozenset(f"{quote}{word}{quote}" for word in _WORDS for quote in ("", '"', "'"))
# The numbers that stand for nothing in many databases, and for a user in some.
_DOUBTFUL = frozenset({"0", "-1", 0, -1})

# An id that makes up more than this share of the calls, and as many of them, is told.
_SHARE, _LEAST = 0.01, 100
# Ids are counted in portions of at least so many, and only those that are above a fifth of the share in one.
_PORTION = 1_000
_CANDIDATES = 1_000

_PADDED = (
    "messages have a {} with blanks at an end, which are a part of it for Segment: TRIM it in the query, where they "
    "are not meant"
)
_DOUBTED = (
    "messages have the {} 0 or -1, which mostly stands for a missing one: make it NULL in the query, where it does"
)
_REPEATED = (
    "messages have one and the same {}, {:.0%} of all: their traits overwrite each other in one profile. Is it a test "
    "user, or a word for a missing id?"
)


def to_id(value: Any, name: str) -> str | None:
    """Return an id as text, or None where there is none.

    :param value: as a driver or a user gave it.
    :param name: of the id, on the wire.
    :raises Refused: if it is no id, or a word that programs write for nothing.
    """
    found = values.to_id(value, name)
    if found is not None and found.strip() in PLACEHOLDERS:
        raise Refused(
            "id_is_placeholder",
            "found a word that programs write for a missing value, such as null, None or undefined; thousands of rows "
            "would become one profile. Make it NULL where it comes from, such as NULLIF(id, 'null') in the query",
            name,
        )
    return found


class Ids:
    """One id of one call.

    :param name: on the wire.
    :param is_counted: whether each is to be of another row, as the user's of an identify call.
    """

    def __init__(self, name: str, *, is_counted: bool = False) -> None:
        self._name = name
        self._commonest = _Commonest() if is_counted else None
        self._last: tuple[Sequence[Any], set[Any], int] = ((), set(), 0)
        self._doubtful = self._padded = 0

    def read(self, found: Sequence[Any]) -> Sequence[str | None]:
        """Return the ids of some rows.

        :param found: the values of their column.
        :raises Refused: if one of them is no id.
        """
        distinct: set[Any] = set()
        types = set(map(type, found))
        if types == {int}:
            self._last = (found, set(found), 0)
            return list(map(str, found))
        if types == {UUID}:
            texts: list[str] = orjson.loads(orjson.dumps(found))  # a tenth of str() for each
            self._last = (texts, set(texts), 0)
            return texts
        if types == {str}:
            stripped, distinct = list(map(str.strip, found)), set(found)
            if all(stripped) and PLACEHOLDERS.isdisjoint(distinct):
                padded = 0 if stripped == found else sum(map(str.__ne__, stripped, found))
                if not padded or PLACEHOLDERS.isdisjoint(stripped):
                    self._last = (found, distinct, padded)
                    return found
        ids = [to_id(value, self._name) for value in found]
        self._last = (ids, set(ids), sum(one is not None and one != one.strip() for one in ids))
        return ids

    @property
    def is_complete(self) -> bool:
        """Whether each row that was read last has the id."""
        return None not in self._last[1]

    def note(self) -> None:
        """Count what looks wrong in what was read last, now that its messages are made."""
        found, distinct, padded = self._last
        self._padded += padded
        if not _DOUBTFUL.isdisjoint(distinct):
            self._doubtful += sum(one in _DOUBTFUL for one in found)
        if self._commonest is not None:
            self._commonest.add(found, len(distinct))

    def warnings(self) -> Iterator[tuple[str, str, int]]:
        """Yield what looks wrong: a code, what it means, and of how many messages."""
        if self._padded:
            yield "id_has_blanks", _PADDED.format(self._name), self._padded
        if self._doubtful:
            yield "id_is_doubtful", _DOUBTED.format(self._name), self._doubtful
        if self._commonest is not None and (most := self._commonest.most()):
            yield "id_repeats", _REPEATED.format(self._name, most / self._commonest.total), most


class _Commonest:
    """How often the commonest value comes, where that is more than a hundredth of all; in bounded memory.

    A value that is above a fifth of the share in no portion cannot be above the share in all of them; so most portions
    are done with when it is known how many different values they have.
    """

    def __init__(self) -> None:
        self.total = 0
        self._counts: Counter[Any] = Counter()
        self._portion: list[Any] = []

    def add(self, found: Sequence[Any], distinct: int) -> None:
        self.total += len(found)
        if not self._portion and len(found) >= _PORTION:
            self._count(found, distinct)
            return
        self._portion += found
        if len(self._portion) >= _PORTION:
            self._count(self._portion, len(set(self._portion)))
            self._portion = []

    def most(self) -> int:
        """Return the number of the commonest value, 0 where it is nothing to tell."""
        if self._portion:
            self._count(self._portion, len(set(self._portion)))
            self._portion = []
        most = max(self._counts.values(), default=0)
        return most if most >= _LEAST and most > _SHARE * self.total else 0

    def _count(self, found: Sequence[Any], distinct: int) -> None:
        least = len(found) * _SHARE / 5
        if len(found) - distinct + 1 <= least:
            return
        counts = Counter(found)
        del counts[None]
        if max(counts.values(), default=0) <= least:
            return
        self._counts.update({value: number for value, number in counts.items() if number > least})
        if len(self._counts) > _CANDIDATES:
            common = {value: n for value, n in self._counts.items() if n > self.total * _SHARE / 5}
            self._counts = Counter(common)
