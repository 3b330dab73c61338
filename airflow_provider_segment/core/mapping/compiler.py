"""Calls compiled once per query: a page of rows becomes messages; a row that cannot is refused with a reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar
from uuid import UUID

from airflow_provider_segment.calls import SCALARS, AllColumns, Call, Constant, Fields, Json, Source
from airflow_provider_segment.core.errors import Refused, SettingError
from airflow_provider_segment.core.mapping import messages, values
from airflow_provider_segment.core.mapping.ids import Ids
from airflow_provider_segment.core.mapping.messages import Message, Rule
from airflow_provider_segment.core.mapping.readers import Read, Readers, Row
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.rows.columns import Columns
from airflow_provider_segment.core.rows.unreadable import unreadable_in


class CompiledCall:
    """One call, ready to turn rows into messages.

    :param call: as the DAG author said it.
    :param columns: what the query returned.
    :param options: what holds for all calls of the query.
    :raises ColumnError: if a column is missing, doubled or unclear.
    :raises SettingError: if a constant cannot be sent.
    """

    def __init__(self, call: Call, columns: Columns, options: Options) -> None:
        self.identity = call.identity
        self.type = call.type
        self.names_itself = call.message_id is not None
        self.is_of_deletions = call.kinds == ["deleted"]
        self.wants = _when(call, columns)
        self._readers = readers = Readers(call, columns, options)
        self._fixed: Message = {"type": call.type}
        self._fields: list[tuple[str, Read]] = []
        self.ids: dict[str, Ids] = {}
        for name in SCALARS:
            if (source := getattr(call, name, None)) is not None:
                self._add_scalar(readers, name, source)
        if call.integrations is not None:
            self._fixed["integrations"] = self._integrations(call.integrations, options)
        for name in ("context", "traits", "properties"):
            if (content := getattr(call, name, None)) is not None:
                self._fields.append((name, readers.object(name, content)))
        self._checks = [rule for rule in self._rules() if rule not in self._settled(call)]
        self.has_timestamp = call.timestamp is not None
        self.may_be_wide = any(_may_be_wide(getattr(call, name, None), columns) for name in ("traits", "properties"))

    def message(self, row: Row) -> Message:
        """Return the message of one row; see messages()."""
        return self.messages([row])[0]

    def messages(self, rows: Sequence[Row]) -> list[Message]:
        """Return the messages of some rows, without ids of ours.

        :raises Refused: if one of them breaks a rule; which one is seen by trying them one by one.
        """
        made, given = [self._fixed.copy() for _ in rows], set(self._fixed)
        for name, read in self._fields:
            found = self._read(name, read, rows)
            for message, value in zip(made, found, strict=True):
                if value is not None:
                    message[name] = value
            if name in self.ids and self.ids[name].is_complete:
                given.add(name)
        for check in self._checks:
            if given.isdisjoint(messages.MET_BY.get(check, ())):
                for message in made:
                    check(message)
        return made

    def _read(self, name: str, read: Read, rows: Sequence[Row]) -> Sequence[Any]:
        try:
            return read(rows)
        except Refused as refused:
            refused.field = refused.field or name  # a value that refuses by itself does not know where it stands
            raise

    @property
    def from_columns(self) -> frozenset[str]:
        """The paths of the fields that are made of a column, such as "traits.plan"."""
        return frozenset(self._readers.origins)

    def column(self, field: str) -> str | None:
        """Return the column that a field of the message was made from, as far as one can be named."""
        return self._readers.origins.get(self.mapped(field))

    def mapped(self, field: str) -> str:
        """Return a field as far as the call maps it: names deeper in a column's object are the row's own."""
        known, part = self._readers.origins, field
        while part and part not in known:
            part = part[: max(part.rfind("."), part.rfind("["), 0)]
        return part or re.split(r"[.\[]", field, maxsplit=1)[0]

    def _add_scalar(self, readers: Readers, name: str, source: Source) -> None:
        wire = messages.WIRE.get(name, name)
        if wire in messages.IDS:
            self.ids[wire] = Ids(wire, is_counted=(self.type, wire) == ("identify", "userId"))
        read = readers.scalar(name, wire, source, self.ids.get(wire))
        if not isinstance(source, Constant):
            self._fields.append((wire, read))
            return
        self.ids.pop(wire, None)  # one that the author wrote is looked at once
        try:
            (value,) = read([()])
        except Refused as refused:
            raise SettingError(f"{self.identity}: {name}=Constant(...): {refused.text()}") from None
        if value is not None:
            self._fixed[wire] = value
        elif name not in ("name", "category", "timestamp"):
            raise SettingError(f"{self.identity}: {name}=Constant(...) is empty")

    def _integrations(self, literal: Mapping[str, Any], options: Options) -> Any:
        """Return what the author wrote as every message has it."""
        try:
            return values.to_json(literal, options.zone, "integrations")
        except Refused as refused:
            raise SettingError(f"{self.identity}: {refused.field}: {refused.text()}") from None

    def _rules(self) -> tuple[Rule, ...]:
        derived: tuple[Rule, ...] = (messages.name_into_properties,) if self.type in ("page", "screen") else ()
        return (*messages.RULES[self.type], *messages.COMMON, *derived)

    def _settled(self, call: Call) -> set[Rule]:
        """Return the rules that hold for every row by the way the message is built."""
        settled: set[Rule] = {messages.ids_are_text}
        by_object: dict[str, Rule] = {
            "traits": messages.traits_are_an_object,
            "properties": messages.properties_are_an_object,
        }
        settled |= {rule for name, rule in by_object.items() if not isinstance(getattr(call, name, None), (str, Json))}
        settled.add(messages.context_is_an_object)  # the readers of a context see to it
        with suppress(Refused):  # an event that the author wrote is looked at once
            messages.event_is_text(self._fixed)
            settled.add(messages.event_is_text)
        if not self.names_itself:
            settled.add(messages.message_id_is_short)
        return settled


class WrittenMessages:
    """Messages that a user wrote as they stand on the wire, in rows of one column, with their ids."""

    identity = "message"
    names_itself = True
    is_of_deletions = False
    wants = None
    has_timestamp = True
    ids: ClassVar[Mapping[str, Ids]] = {}
    from_columns: frozenset[str] = frozenset()
    may_be_wide = True

    def __init__(self, options: Options) -> None:
        self._zone = options.zone

    def messages(self, rows: Sequence[Row]) -> list[Message]:
        """Return the messages, checked.

        :raises Refused: if one of them breaks a rule.
        """
        made = [messages.on_the_wire(row[0], self._zone) for row in rows]
        if any("messageId" not in message for message in made):
            raise Refused("message_id_not_valid", "found none", "messageId")
        return made

    def column(self, field: str) -> str | None:
        """Return None: a field of the message names itself."""
        return None

    def mapped(self, field: str) -> str:
        """Return the message's own field; the names below it may be personal data."""
        return re.split(r"[.\[]", field, maxsplit=1)[0]


def _when(call: Call, columns: Columns) -> Callable[[Row], bool] | None:
    """Return the test for rows that make this call, or None where all do."""
    if call.when is None:
        return None
    tests = [
        (
            columns.index(name, f"{call.identity}: when"),
            [_compared(one) for one in (wanted if isinstance(wanted, list) else [wanted])],
        )
        for name, wanted in call.when.items()
    ]

    def wants(row: Row) -> bool:
        try:
            return all(_compared(row[index]) in wanted for index, wanted in tests)
        except Refused as refused:
            raise unreadable_in(row, [index for index, _ in tests], columns.names, "when") or refused from None

    return wants


def _compared(value: Any) -> Any:
    """Return a text without what SQL fills a CHAR(n) up with, to SQL both are equal; a UUID as drivers may give it."""
    if isinstance(value, str):
        return value.rstrip(" ")
    return str(value) if isinstance(value, UUID) else value


def _may_be_wide(content: Fields | None, columns: Columns) -> bool:
    """Tell whether an object could have more names than Engage takes; hardly any call has to be looked at."""
    if isinstance(content, AllColumns):
        return len(columns.names) + len(content.extra) > messages.MAX_NAMES
    return isinstance(content, (str, Json)) or len(content or ()) > messages.MAX_NAMES
