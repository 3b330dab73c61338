"""One call's part of the route: rows become messages, messages become bytes, and these get their ids."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import chain
from uuid import UUID

from airflow_provider_segment.core.errors import Refused, SettingError
from airflow_provider_segment.core.mapping import encoding
from airflow_provider_segment.core.mapping.compiler import CompiledCall, WrittenMessages
from airflow_provider_segment.core.mapping.message_ids import Namespace
from airflow_provider_segment.core.mapping.message_warnings import MessageWarnings
from airflow_provider_segment.core.mapping.messages import Message
from airflow_provider_segment.core.mapping.readers import Row
from airflow_provider_segment.core.mapping.values import MissingTimezone
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.report import Rejection, Report

_MADE_BY_NONE = "rows were read, and its `when` fits none of them: is a value in it written as the database has it?"

# None of these is, or holds, a number that JSON does not know, or it is seen when it is written.
_FINITE: frozenset[type] = frozenset({str, int, bool, type(None), Decimal, UUID, bytes, dt.date, dt.datetime})


class Route:
    """One call with its encoder and its ids.

    :param call: makes the messages.
    :param namespace: of the ids.
    :param options: of the sync.
    :param only_changes: whether the ids come later, when the state has told the number that is in them.
    :ivar is_made: whether a row made it.
    """

    def __init__(
        self, call: CompiledCall | WrittenMessages, namespace: Namespace, options: Options, *, only_changes: bool
    ) -> None:
        self.call = call
        self._warnings = MessageWarnings(call)
        self.is_made = False
        # With only changes, a call on "deleted" alone is made by keys that are gone.
        self.is_of_rows = not (only_changes and call.is_of_deletions)
        self._is_named_later = only_changes
        self._encode, self._encode_finite = [
            encoding.encoder(options.zone, with_id=call.names_itself, in_order=only_changes, is_finite=is_finite)
            for is_finite in (False, True)
        ]
        self._ids = namespace.maker(call.identity)

    def messages(self, rows: Sequence[Row], row_keys: Sequence[bytes | None]) -> list[Message]:
        """Return the messages of some rows.

        :param rows: some.
        :param row_keys: of the rows; None where a key has a null.
        :raises Refused: if one of them breaks a rule; which one is seen by trying them one by one.
        """
        if None in row_keys:
            raise Refused("key_is_null", "found a null in the key; a row without a key cannot be told apart", "key")
        return self.call.messages(rows)

    def encoded(self, messages: Sequence[Message], row_keys: Sequence[bytes], rows: Sequence[Row]) -> list[bytes]:
        """Return the bytes of messages, with their ids where these can be told yet.

        :param messages: of messages().
        :param row_keys: of their rows.
        :param rows: that they were made of.
        :raises Refused: if one of them cannot be sent.
        """
        is_finite = _FINITE.issuperset(map(type, chain.from_iterable(rows)))
        contents = map(self._encode_finite if is_finite else self._encode, messages)
        events = [b"%b" % content for content in contents] if self._is_named_later else self._named(contents, row_keys)
        self._warnings.look(messages)
        for ids in self.call.ids.values():
            ids.note()
        return events

    def places(self, page: Sequence[Row]) -> Sequence[int]:
        """Return the places of the rows that make this call.

        :param page: some rows.
        """
        wants = self.call.wants
        places = range(len(page)) if wants is None else [place for place, row in enumerate(page) if wants(row)]
        self.is_made = self.is_made or bool(places)
        return places

    def warn(self, report: Report, *, is_unmade: bool) -> None:
        """Say what looked wrong, now that all rows were read.

        :param report: is told.
        :param is_unmade: whether no row makes it, of those that were not looked at.
        """
        self._warnings.tell(report)
        for ids in self.call.ids.values():
            for code, reason, number in ids.warnings():
                report.warn(self.call.identity, code, reason, number)
        if report.rows and not self.is_made and is_unmade:
            report.warn(self.call.identity, "made_by_no_row", _MADE_BY_NONE, report.rows)

    def _named(self, contents: Iterable[bytes], row_keys: Sequence[bytes]) -> list[bytes]:
        return encoding.named(contents, row_keys, self._ids, has_own_ids=self.call.names_itself)

    def rejection(self, row: int, refused: Refused) -> Rejection:
        """Return a bad row as a value.

        :param row: its number.
        :param refused: why.
        """
        reason = refused.text(self.call.column(refused.field))
        if isinstance(refused, encoding.TooLarge):
            largest = self.call.mapped([*refused.sizes][-1])
            if largest in refused.sizes:
                reason += f"; the largest field is {largest}, of {refused.sizes[largest]:,} bytes"
        return Rejection(row, self.call.identity, "mapping", self.call.mapped(refused.field), refused.code, reason)

    def stopped_by(self, row: int, error: MissingTimezone) -> SettingError:
        """Return the error of a timestamp without a zone with its row and column.

        :param row: its number.
        :param error: whose text may hold names of the row's own.
        """
        field, _, rest = str(error).partition(": ")
        column, field = self.call.column(field), self.call.mapped(field)
        return SettingError(f"row {row}, {self.call.identity}, {f'column {column}, ' if column else ''}{field}: {rest}")
