"""The rows of a page become the encoded messages of one call: a portion at once, or row by row where one is bad."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from airflow_provider_segment.core.errors import Refused
from airflow_provider_segment.core.mapping.messages import Message
from airflow_provider_segment.core.mapping.readers import Row
from airflow_provider_segment.core.mapping.route import Route
from airflow_provider_segment.core.mapping.values import MissingTimezone
from airflow_provider_segment.core.report import Rejection, Report
from airflow_provider_segment.core.rows.unreadable import unreadable_in

# Rows whose messages are alive at once: those of a page are more than a processor's cache holds, and live long enough
# for Python's garbage collector to look at them again and again.
_PORTION = 100


class Events:
    """Makes the events of a run.

    :param report: counts the calls that are asked for.
    :param refuse: is told of a call that cannot be made, with the key of its row and the message as far as it was made.
    :param key: the places of the key's columns in a row.
    :param columns: what the query returned.
    """

    def __init__(
        self,
        report: Report,
        refuse: Callable[[Rejection, bytes | None, Message | None], None],
        key: Sequence[int],
        columns: Sequence[str],
    ) -> None:
        self._report = report
        self._refuse = refuse
        self._key = key
        self._columns = columns

    def places(
        self, route: Route, page: Sequence[Row], row_keys: Sequence[bytes | None], rows: Sequence[int]
    ) -> Sequence[int]:
        """Return the places of the rows of a page that make a call; a row of which nobody can tell is refused.

        :param route: of the call.
        :param page: some rows.
        :param row_keys: of the rows; None where a key has a null.
        :param rows: their numbers.
        """
        with suppress(Refused):
            return route.places(page)
        places: list[int] = []
        for place, row in enumerate(page):
            try:
                places += [place] if route.places([row]) else []
            except Refused as refused:
                self._report.ask(route.call.identity)
                self._refuse(route.rejection(rows[place], refused), row_keys[place], None)
        return places

    def made(
        self,
        route: Route,
        places: Sequence[int],
        page: Sequence[Row],
        row_keys: Sequence[bytes | None],
        rows: Sequence[int],
    ) -> tuple[Sequence[int], Sequence[bytes]]:
        """Return the encoded messages of one call, with the places of their rows in the page.

        :param route: of the call.
        :param places: of the rows that make it.
        :param page: some rows; so are the others as for places().
        :param row_keys: of the rows.
        :param rows: their numbers.
        """
        self._report.ask(route.call.identity, len(places))
        found: list[int] = []
        events: list[bytes] = []
        for start in range(0, len(places), _PORTION):
            good, encoded = self._portion(route, places[start : start + _PORTION], page, row_keys, rows)
            found += good
            events += encoded
        return found, events

    def _portion(
        self,
        route: Route,
        places: Sequence[int],
        page: Sequence[Row],
        row_keys: Sequence[bytes | None],
        rows: Sequence[int],
    ) -> tuple[Sequence[int], Sequence[bytes]]:
        wanted, keys = at(places, page), at(places, row_keys)
        with suppress(Refused, MissingTimezone):
            return places, route.encoded(route.messages(wanted, keys), keys, wanted)
        return self._one_by_one(route, places, page, row_keys, rows)

    def _one_by_one(
        self,
        route: Route,
        wanted: Sequence[int],
        page: Sequence[Row],
        row_keys: Sequence[bytes | None],
        rows: Sequence[int],
    ) -> tuple[list[int], list[bytes]]:
        """Find the rows of a page that are refused, and return the messages of the others."""
        places: list[int] = []
        events: list[bytes] = []
        for place in wanted:
            made: Message | None = None
            stop, key = None, at([place], row_keys)
            try:
                if key == [None] and (unreadable := unreadable_in(page[place], self._key, self._columns, "key")):
                    raise unreadable
                (made,) = route.messages([page[place]], key)
                events += route.encoded([made], key, [page[place]])
                places.append(place)
            except Refused as refused:
                self._refuse(route.rejection(rows[place], refused), row_keys[place], made)
            except MissingTimezone as error:
                stop = route.stopped_by(rows[place], error)
            if stop is not None:  # raised here, so that the row's own names stand in no context of it
                raise stop
        return places, events


def at(places: Sequence[int], values: Sequence[Any]) -> Sequence[Any]:
    """Return the values at some places, which are mostly all.

    :param places: in order.
    :param values: to choose from.
    """
    if len(places) == len(values):
        return values
    if isinstance(places, range):
        return values[places.start : places.stop]
    return [values[place] for place in places]
