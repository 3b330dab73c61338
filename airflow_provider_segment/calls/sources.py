"""What one value of a message is made from: a column, a Constant, a Json or a Bool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Constant:
    """A value that is the same for every row.

    :param value: any value that reaches JSON (docs/mapping.md); text is rendered by Jinja.
    """

    value: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", plain_value(self.value))


@dataclass(frozen=True)
class Json:
    """The parsed content of a column that holds JSON as text.

    :param column: the column's name. Columns that the driver already gives as objects (jsonb, struct) need no Json.
    """

    column: str

    def __post_init__(self) -> None:
        check_column(self.column, "Json")


@dataclass(frozen=True)
class Bool:
    """The truth value of a column, for databases without booleans: MySQL's TINYINT(1), Oracle's NUMBER(1), SQLite.

    :param column: the column's name. 1 and 0, true and false, t and f, yes and no, y and n, on and off are truth
        values, in any case; what is neither refuses the row.
    """

    column: str

    def __post_init__(self) -> None:
        check_column(self.column, "Bool")


Source: TypeAlias = str | Constant | Json | Bool


def read_source(value: Any, where: str) -> Source:
    """Return what one value of a message is made from: a column, a Constant, a Json or a Bool."""
    if isinstance(value, (Constant, Json, Bool)):
        return value
    if isinstance(value, str):
        check_column(value, where)
        return value
    if isinstance(value, Mapping) and len(value) == 1:
        marker, content = next(iter(value.items()))
        if marker == "constant":
            return Constant(content)
        if marker == "json":
            return Json(content)
        if marker == "bool":
            return Bool(content)
        if marker == "column":
            check_column(content, where)
            return str(content)
    raise ValueError(
        f"{where}: expected a column's name, Constant(...), Json(...) or Bool(...), found {found(value)}; "
        "a string names a column, and a fixed value is written Constant(value)"
    )


def read_scalar(value: Any, where: str) -> Source:
    """Return what an id, a timestamp, an event or a name is made from."""
    source = read_source(value, where)
    if isinstance(source, Bool):
        raise ValueError(f"{where}: expected a column's name, Constant(...) or Json(...), found a Bool")
    return source


def is_marker(value: Mapping[Any, Any]) -> bool:
    return len(value) == 1 and next(iter(value)) in ("constant", "json", "bool", "column")


def column_of(source: Source) -> str:
    return source if isinstance(source, str) else "" if isinstance(source, Constant) else source.column


def column_names(value: Any, where: str) -> list[str]:
    """Return one column's name, or several, in an order that does not change from parse to parse."""
    if not isinstance(value, Iterable):
        raise ValueError(f"{where}: expected a list of columns, found {found(value)}")
    names = [value] if isinstance(value, str) else list(value)
    for name in names:
        check_column(name, where)
    return sorted(names)


def check_column(value: Any, where: str) -> None:
    if not isinstance(value, str) or not value:
        raise ValueError(
            f"{where}: expected a column's name, found {found(value)}; a fixed value is written Constant(value)"
        )


def plain_value(value: Any) -> Any:
    """Return fresh dicts and lists, and sets sorted: their order would change a DAG's hash from parse to parse."""
    if isinstance(value, Mapping):
        return {key: plain_value(part) for key, part in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((plain_value(part) for part in value), key=repr)
    if isinstance(value, (list, tuple)):
        return [plain_value(part) for part in value]
    return value


def found(value: Any) -> str:
    """Name what was found: a DAG author's own setting, shortened."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"
