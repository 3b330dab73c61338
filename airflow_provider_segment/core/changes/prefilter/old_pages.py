"""The rows as they arrived in the run before: pages by their number, and by any of their least hashes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

from airflow_provider_segment.core.changes.prefilter.store import FilterStore, StoredPage, numbers_in

# Pages that are read at once, and indexes of pages that are kept: the window moves on by one page at a time.
READ_PAGES, KEPT_PAGES = 16, 16


class OldPages:
    """The pages that the run before has left, and which of their rows came again.

    :param store: where they lie.
    :param is_used: whether the filter holds; otherwise there are none.
    """

    def __init__(self, store: FilterStore, *, is_used: bool) -> None:
        self._store = store
        anchors = store.anchors() if is_used else []
        self.count = len(anchors)
        self._anchors = {least: number for least, number in anchors if least}
        self._read: dict[int, StoredPage] = {}
        self._indexes: OrderedDict[int, tuple[dict[int, int], tuple[int, ...]]] = OrderedDict()
        self._came: dict[int, bytearray | None] = {}

    def hashes(self, number: int) -> bytes:
        """Return the hashes of a page; none where there is no such page.

        :param number: of the page.
        """
        page = self._page(number)
        return page.hashes if page is not None else b""

    def row_keys(self, number: int) -> bytes:
        """Return the keys of a page's rows.

        :param number: of the page.
        """
        page = self._page(number)
        return page.row_keys if page is not None else b""

    def came_whole(self, number: int) -> None:
        """Remember that each row of a page came again.

        :param number: of the page.
        """
        self._came[number] = None

    def met(self, hashes: Iterable[int]) -> list[int]:
        """Return the numbers of the pages whose least hash is among those of some rows.

        :param hashes: of the rows.
        """
        return sorted(self._anchors[one] for one in self._anchors.keys() & set(hashes))

    def find(self, number: int, hashes: Sequence[int], left: Sequence[int], row_keys: list[int]) -> list[int]:
        """Look for rows in a page, and remember that those which are there came again.

        :param number: of the page.
        :param hashes: of the rows of a new page.
        :param left: the places in it of the rows to look for.
        :param row_keys: of the new page; those of rows that are found are filled in.
        :return: the places of the rows that are not there.
        """
        index, old_keys = self._index(number)
        came = self._came.setdefault(number, bytearray(len(old_keys)))
        still = []
        for place in left:
            if (old := index.get(hashes[place])) is None:
                still.append(place)
                continue
            row_keys[place] = old_keys[old]
            if came is not None:
                came[old] = 1
        return still

    def follows(self, number: int, one: int) -> int:
        """Return the number of the page in which the row after one is expected.

        :param number: of the page in which this one was found.
        :param one: its hash.
        """
        index, old_keys = self._index(number)
        return number + (index[one] == len(old_keys) - 1)

    def missing(self) -> Iterator[list[int]]:
        """Yield the keys of rows that did not come again as they were, some at a time, now that all rows were read."""
        for number in range(self.count):
            came = self._came.get(number, b"")
            if came is not None and (page := self._page(number)) is not None:
                row_keys = numbers_in(page.row_keys)
                missing = [key for place, key in enumerate(row_keys) if not (came and came[place])]
                if missing:
                    yield missing

    def _page(self, number: int) -> StoredPage | None:
        if not 0 <= number < self.count:
            return None
        if number not in self._read:
            # Two stretches, so that rows that straddle them do not read each in turn.
            for old in [one for one in self._read if abs(one - number) > READ_PAGES]:
                del self._read[old]
            self._read |= {page.number: page for page in self._store.pages(number, number + READ_PAGES)}
        return self._read.get(number)

    def _index(self, number: int) -> tuple[dict[int, int], tuple[int, ...]]:
        """Return the places of a page's settled rows by their hashes, and the keys of all."""
        if number in self._indexes:
            self._indexes.move_to_end(number)
            return self._indexes[number]
        hashes, row_keys = numbers_in(self.hashes(number)), numbers_in(self.row_keys(number))
        places = {one: place for place, one in enumerate(hashes) if one}
        self._indexes[number] = places, row_keys
        if len(self._indexes) > KEPT_PAGES:
            self._indexes.popitem(last=False)
        return places, row_keys
