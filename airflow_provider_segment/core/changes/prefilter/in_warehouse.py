"""The filter in the warehouse: settled rows do not leave it; here their keys are told from the state's numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from airflow_provider_segment.core.errors import SourceError
from airflow_provider_segment.core.mapping.readers import Row
from airflow_provider_segment.core.rows.keys import key_bytes, numbers_of
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.core.rows.warehouse import Warehouse


class WarehouseFilter:
    """Passes over the rows that the run before had settled, by a statement of the warehouse.

    :param warehouse: where the query runs.
    :ivar is_planned: whether another task of this run has laid the rows out.
    :ivar gone: how many keys are gone; None where all rows must be read to tell.
    """

    is_whole = True

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self.is_planned = warehouse.is_planned
        self._is_full = True
        self.gone: int | None = None

    def open(
        self, mapped: Sequence[str], key: Sequence[str], owner: str, run: int, mark: str | None, *, is_dry: bool
    ) -> tuple[Pages, int]:
        """Return the rows to look at, and how many others were passed over; see Warehouse.lay_out."""
        laid_out = self._warehouse.lay_out(mapped, key, owner, run, mark, is_dry=is_dry)
        self._is_full = laid_out.is_full
        self.gone = None if laid_out.is_full else laid_out.gone
        return laid_out.pages, laid_out.skipped

    @property
    def is_full(self) -> bool:
        """Whether no row was passed over, since what was settled is not known."""
        return self._is_full

    def look(self, page: Sequence[Row], first: int) -> Sequence[int]:
        """Return the places of all rows: the others are not here."""
        return range(len(page))

    def remember(self, numbers: Sequence[int]) -> None:
        """Keep nothing: the warehouse has the rows."""

    def missing(self) -> Iterator[Sequence[int]] | None:
        """Yield the numbers of the keys that are gone, some at a time; None where that cannot be told."""
        return None if self._is_full else (numbers for numbers, _ in self._gone())

    def laid_out_keys(self) -> Iterator[Sequence[Sequence[Any]]]:
        """Yield the keys of all rows that were laid out, some at a time."""
        return self._warehouse.laid_out_keys()

    def passed_over(self) -> Iterator[Sequence[int]]:
        """Yield nothing: where it matters, no row was passed over."""
        return iter(())

    def repeated(self, keys: Sequence[int]) -> set[int]:
        """Return nothing: all rows of a key that has changed are looked at."""
        return set()

    def write(self, mark: str, unsettled: Sequence[int], watched: frozenset[int], ghosts: Sequence[int]) -> None:
        """Leave the filter for the next run; see RowFilter.

        :raises SourceError: if it would miss keys that are gone, which no statement has listed in a run that read all.
        """
        left = set(ghosts)
        if left and self._is_full:
            raise SourceError(
                f"Segment was not told of {len(left):,} keys that are gone, and only a run that looks at every row "
                "finds them again"
            )
        # Deletions that Segment refused are few; to find them the keys that are gone are read once more.
        pages = self._gone() if left else ()
        of_keys = [row for numbers, rows in pages for number, row in zip(numbers, rows, strict=True) if number in left]
        self._warehouse.settle(mark, [*unsettled, *of_keys])

    def _gone(self) -> Iterator[tuple[list[int], list[int]]]:
        for page in self._warehouse.gone():
            rows: list[int] = []
            keys: list[list[Any]] = []
            for row, *key in page:
                rows.append(row)
                keys.append(key)
            found = key_bytes(list(zip(*keys, strict=True)))
            yield numbers_of([key or b"" for key in found]), rows
