"""BigQuery's values as its REST API has them, which Airflow's cursor hands on: texts, floats, and structs in pieces."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import Any, TypeAlias

from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.core.rows.unreadable import Unreadable

Convert: TypeAlias = Callable[[Any], Any]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
STRUCTS = ("RECORD", "STRUCT")
# What Airflow's cursor casts, and so cannot read as an array.
CAST = ("INTEGER", "FLOAT", "TIMESTAMP", "BOOLEAN")
_NOT_READABLE = (
    "found a {kind} of BigQuery that cannot be read as Airflow's cursor gives it: select TO_JSON_STRING({column}) AS "
    '{column}, and map it as Json("{column}")'
)


def converters(cursor: Any) -> Mapping[int, Convert]:
    """Return what turns the values of columns into what their types mean, by the columns' places.

    :param cursor: of Airflow's BigQuery hook. Its description does not tell arrays, nor the fields of structs; where
        there may be some, the job is asked for its schema.
    :raises SettingError: if there is an array that the cursor cannot read.
    """
    columns = [{"name": c[0], "type": c[1], "mode": "NULLABLE" if c[6] else ""} for c in cursor.description or ()]
    if any(column["type"] in STRUCTS or not column["mode"] for column in columns):
        columns = _schema(cursor) or columns
    for column in columns:
        if column.get("mode") == "REPEATED" and column["type"] in CAST:
            name = column["name"]
            raise SettingError(
                f"sql: Airflow's cursor cannot read the column {name}, an array of {column['type']}: select "
                f'TO_JSON_STRING({name}) AS {name}, and map it as Json("{name}")'
            )
    found = ((place, _converter(column)) for place, column in enumerate(columns))
    return {place: _carefully(convert, columns[place]["type"]) for place, convert in found if convert is not None}


def _schema(cursor: Any) -> list[dict[str, Any]] | None:
    """Return the columns of a job with their modes and fields; None where it does not say."""
    with suppress(Exception):  # the values are then read as far as the description tells
        asked = {"projectId": cursor.project_id, "jobId": cursor.job_id, "location": cursor.location, "maxResults": 0}
        answer = cursor.service.jobs().getQueryResults(**asked).execute(num_retries=cursor.num_retries)
        return list(answer["schema"]["fields"])
    return None


def _converter(column: Mapping[str, Any]) -> Convert | None:
    """Return what turns a column's value, or one within a struct, into what its type means; None where it is that."""
    kind = column["type"]
    convert = partial(_struct, fields=_fields(column)) if kind in STRUCTS else _SCALARS.get(kind)
    if column.get("mode") == "NULLABLE":
        return convert
    return partial(_array, convert=convert)  # also of what may be one, or only may not be null


def _fields(column: Mapping[str, Any]) -> list[tuple[str, Convert | None]] | None:
    fields = column.get("fields")
    # A field within a struct comes as text whatever its type; those of a column's own were cast by the cursor.
    return fields and [(field["name"], _converter({"mode": "NULLABLE", **field})) for field in fields]


def _struct(value: Any, fields: Sequence[tuple[str, Convert | None]] | None) -> Any:
    if not (isinstance(value, Mapping) and isinstance(value.get("f"), list)):
        return value
    if not fields:
        raise ValueError
    parts = zip(fields, (part["v"] for part in value["f"]), strict=True)
    return {name: part if part is None or convert is None else convert(part) for (name, convert), part in parts}


def _array(value: Any, convert: Convert | None) -> Any:
    if not isinstance(value, list):
        return value if convert is None else convert(value)
    parts = [part["v"] if isinstance(part, Mapping) and part.keys() == {"v"} else part for part in value]
    return [part if part is None or convert is None else convert(part) for part in parts]


def _carefully(convert: Convert, kind: str) -> Convert:
    """Return a converter that gives what refuses the row for a value that is none of its type."""

    def careful(value: Any) -> Any:
        try:
            return convert(value)
        except (ArithmeticError, KeyError, TypeError, ValueError):
            return Unreadable(_NOT_READABLE.replace("{kind}", str(kind)))

    return careful


def _timestamp(value: Any) -> Any:
    """Return seconds since 1970 as a point in time; as text they have all digits, as a float those of our days."""
    if not isinstance(value, (str, float, int)):
        return value
    micros = Decimal(value) * 1_000_000
    return _EPOCH + dt.timedelta(microseconds=int(micros.to_integral_value()))


def _of_text(read: Convert) -> Convert:
    return lambda value: read(value) if isinstance(value, str) else value


_SCALARS: dict[str, Convert] = {
    "INTEGER": _of_text(int),
    "INT64": _of_text(int),
    "FLOAT": _of_text(float),
    "FLOAT64": _of_text(float),
    "BOOLEAN": _of_text("true".__eq__),
    "BOOL": _of_text("true".__eq__),
    "NUMERIC": _of_text(Decimal),
    "BIGNUMERIC": _of_text(Decimal),
    "TIMESTAMP": _timestamp,
    "DATETIME": _of_text(dt.datetime.fromisoformat),
    "DATE": _of_text(dt.date.fromisoformat),
    "JSON": _of_text(partial(json.loads, parse_float=Decimal)),
}
