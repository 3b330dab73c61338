"""What an object of a message is made from (traits, properties, context): named sources, or AllColumns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from airflow_provider_segment.calls.sources import (
    Bool,
    Constant,
    Json,
    Source,
    check_column,
    column_names,
    found,
    is_marker,
    plain_value,
    read_source,
)

RENAMES = ("as_is", "snake_case", "camelCase")


@dataclass(frozen=True)
class AllColumns:
    """Every column that the call uses nowhere else, so that a new column flows by itself.

    :param exclude: names of columns to leave out.
    :param rename: how a column's name becomes a trait's or property's: "as_is" (default), "snake_case" or "camelCase".
    :param extra: more traits or properties, said as in a dict of names; they win over a column of the same name.
    :param json: names of columns that hold JSON as text, as Json("column") says it of one.
    """

    exclude: Sequence[str] = ()
    rename: Literal["as_is", "snake_case", "camelCase"] = "as_is"
    extra: Mapping[str, Tree] = dataclasses.field(default_factory=dict)
    json: Sequence[str] = ()

    def __post_init__(self) -> None:
        lists = {name: column_names(getattr(self, name), f"AllColumns({name}=...)") for name in ("exclude", "json")}
        if both := set(lists["exclude"]) & set(lists["json"]):
            raise ValueError(f"AllColumns: exclude and json both have {', '.join(sorted(both))}; a column is in one")
        if self.rename not in RENAMES:
            raise ValueError(f"AllColumns(rename=...): expected one of {', '.join(RENAMES)}; found {self.rename!r}")
        extra = read_fields(self.extra, "AllColumns(extra=...)")
        if not isinstance(extra, dict):
            raise ValueError(f"AllColumns(extra=...): expected a dict of names, found {found(self.extra)}")
        for name, names in lists.items():
            object.__setattr__(self, name, names)
        object.__setattr__(self, "extra", extra)


Tree: TypeAlias = "Source | Mapping[str, Tree] | Sequence[Tree]"
Fields: TypeAlias = "Mapping[str, Tree] | Sequence[str] | AllColumns | str | Json"


def read_fields(value: Any, where: str) -> Fields:
    """Return what an object of a message (traits, properties, context) is made from."""
    if isinstance(value, AllColumns):
        return value
    if isinstance(value, Mapping):
        if (
            set(value) == {"all_columns"}
            and isinstance(inner := value["all_columns"], Mapping)
            and not is_marker(inner)
        ):
            return _all_columns(value["all_columns"], where)
        if set(value) == {"json"} and isinstance(value["json"], str):
            return Json(value["json"])
        return _named(value, where)
    if isinstance(value, (list, tuple)):
        for name in value:
            check_column(name, where)
        return list(value)
    if isinstance(value, (Constant, Bool)):
        kind = type(value).__name__
        raise ValueError(f"{where}: expected a dict of names, found a {kind}; make each value of the dict a {kind}")
    if isinstance(value, (str, Json)):
        source = read_source(value, where)
        return source if isinstance(source, Json) else str(source)
    raise ValueError(f"{where}: expected a dict of names, a list of columns or AllColumns(), found {found(value)}")


def _all_columns(settings: Mapping[Any, Any], where: str) -> AllColumns:
    known = [field.name for field in dataclasses.fields(AllColumns)]
    if unknown := [str(name) for name in settings if name not in known]:
        raise ValueError(f"{where}: all_columns knows no {', '.join(unknown)}; it knows {', '.join(known)}")
    return AllColumns(**settings)


def _named(value: Mapping[Any, Any], where: str) -> dict[str, Tree]:
    """Return a dict of names with its nested dicts flattened into dotted names, which mean the same."""
    named: dict[str, Tree] = {}
    for name, content in value.items():
        if not isinstance(name, str) or not all(name.split(".")):
            raise ValueError(f"{where}: expected names like 'email' or 'address.city', found {name!r}")
        tree = _tree(content, f"{where}[{name!r}]")
        parts = {f"{name}.{inner}": part for inner, part in tree.items()} if isinstance(tree, Mapping) else {name: tree}
        for path, part in parts.items():
            if any(path == other or path.startswith(f"{other}.") or other.startswith(f"{path}.") for other in named):
                raise ValueError(f"{where}: {path!r} is given twice, or both as a value and as an object")
            named[path] = part
    return named


def _tree(value: Any, where: str) -> Tree:
    """Return what a trait or property is made from: a source, or a dict or list of them."""
    if isinstance(value, Mapping) and not is_marker(value):
        return _named(value, where)
    if isinstance(value, (list, tuple)):
        return [_tree(item, f"{where}[{position}]") for position, item in enumerate(value)]
    return read_source(value, where)


def columns_in(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, (Json, Bool)):
        yield tree.column
    elif isinstance(tree, AllColumns):
        yield from columns_in(tree.extra)
    elif isinstance(tree, Mapping):
        for part in tree.values():
            yield from columns_in(part)
    elif isinstance(tree, list):
        for part in tree:
            yield from columns_in(part)


def as_plain(value: Any) -> Any:
    """Return the YAML form of a source or of an object's fields."""
    if isinstance(value, Constant):
        return {"constant": plain_value(value.value)}
    if isinstance(value, Json):
        return {"json": value.column}
    if isinstance(value, Bool):
        return {"bool": value.column}
    if isinstance(value, AllColumns):
        plain = {"exclude": [*value.exclude], "rename": value.rename, "extra": as_plain(value.extra)}
        return {"all_columns": plain | ({"json": [*value.json]} if value.json else {})}
    if isinstance(value, Mapping):
        return _escaped({name: as_plain(part) for name, part in value.items()})
    if isinstance(value, list):
        return [as_plain(part) for part in value]
    return value


def _escaped(named: dict[str, Any]) -> dict[str, Any]:
    """Keep a lone trait that is called "json", "bool" or "constant" from being read as a marker."""
    if is_marker(named) and isinstance(column := next(iter(named.values())), str):
        return {next(iter(named)): {"column": column}}
    return named
