"""The rows of a page that ask for one call, as the comparison takes them; it brings no SQLAlchemy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from airflow_provider_segment.core.mapping.readers import Row


class CallsOfPage(NamedTuple):
    """The rows of a page that ask for one call, in parallel lists.

    :param rows: their numbers.
    :param contents: the encoded messages, without an id of ours.
    :param keys: of the rows.
    :param numbers: of the keys.
    :param values: the rows themselves.
    """

    rows: Sequence[int]
    contents: Sequence[bytes]
    keys: Sequence[bytes]
    numbers: Sequence[int]
    values: Sequence[Row]
