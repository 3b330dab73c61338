"""What a source does that is read from a cursor's mark on: it runs the query when the mark is known."""

from __future__ import annotations

from typing import Any, Protocol

from airflow_provider_segment.core.rows.pages import Pages


class CursorQuery(Protocol):
    """A query that is run from a mark on.

    :ivar column: of the cursor, as the query names it.
    """

    column: str

    def read(self, first: Any) -> Pages:
        """Return the rows from a value of the column on, and those where it is null.

        :param first: the value; None means all rows.
        """
