"""The examples of docs/mapping.md are true."""

from __future__ import annotations

import ast
import datetime as dt
import json
import re
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from doc_blocks import ROOT, blocks_of

from airflow_provider_segment import calls
from airflow_provider_segment.core.errors import Refused
from airflow_provider_segment.core.mapping import values
from airflow_provider_segment.core.mapping.compiler import CompiledCall
from airflow_provider_segment.core.mapping.encoding import encoder
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.rows.columns import Columns

PATH = ROOT / "docs" / "mapping.md"
PAGE = PATH.read_text()
UTC = Options(timezone="UTC")


class Colour(Enum):
    """An enum for the table of values."""

    RED = "red"


class Point(NamedTuple):
    """A row that knows its names, for the table of values."""

    x: Any
    y: Any


def deep(levels: int) -> Any:
    """Return a list in a list, so many levels deep."""
    return [deep(levels - 1)] if levels else 1


def int_range(lower: int, upper: int) -> SimpleNamespace:
    """Return what psycopg's ranges have in common with psycopg2's."""
    return SimpleNamespace(lower=lower, upper=upper, lower_inc=True, upper_inc=False, isempty=False)


NAMES: dict[str, Any] = {
    **{name: getattr(calls, name) for name in calls.__all__},
    "Decimal": Decimal,
    "UUID": UUID,
    "IPv4Address": IPv4Address,
    "date": dt.date,
    "datetime": dt.datetime,
    "time": dt.time,
    "timedelta": dt.timedelta,
    "timezone": dt.timezone,
    "Colour": Colour,
    "Point": Point,
    "Range": int_range,
    "deep": deep,
}


def evaluated(expression: str) -> Any:
    """Return the value of an example of the page."""
    return eval(expression, dict(NAMES))  # noqa: S307  the page is ours


def message(call: calls.Call, row: dict[str, Any]) -> bytes:
    """Return the bytes of a row's message."""
    compiled = CompiledCall(call, Columns(list(row)), UTC)
    return encoder(UTC.zone, with_id=False)(compiled.message(list(row.values())))


def table(heading: str) -> list[list[str]]:
    """Return the rows of the table under a heading, without its head."""
    section = PAGE.split(heading, 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


EXAMPLES = re.findall(r"```(python|yaml)\n(.*?)```\n\n```json\n(.*?)\n```", PAGE, re.DOTALL)
VALUES = [row for row in table("## Values") if len(row) == 5]
IDS = [row for row in table("Ids are text on the wire.") if len(row) == 2]
CODES = [row for row in table("## What refuses a row") if row[2]]


@pytest.mark.parametrize(("language", "source", "expected"), EXAMPLES, ids=lambda text: text[:24].strip())
def test_every_example_gives_the_message_that_stands_below_it(language: str, source: str, expected: str) -> None:
    """A row and a call of the page give the message below them, with the fields in that order."""
    names = dict(NAMES)
    if language == "python":
        exec(source, names)  # noqa: S102  the page is ours
    else:
        names.update(pytest.importorskip("yaml").safe_load(source))
    (call,) = calls.as_calls(names["call"])
    made = message(call, names["row"])
    assert json.loads(made, parse_float=Decimal) == json.loads(expected, parse_float=Decimal)


def test_the_page_shows_every_call() -> None:
    """Each of the six calls has an example, and every block of the page is part of one."""
    assert len(blocks_of(PATH)) == 2 * len(EXAMPLES)
    shown = {json.loads(expected)["type"] for _, _, expected in EXAMPLES}
    assert shown == set(calls.TYPES)
    assert len(EXAMPLES) >= 12


@pytest.mark.parametrize(("example", "expected"), [row[3:] for row in VALUES])
def test_every_value_becomes_what_the_table_says(example: str, expected: str) -> None:
    """A value of the table becomes the JSON beside it, digit for digit."""
    made = message(calls.Identify("id", traits=["value"]), {"id": "u1", "value": evaluated(example.strip("`"))})
    wanted = json.loads(expected.strip("`"), parse_float=Decimal)
    found = json.loads(made, parse_float=Decimal)["traits"]["value"]
    assert (found, str(found)) == (wanted, str(wanted))  # 29.9 equals 29.90, and is not what the table says


@pytest.mark.parametrize(("example", "expected"), IDS)
def test_every_id_becomes_what_the_table_says(example: str, expected: str) -> None:
    """An id of the table becomes the text beside it."""
    assert values.to_id(evaluated(example.strip("`")), "userId") == ast.literal_eval(expected.strip("`"))


@pytest.mark.parametrize(("code", "example"), [(row[0].strip("`"), row[2].strip("`")) for row in CODES])
def test_every_code_refuses_the_row_beside_it(code: str, example: str) -> None:
    """A row of the table is refused with the code that stands before it."""
    call, row = evaluated(example)
    with pytest.raises(Refused) as refused:
        message(call, row)
    assert refused.value.code == code


def test_the_page_names_every_code_of_the_package() -> None:
    """No code can refuse a row that the page does not explain."""
    core = Path(values.__file__).parent
    raised = {code for file in core.rglob("*.py") for code in re.findall(r'Refused\(\s*"(\w+)"', file.read_text())}
    explained = {row[0].strip("`") for row in table("## What refuses a row")}
    assert raised - {"type_not_valid"} <= explained


def test_the_zone_of_the_examples_is_a_setting() -> None:
    """Without a zone the naive timestamps of the page would stop the run."""
    with pytest.raises(values.MissingTimezone):
        values.to_json(dt.datetime(2026, 1, 31), None, "traits.value")  # noqa: DTZ001  that is the point
    assert UTC.zone == ZoneInfo("UTC")
