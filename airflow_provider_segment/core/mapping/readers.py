"""Readers: each takes a page of rows and gives a value for each, for one field of a call's messages.

They take a page at a time: a function call for each field of each row would cost more than all else together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from itertools import chain
from operator import itemgetter
from typing import Any, TypeAlias

import orjson

from airflow_provider_segment.calls import (
    AllColumns,
    Bool,
    Call,
    Constant,
    Fields,
    Json,
    Source,
    Tree,
    columns_of,
)
from airflow_provider_segment.core.errors import ColumnError, Refused, SettingError
from airflow_provider_segment.core.mapping import context, messages, values, whole_columns
from airflow_provider_segment.core.mapping.booleans import to_bool
from airflow_provider_segment.core.mapping.ids import Ids
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.rows.columns import RENAMES, Columns
from airflow_provider_segment.core.rows.kinds import describe, is_missing, named_row

Row: TypeAlias = Sequence[Any]
# Takes some rows and gives a value for each.
Read: TypeAlias = Callable[[Sequence[Row]], Sequence[Any]]

_LONG_NUMBER = re.compile(r"[0-9.]{16}")
# The same for many texts in a tenth of the time: all that stands in a number is turned into one digit.
_DIGITS = bytes.maketrans(b"123456789.", b"0000000000")
_LONGEST_RUN = b"0" * 16
# Most values, none of which is nothing: the others are looked at.
_SOMETHING: frozenset[type] = frozenset({str, int, bool, float, list, Decimal, orjson.Fragment})


class Readers:
    """Makes the readers of one call's fields, and remembers which column each field is made from.

    :param call: as the DAG author said it.
    :param columns: what the query returned.
    :param options: what holds for all calls of the query.
    """

    def __init__(self, call: Call, columns: Columns, options: Options) -> None:
        self._call = call
        self._columns = columns
        self._options = options
        self.origins: dict[str, str] = {}

    def scalar(self, name: str, wire: str, source: Source, ids: Ids | None) -> Read:
        """Return the reader of an id, a timestamp, an event or a name."""
        get = self._source(source, f"{self._call.identity}: {name}", wire)
        field, zone = messages.field, self._options.zone
        if ids is not None:
            return lambda rows: ids.read(get(rows))

        def read(rows: Sequence[Row]) -> Sequence[Any]:
            found = get(rows)
            at_once = whole_columns.timestamps(found, zone) if wire == "timestamp" else None
            return [field(wire, value, zone) for value in found] if at_once is None else at_once

        return read

    def object(self, name: str, content: Fields) -> Read:
        """Return the reader of traits, properties or context."""
        where = f"{self._call.identity}: {name}"
        omit = self._options.omit_nulls or name == "context"
        if isinstance(content, (str, Json)):
            get = self._source(content, where, name)
            if known := context.known_at(name):
                return lambda rows: context.all_typed(get(rows), known, name)
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
        dicts, zone = _dicts(plain), self._options.zone
        need_work: set[str] = set()

        def make(rows: Sequence[Row]) -> list[dict[str, Any]]:
            made = dicts(rows)
            for row in rows[:1]:
                need_work.update(n for n, place in plain.items() if type(row[place]) in whole_columns.NEED_WORK)
            for name in need_work:
                place = plain[name]
                for one, value in zip(
                    made, whole_columns.turned([row[place] for row in rows], zone) or (), strict=False
                ):
                    one[name] = value
            for name, read in rest:
                for one, value in zip(made, read(rows), strict=True):
                    one[name] = value
            return made

        is_nothing = context.says_nothing if path.startswith("context") else is_missing

        return (lambda rows: _without_nulls(make(rows), is_nothing)) if omit else make

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
                raise SettingError(f"{where}=Constant(...): {refused.text()}") from None
            return lambda rows: [value] * len(rows)
        get = self._source(tree, where, path)  # type: ignore[arg-type]  # what is left of a Tree is a Source
        return get if known is None else lambda rows: context.all_typed(get(rows), known, path)

    def _source(self, source: Source, where: str, path: str) -> Read:
        if isinstance(source, Constant):
            value = source.value
            return lambda rows: [value] * len(rows)
        if isinstance(source, Json):
            index = self._index(source.column, where, path)
            return lambda rows: _all_parsed([row[index] for row in rows], path)
        if isinstance(source, Bool):
            index = self._index(source.column, where, path)
            return lambda rows: [to_bool(row[index], path) for row in rows]
        get = itemgetter(self._index(source, where, path))
        return lambda rows: list(map(get, rows))

    def _index(self, column: str, where: str, path: str) -> int:
        index = self._columns.index(column, where)
        self.origins[path] = self._columns.names[index]
        return index

    def _all_columns(self, content: AllColumns, where: str) -> dict[str, Any]:
        """Return the columns that the call uses nowhere else, by their new names, and the extra ones."""
        used = {self._columns.index(c, where) for c in (*columns_of(self._call), *content.exclude)}
        as_json = {self._columns.index(c, where) for c in content.json}
        tree: dict[str, Any] = {}
        for index, column in enumerate(self._columns.names):
            if index not in used:
                self._columns.index(column, where)
                if (name := RENAMES[content.rename](column)) in tree:
                    other = next(n for n in self._columns.names if RENAMES[content.rename](n) == name)
                    raise ColumnError(f"{where}: the columns {other} and {column} would both be called {name}")
                tree[name] = Json(column) if index in as_json else column
        return tree | _nested(content.extra)


def _without_nulls(
    objects: Sequence[dict[str, Any]], is_nothing: Callable[[Any], bool]
) -> Sequence[dict[str, Any] | None]:
    """Return objects without their parts that are nothing, and None for one that has no other."""
    perhaps = set(map(type, chain.from_iterable(map(dict.values, objects)))) - _SOMETHING
    if not perhaps and all(objects):
        return objects
    return [
        {name: part for name, part in one.items() if type(part) not in perhaps or not is_nothing(part)} or None
        for one in objects
    ]


def _object_or_none(value: Any) -> Any:
    if is_missing(value) or value == "":
        return None
    found = named_row(value) or value
    return dict(found) if isinstance(found, Mapping) else found


def _all_parsed(found: Sequence[Any], path: str) -> list[Any]:
    """Return the contents of a column that holds JSON as text."""
    if set(map(type, found)) == {str}:
        with suppress(ValueError):  # of a text that is not JSON, or has half characters
            if _LONGEST_RUN not in "\n".join(found).encode().translate(_DIGITS):
                return list(map(orjson.loads, found))
    return [_parsed(value, path) for value in found]


def _parsed(value: Any, path: str) -> Any:
    """Return the content of a column that holds JSON as text."""
    if not isinstance(value, (str, bytes, bytearray, memoryview)):
        return value
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        raise Refused("json_not_valid", f"found {describe(value)} that is not JSON", path) from None
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
