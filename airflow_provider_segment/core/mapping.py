"""Calls compiled once per query: a page of rows becomes messages; a row that cannot is refused with a reason.

Readers take a page at a time: a function call for each field of each row would cost more than all else together.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from operator import itemgetter
from typing import Any, ClassVar, TypeAlias

import orjson

from airflow_provider_segment.calls import SCALARS, AllColumns, Call, Constant, Fields, Json, Source, Tree, columns_of
from airflow_provider_segment.core import context, messages, values
from airflow_provider_segment.core.errors import ColumnError, Refused, SettingError
from airflow_provider_segment.core.ids import Ids
from airflow_provider_segment.core.messages import Message, Rule
from airflow_provider_segment.core.options import Options

Row: TypeAlias = Sequence[Any]
# Takes some rows and gives a value for each.
Read: TypeAlias = Callable[[Sequence[Row]], Sequence[Any]]

_LONG_NUMBER = re.compile(r"[0-9.]{16}")


class Columns:
    """The columns that a query returned, found by name: exactly first, then without regard to case.

    :param names: as the driver gives them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._count = Counter(self.names)

    def index(self, name: str, where: str) -> int:
        """Return the place of a column in a row.

        :param name: as the mapping says it.
        :param where: the setting that names it, for the error.
        :raises ColumnError: if the query does not return it, returns it twice, or in two cases.
        """
        alike = [name] if name in self._count else [n for n in self._count if n.lower() == name.lower()]
        if not alike:
            raise ColumnError(
                f"{where} names the column {name!r}, which the query does not return; it returns {self._listed()}. "
                f"If a fixed value is meant, write Constant({name!r})"
            )
        if len(alike) > 1:
            raise ColumnError(
                f"{where} names the column {name!r}, and the query returns {' and '.join(alike)}: say which"
            )
        if self._count[alike[0]] > 1:
            raise ColumnError(f"{where} names the column {name!r}, which the query returns twice: rename one with AS")
        return self.names.index(alike[0])

    def _listed(self) -> str:
        shown = ", ".join(self.names[:60])
        return f"{shown}, and {len(self.names) - 60} more" if len(self.names) > 60 else shown


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
        self._compiler = compiler = _Compiler(call, columns, options)
        self._fixed: Message = {"type": call.type}
        self._fields: list[tuple[str, Read]] = []
        self.ids: dict[str, Ids] = {}
        for name in SCALARS:
            if (source := getattr(call, name, None)) is not None:
                self._add_scalar(compiler, name, source)
        if call.integrations is not None:
            self._fixed["integrations"] = dict(call.integrations)
        for name in ("context", "traits", "properties"):
            if (content := getattr(call, name, None)) is not None:
                self._fields.append((name, compiler.object(name, content)))
        self._checks = [rule for rule in self._rules() if rule not in self._settled(call)]
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
            values = read(rows)
            for message, value in zip(made, values, strict=True):
                if value is not None:
                    message[name] = value
            if name in self.ids and self.ids[name].is_complete:
                given.add(name)
        for check in self._checks:
            if given.isdisjoint(messages.MET_BY.get(check, ())):
                for message in made:
                    check(message)
        return made

    def column(self, field: str) -> str | None:
        """Return the column that a field of the message was made from, as far as one can be named."""
        return self._compiler.origins.get(self.mapped(field))

    def mapped(self, field: str) -> str:
        """Return a field as far as the call maps it: names deeper in a column's object are the row's own."""
        known, part = self._compiler.origins, field
        while part and part not in known:
            part = part[: max(part.rfind("."), part.rfind("["), 0)]
        return part or re.split(r"[.\[]", field, maxsplit=1)[0]

    def _add_scalar(self, compiler: _Compiler, name: str, source: Source) -> None:
        wire = messages.WIRE.get(name, name)
        if wire in messages.IDS:
            self.ids[wire] = Ids(wire, is_counted=(self.type, wire) == ("identify", "userId"))
        read = compiler.scalar(name, wire, source, self.ids.get(wire))
        if not isinstance(source, Constant):
            self._fields.append((wire, read))
            return
        self.ids.pop(wire, None)  # one that the author wrote is looked at once
        try:
            (value,) = read([()])
        except Refused as refused:
            raise SettingError(f"{self.identity}: {name}=Constant(...): {refused.reason}") from None
        if value is not None:
            self._fixed[wire] = value
        elif name not in ("name", "category", "timestamp"):
            raise SettingError(f"{self.identity}: {name}=Constant(...) is empty")

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
        if not self.names_itself:
            settled.add(messages.message_id_is_short)
        return settled


class WrittenMessages:
    """Messages that a user wrote as they stand on the wire, in rows of one column, with their ids."""

    identity = "message"
    names_itself = True
    is_of_deletions = False
    wants = None
    ids: ClassVar[Mapping[str, Ids]] = {}

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


class _Compiler:
    """The readers of one call's fields; remembers which column each field is made from."""

    def __init__(self, call: Call, columns: Columns, options: Options) -> None:
        self._call = call
        self._columns = columns
        self._options = options
        self.origins: dict[str, str] = {}

    def scalar(self, name: str, wire: str, source: Source, ids: Ids | None) -> Read:
        """Return the reader of an id, a timestamp, an event or a name."""
        get = self._source(source, f"{self._call.identity}: {name}", wire)
        field, zone = messages.field, self._options.zone
        if ids is None:
            return lambda rows: [field(wire, value, zone) for value in get(rows)]
        return lambda rows: ids.read(get(rows))

    def object(self, name: str, content: Fields) -> Read:
        """Return the reader of traits, properties or context."""
        where = f"{self._call.identity}: {name}"
        omit = self._options.omit_nulls or name == "context"
        if isinstance(content, (str, Json)):
            get = self._source(content, where, name)
            if known := context.known_at(name):
                return lambda rows: [context.typed(value, known, name) for value in get(rows)]
            return lambda rows: list(map(_object_or_none, get(rows)))
        if isinstance(content, AllColumns):
            tree = self._all_columns(content, where)
        elif isinstance(content, Mapping):
            tree = _nested(content)
        else:
            tree = {str(column): column for column in content}
        return self._object(tree, where, name, omit=omit)

    def _object(self, tree: Mapping[str, Any], where: str, path: str, *, omit: bool) -> Read:
        """Return the reader of an object: its plain columns in one go, the rest one by one."""
        plain: dict[str, int] = {}
        rest: list[tuple[str, Read]] = []
        for name, part in tree.items():
            place, inner = f"{where}[{name!r}]", f"{path}.{name}"
            if isinstance(part, str) and context.known_at(inner) is None:
                plain[name] = self._index(part, place, inner)
            else:
                rest.append((name, self._tree(part, place, inner, omit=omit)))
        dicts = _dicts(plain)

        def make(rows: Sequence[Row]) -> list[dict[str, Any]]:
            made = dicts(rows)
            for name, read in rest:
                for one, value in zip(made, read(rows), strict=True):
                    one[name] = value
            return made

        is_nothing = context.says_nothing if path.startswith("context") else values.is_missing

        def make_without_nulls(rows: Sequence[Row]) -> list[dict[str, Any] | None]:
            return [{name: v for name, v in one.items() if not is_nothing(v)} or None for one in make(rows)]

        return make_without_nulls if omit else make

    def _tree(self, tree: Tree, where: str, path: str, *, omit: bool) -> Read:
        if isinstance(tree, Mapping):
            return self._object(_nested(tree), where, path, omit=omit)
        if isinstance(tree, list):
            reads = [self._tree(t, f"{where}[{i}]", f"{path}[{i}]", omit=omit) for i, t in enumerate(tree)]
            if not reads:
                return lambda rows: [[] for _ in rows]
            return lambda rows: list(map(list, zip(*(read(rows) for read in reads), strict=True)))
        known = context.known_at(path)
        if isinstance(tree, Constant):
            try:
                value = context.typed(values.to_json(tree.value, self._options.zone, path), known, path)
            except Refused as refused:
                raise SettingError(f"{where}=Constant(...): {refused.reason}") from None
            return lambda rows: [value] * len(rows)
        get = self._source(tree, where, path)  # type: ignore[arg-type]  # what is left of a Tree is a Source
        return get if known is None else lambda rows: [context.typed(value, known, path) for value in get(rows)]

    def _source(self, source: Source, where: str, path: str) -> Read:
        if isinstance(source, Constant):
            value = source.value
            return lambda rows: [value] * len(rows)
        if isinstance(source, Json):
            index = self._index(source.column, where, path)
            return lambda rows: [_parsed(row[index], path) for row in rows]
        get = itemgetter(self._index(source, where, path))
        return lambda rows: list(map(get, rows))

    def _index(self, column: str, where: str, path: str) -> int:
        index = self._columns.index(column, where)
        self.origins[path] = self._columns.names[index]
        return index

    def _all_columns(self, content: AllColumns, where: str) -> dict[str, Any]:
        """Return the columns that the call uses nowhere else, by their new names, and the extra ones."""
        used = {self._columns.index(c, where) for c in (*columns_of(self._call), *content.exclude)}
        tree: dict[str, Any] = {}
        for index, column in enumerate(self._columns.names):
            if index not in used:
                self._columns.index(column, where)
                if (name := RENAMES[content.rename](column)) in tree:
                    raise ColumnError(f"{where}: the columns {tree[name]} and {column} would both be called {name}")
                tree[name] = column
        return tree | _nested(content.extra)


def _when(call: Call, columns: Columns) -> Callable[[Row], bool] | None:
    """Return the test for rows that make this call, or None where all do."""
    if call.when is None:
        return None
    tests = [
        (
            columns.index(name, f"{call.identity}: when"),
            list(map(_unpadded, wanted if isinstance(wanted, list) else [wanted])),
        )
        for name, wanted in call.when.items()
    ]
    if len(tests) == 1:
        ((place, those),) = tests
        return lambda row: _unpadded(row[place]) in those
    return lambda row: all(_unpadded(row[index]) in wanted for index, wanted in tests)


def _unpadded(value: Any) -> Any:
    """Return a text without what SQL fills a CHAR(n) up with; to SQL both are equal."""
    return value.rstrip(" ") if isinstance(value, str) else value


def _object_or_none(value: Any) -> Any:
    if values.is_missing(value) or value == "":
        return None
    return dict(value) if isinstance(value, Mapping) else value


def _parsed(value: Any, path: str) -> Any:
    """Return the content of a column that holds JSON as text."""
    if not isinstance(value, (str, bytes, bytearray, memoryview)):
        return value
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        raise Refused("json_not_valid", f"found {values.describe(value)} that is not JSON", path) from None
    # orjson's floats would lose digits of numbers this long, which hardly any text has.
    if _LONG_NUMBER.search(value if isinstance(value, str) else bytes(value).decode()):
        return json.loads(value if isinstance(value, str) else bytes(value), parse_float=Decimal)
    return found


def _dicts(places: Mapping[str, int]) -> Callable[[Sequence[Row]], list[dict[str, Any]]]:
    """Return the function that makes a dict of each row.

    :param places: of the columns, by their new names.
    """
    # Written out as source, as dataclasses do it: a display of nine names takes 0.2 us a row, dict(zip()) 0.5.
    parts = ", ".join(f"{str(name)!r}: row[{place:d}]" for name, place in places.items())
    made: Callable[[Sequence[Row]], list[dict[str, Any]]] = eval(f"lambda rows: [{{{parts}}} for row in rows]")  # noqa: S307  only quoted names and numbers
    return made


def _may_be_wide(content: Fields | None, columns: Columns) -> bool:
    """Tell whether an object could have more names than Engage takes; hardly any call has to be looked at."""
    if isinstance(content, AllColumns):
        return len(columns.names) + len(content.extra) > messages.MAX_NAMES
    return isinstance(content, (str, Json)) or len(content or ()) > messages.MAX_NAMES


def _nested(named: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted names into objects within objects."""
    tree: dict[str, Any] = {}
    for path, content in named.items():
        *parents, name = path.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = _nested(content) if isinstance(content, Mapping) else content
    return tree


def _words(name: str) -> list[str]:
    """Return the words of a column's name: FIRST_NAME, firstName and first-name have the same two."""
    spaced = "".join(char if char.isalnum() else " " for char in name)
    parts = [
        f" {char}" if char.isupper() and (spaced[i - 1].islower() or spaced[i + 1 : i + 2].islower()) else char
        for i, char in enumerate(spaced)
    ]
    return "".join(parts).lower().split() or [name]


def _snake_case(name: str) -> str:
    return "_".join(_words(name))


def _camel_case(name: str) -> str:
    first, *rest = _words(name)
    return first + "".join(word.capitalize() for word in rest)


RENAMES: dict[str, Callable[[str], str]] = {"as_is": str, "snake_case": _snake_case, "camelCase": _camel_case}
