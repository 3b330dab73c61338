"""What each filter does for the rules: it lets rows through, and learns from them what the next run may pass over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from airflow_provider_segment.core.mapping.readers import Row


class RowFilter(Protocol):
    """A filter; there are three: on the client, in the warehouse, and by a cursor."""

    @property
    def is_whole(self) -> bool:
        """Whether it lists the keys of all rows of this run."""

    def look(self, page: Sequence[Row], first: int) -> Sequence[int]:
        """Return the places of the rows that must be looked at."""

    def remember(self, numbers: Sequence[int]) -> None:
        """Keep the numbers of their keys."""

    def missing(self) -> Iterator[Sequence[int]] | None:
        """Yield the numbers of all keys that may be gone; None where that cannot be told."""

    def passed_over(self) -> Iterator[Sequence[int]]:
        """Yield the numbers of the keys of rows that were passed over, and perhaps of others."""

    def repeated(self, keys: Sequence[int]) -> set[int]:
        """Return those of some keys that rows have which are not all the same."""

    def write(self, mark: str, unsettled: Sequence[int], watched: frozenset[int], ghosts: Sequence[int]) -> None:
        """Leave the filter for the next run."""
