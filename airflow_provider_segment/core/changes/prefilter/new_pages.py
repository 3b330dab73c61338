"""The rows as they arrive in this run, a page each, on disk until the run ends whole."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import starmap

from airflow_provider_segment.core.changes.prefilter.store import (
    FilterStore,
    StoredPage,
    in_parts,
    numbers_in,
    packed,
)
from airflow_provider_segment.core.changes.scratch import scratch_of
from airflow_provider_segment.core.rows.row_hashes import NO_HASH, SIZE

READ_PAGES = 16
PAGE = 2_500
# Keys that are looked for at once, in memory.
SOUGHT = 100_000


class NewPages:
    """The pages of this run; those that are the same as in the run before stay where they are.

    :param store: where those of the run before lie, and these will.
    """

    def __init__(self, store: FilterStore) -> None:
        self._store = store
        self._firsts: list[int] = []  # the number of each page's first row
        self._same: set[int] = set()
        self._end: float = math.inf  # the number of the row after the last
        self._database = scratch_of(self)
        self._database.execute("CREATE TABLE page (number INTEGER PRIMARY KEY, hashes BLOB, row_keys BLOB)")
        self._database.execute("BEGIN")

    @property
    def count(self) -> int:
        """How many pages there are."""
        return len(self._firsts)

    def keep_old(self, first: int, number: int) -> bool:
        """Add a page that is the same as an old one, which need not be written where it has its number.

        :param first: the number of its first row.
        :param number: of the old page.
        :return: whether it has.
        """
        if number != len(self._firsts):
            return False
        self._same.add(number)
        self._firsts.append(first)
        return True

    def add(self, first: int, hashes: bytes, row_keys: bytes) -> None:
        """Add a page.

        :param first: the number of its first row.
        :param hashes: of its rows.
        :param row_keys: the numbers of their keys.
        """
        self._database.execute("INSERT INTO page VALUES (?, ?, ?)", (len(self._firsts), hashes, row_keys))
        self._firsts.append(first)

    def keep_first(self, number: int) -> None:
        """Forget all pages but some.

        :param number: how many of the first stay.
        """
        self._end = next(iter(self._firsts[number:]), self._end)
        self._database.execute("DELETE FROM page WHERE number >= ?", (number,))
        del self._firsts[number:]
        self._same = {one for one in self._same if one < number}

    def all(self) -> Iterator[StoredPage]:
        """Yield the pages in order, also those that stay where they are."""
        for first in range(0, self.count, READ_PAGES):
            last = min(first + READ_PAGES, self.count)
            found = {page.number: page for page in self._new(first, last)}
            if len(found) < last - first:
                found = {page.number: page for page in self._store.pages(first, last)} | found
            yield from (found[number] for number in range(first, last))

    def repeated(self, keys: Sequence[int]) -> set[int]:
        """Return those of some keys that rows have which are not all the same.

        :param keys: their numbers, perhaps millions.
        """
        found: set[int] = set()
        for at in range(0, len(keys), SOUGHT):
            sought, seen = frozenset(keys[at : at + SOUGHT]), dict[int, bytes]()
            for page in self.all():
                row_keys = numbers_in(page.row_keys)
                for place in () if sought.isdisjoint(row_keys) else range(len(row_keys)):
                    if (key := row_keys[place]) in sought:
                        one = page.hashes[place * SIZE : (place + 1) * SIZE]
                        if seen.setdefault(key, one) != one or not one:
                            found.add(key)
        return found

    def write(self, unsettled: Iterable[int], watched: frozenset[int], ghosts: Sequence[int]) -> None:
        """Write the pages in the place of those of the run before.

        :param unsettled: the numbers of rows that are not settled.
        :param watched: the numbers of keys of which no row is to be passed over.
        :param ghosts: the numbers of keys that are gone, and of which Segment does not know it.
        """
        for part in in_parts(self._changed(unsettled, watched)):
            self._store.keep_pages(part)
        self._store.forget_pages(self.count)
        for at in range(0, len(ghosts), PAGE):
            keys = ghosts[at : at + PAGE]
            self._store.keep_pages([StoredPage(self.count + at // PAGE, NO_HASH * len(keys), packed(keys))])

    def _changed(self, unsettled: Iterable[int], watched: frozenset[int]) -> Iterator[StoredPage]:
        """Yield the pages that do not stand in the store as they should, without the hashes of rows to look at."""
        places: defaultdict[int, list[int]] = defaultdict(list)
        for row in unsettled:
            if row >= self._end:
                continue
            number = bisect_right(self._firsts, row) - 1
            places[number].append(row - self._firsts[number])
        for page in self.all() if watched else self._new(0, self.count):
            without = places.get(page.number, [])
            if watched and not watched.isdisjoint(row_keys := numbers_in(page.row_keys)):
                without = [*without, *(place for place, key in enumerate(row_keys) if key in watched)]
            hashes = bytearray(page.hashes)
            for place in without:
                hashes[place * SIZE : (place + 1) * SIZE] = NO_HASH
            if page.number not in self._same or hashes != page.hashes:
                yield page._replace(hashes=bytes(hashes))

    def _new(self, first: int, last: int) -> Iterator[StoredPage]:
        query = "SELECT number, hashes, row_keys FROM page WHERE number >= ? AND number < ? ORDER BY number"
        return starmap(StoredPage, self._database.execute(query, (first, last)))
