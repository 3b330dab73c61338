"""What a value is, told without importing the library that made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_missing(value: Any) -> bool:
    """Tell whether it is nothing: None, or pandas' NA and NaT, which are singletons of a type of their own."""
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def describe(value: Any) -> str:
    """Return the type and length of a value, which is all that a log may show of it."""
    name = type(value).__name__
    return f"{name} of length {len(value)}" if hasattr(value, "__len__") else name


def is_numpy(value: Any) -> bool:
    """Tell whether it is one of numpy's scalars or arrays."""
    return type(value).__module__.partition(".")[0] == "numpy"


def from_numpy(value: Any) -> Any:
    """Return numpy's value as Python's."""
    if (kind := type(value).__name__) in ("datetime64", "timedelta64"):
        value = value.astype(f"{kind}[us]")  # of nanoseconds it would come out as a number
    return value.tolist()


def named_row(value: Any) -> Mapping[str, Any] | None:
    """Return a row that knows its names as an object; None for what is no such row, or has two parts of one name.

    :param value: of any type: named tuples, Trino's ROW, the Row of Spark and Databricks.
    """
    if type(value) in (list, tuple) or not isinstance(value, tuple):
        return None
    # In this order: Trino's row has any attribute, as None; a column of Spark's row or Trino's may be called like one.
    found = (getattr(value, name, None) for name in ("__fields__", "_names", "_fields"))
    names = next((names for names in found if isinstance(names, (list, tuple))), ())
    is_object = len(set(names)) == len(names) == len(value) and all(isinstance(name, str) and name for name in names)
    return dict(zip(names, value, strict=True)) if names and is_object else None


def hint_of_json(value: Any) -> str:
    """Return what to do about JSON as text where an object is expected, for a reason; empty for all else."""
    is_json = isinstance(value, (str, bytes)) and value.lstrip()[:1] in ("{", b"{")
    return '; it looks like JSON as text: map the column as Json("{column}")' if is_json else ""
