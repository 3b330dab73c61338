"""The filter on the client: a row that arrives as it did in the run before is told by eight bytes of its hash.

A page that equals the one that arrived in its place is done in one comparison. Elsewhere a row is looked for in a few
old pages around the place where the rows before it were found, and where the least hash of an old page is met: so rows
that are put in, taken out or moved in blocks cost only themselves. Rows in an order of chance are not found like that;
then the filter is of no use, turns itself off, and keeps a few pages to see whether the next run has an order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, repeat

from airflow_provider_segment.core.changes.prefilter.new_pages import NewPages
from airflow_provider_segment.core.changes.prefilter.old_pages import OldPages
from airflow_provider_segment.core.changes.prefilter.store import FilterStore, numbers_in, packed
from airflow_provider_segment.core.mapping.readers import Row
from airflow_provider_segment.core.rows.row_hashes import NO_HASH, Hashes

# Pages that tell whether rows are found where they should be; the share below which they are not, and that of a place
# which is found again.
TRIED_PAGES, MISSED, FOUND = 8, 0.2, 0.5


class ArrivalFilter:
    """Passes over the rows that the run before had settled, wherever they arrive.

    :param store: of the sync.
    :param hashes: hashes those columns of rows that the mapping uses.
    :param is_used: whether the filter holds; otherwise this run only makes it anew.
    :param was_whole: whether the run before has kept all pages.
    """

    maker = "on the client"

    def __init__(self, store: FilterStore, hashes: Hashes, *, is_used: bool, was_whole: bool) -> None:
        self._hashes = hashes
        self._old = OldPages(store, is_used=is_used)
        self._new = NewPages(store)
        self._is_sure = is_used and was_whole
        self._was_off = is_used and not was_whole
        self._expected = 0
        self._misses = 0
        self._hashed_pages: int | None = None  # where it has turned itself off
        self._page: tuple[int, bytes, list[int], Sequence[int]] = (0, b"", [], ())

    @property
    def is_whole(self) -> bool:
        """Whether all pages of this run are kept."""
        return self._hashed_pages is None

    def look(self, page: Sequence[Row], first: int) -> Sequence[int]:
        """Return the places of the rows that must be looked at; remember() is to be told their keys then.

        :param page: some rows.
        :param first: the number of the first.
        """
        if self._hashed_pages is not None:
            self._page = first, b"", [0] * len(page), range(len(page))
            return range(len(page))
        hashes = self._hashes(page)
        if hashes == self._old.hashes(self._expected) and NO_HASH not in hashes:
            self._pass_over(first, hashes)
            return ()
        row_keys = [0] * len(page)
        left = self._find(numbers_in(hashes), row_keys)
        self._page = first, hashes, row_keys, left
        if not left:
            self.remember(())
        return left

    def remember(self, numbers: Sequence[int]) -> None:
        """Keep a page.

        :param numbers: of the keys of the rows that look() gave.
        """
        first, hashes, row_keys, places = self._page
        for place, number in zip(places, numbers, strict=True):
            row_keys[place] = number
        self._new.add(first, hashes, packed(row_keys))

    def _pass_over(self, first: int, hashes: bytes) -> None:
        """Keep a page that came as the one that was expected."""
        self._misses = 0
        self._old.came_whole(self._expected)
        if not self._new.keep_old(first, self._expected):
            self._new.add(first, hashes, self._old.row_keys(self._expected))
        self._expected += 1

    def _find(self, hashes: Sequence[int], row_keys: list[int]) -> Sequence[int]:
        """Return the places of the rows that are not found around where they should be."""
        met = self._old.met(hashes)
        around = (self._expected, self._expected + 1, *(near for one in met for near in (one, one + 1, one - 1)))
        left, last = list(range(len(hashes))), (-1, 0)
        for number in dict.fromkeys(around):
            if left and 0 <= number < self._old.count:
                still = self._old.find(number, hashes, left, row_keys)
                last = max(last, (_last_found(left, still), number))
                left = still
        if last[0] >= 0:
            self._expected = self._old.follows(last[1], hashes[last[0]])
        self._judge(len(hashes) - len(left), len(hashes), is_telling=bool(met))
        return left

    def _judge(self, found: int, rows: int, *, is_telling: bool) -> None:
        """Turn the filter off where rows are not found, though old ones came: where none came, the rows are new."""
        if found >= FOUND * rows:
            self._misses = 0
        elif found < MISSED * rows and (is_telling or (self._was_off and self._new.count < TRIED_PAGES)):
            self._misses += 1
        if self._misses >= TRIED_PAGES:
            self._hashed_pages = self._new.count + 1

    def missing(self) -> Iterator[Sequence[int]] | None:
        """Yield the numbers of all keys that may be gone, some at a time; None where that cannot be told."""
        return self._old.missing() if self._is_sure and self._hashed_pages is None else None

    def passed_over(self) -> Iterator[Sequence[int]]:
        """Yield the numbers of the keys of rows that were passed over, and perhaps of others, some at a time."""
        return (numbers_in(page.row_keys) for page in islice(self._new.all(), self._hashed_pages))

    def repeated(self, keys: Sequence[int]) -> set[int]:
        """Return those of some keys that rows have which are not all the same.

        :param keys: their numbers, perhaps millions.
        """
        return self._new.repeated(keys)

    def write(self, mark: str, unsettled: Iterable[int], watched: frozenset[int], ghosts: Sequence[int]) -> None:
        """Leave the filter for the next run.

        :param mark: of this run, which stands in the state beside these pages.
        :param unsettled: the numbers of rows that are not settled.
        :param watched: the numbers of keys of which no row is to be passed over.
        :param ghosts: the numbers of keys that are gone, and of which Segment does not know it.
        """
        if self._hashed_pages is not None:
            self._new.keep_first(TRIED_PAGES)
        self._new.write(unsettled, watched, ghosts)


def _last_found(left: Sequence[int], still: Sequence[int]) -> int:
    """Return the last of some places that is not among those that are left of them; -1 where all are."""
    for one, other in zip(reversed(left), chain(reversed(still), repeat(-1)), strict=False):
        if one != other:
            return one
    return -1
