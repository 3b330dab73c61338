"""What a warehouse does that passes over settled rows itself: it lays out the others before the first is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from airflow_provider_segment.core.rows.pages import Pages


@dataclass(frozen=True)
class LaidOut:
    """The rows that may have changed.

    :param pages: of the rows, in the order of their numbers 1, 2, 3 ...
    :param skipped: rows of the query that were passed over.
    :param gone: keys that were listed and are gone.
    :param is_full: whether all rows of the query are there, since what was settled is not known.
    """

    pages: Pages
    skipped: int
    gone: int
    is_full: bool


class Warehouse(Protocol):
    """A source whose rows are laid out in a table of its database.

    :ivar name: of the place where that is, for the log.
    :ivar is_planned: whether another task of this run has laid the rows out.
    :ivar skipped_elsewhere: rows that were passed over then.
    """

    name: str
    is_planned: bool
    skipped_elsewhere: int

    def lay_out(
        self, mapped: Sequence[str], key: Sequence[str], owner: str, run: int, mark: str | None, *, is_dry: bool
    ) -> LaidOut:
        """Lay out the rows of the query that may have changed.

        :param mapped: the columns that tell whether a row is the same.
        :param key: the columns that identify a row.
        :param owner: the generation of the state: another state of the same sync has tables of its own.
        :param run: the number of the run.
        :param mark: of the run whose filter may be used; None where none may.
        :param is_dry: whether nothing of it is to stay.
        """

    def gone(self) -> Iterator[Sequence[Sequence[Any]]]:
        """Yield the keys that were listed and are gone, some at a time, each with a number that is below zero."""

    def laid_out_keys(self) -> Iterator[Sequence[Sequence[Any]]]:
        """Yield the keys of all rows that were laid out, some at a time."""

    def settle(self, mark: str, unsettled: Sequence[int]) -> None:
        """Remember the rows as settled; the mark is written last.

        :param mark: of this run.
        :param unsettled: the numbers of the rows, and of the keys that are gone, that are not settled.
        """
