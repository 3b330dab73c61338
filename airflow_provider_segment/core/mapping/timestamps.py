"""Points in time as texts and numbers: what can be read with its zone, and what a number that stands for one was."""

from __future__ import annotations

import datetime as dt
import re
from contextlib import suppress
from decimal import Decimal
from typing import Any

# As databases write them: ISO 8601, or with blanks before time and zone. A fraction may have more than six digits.
_TEXT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d|\d{8}|\d{4}-?W\d\d(?:-?\d)?)"
    r"(?:[Tt ] ?(?P<time>\d\d(?::?\d\d(?::?\d\d)?)?)(?:[.,](?P<fraction>\d+))?"
    r" ?(?P<zone>[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d(?::?\d\d)?)?)?)?",
    re.ASCII,
)
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
# The smallest number that no longer counts these since 1970, and how databases turn them into a timestamp.
_UNITS: tuple[tuple[float, str, str], ...] = (
    (1e11, "seconds", "to_timestamp({column}) (PostgreSQL, Snowflake), TIMESTAMP_SECONDS({column}) (BigQuery)"),
    (1e14, "milliseconds", "to_timestamp({column} / 1000.0) (PostgreSQL), TIMESTAMP_MILLIS({column}) (BigQuery)"),
    (1e17, "microseconds", "to_timestamp({column} / 1000000.0) (PostgreSQL), TIMESTAMP_MICROS({column}) (BigQuery)"),
    (1e20, "nanoseconds", "to_timestamp({column} / 1000000000.0) (PostgreSQL), TO_TIMESTAMP({column}, 9) (Snowflake)"),
)
_FIRST_SECOND = 1e8  # in 1973: smaller numbers are as likely something else
# 1970-01-01 is what a zero that was cast looks like.
_FIRST_LIKELY = "1970-01-02"


def is_canonical(text: str) -> bool:
    """Tell whether a text has the form in which all timestamps leave, such as 2026-01-31T09:30:00.25Z.

    :param text: of any kind.
    """
    if text[10:11] != "T" or text[-1] != "Z" or not (text[4] == text[7] == "-" and text[13:14] == ":" == text[16:17]):
        return False
    if len(text) > 20 and (text[19] != "." or len(text) == 21):
        return False
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def read(text: str) -> tuple[dt.datetime, str]:
    """Return the point in time that a text says, to the second, and the digits of its fraction.

    :param text: ISO 8601, or nearly so, with its zone or without one.
    :raises ValueError: if it says none.
    """
    if text[4:5] == text[7:8] == "-" and text[10:11] in ("T", " ") and "." not in text and "," not in text:
        with suppress(ValueError):  # most texts; the pattern costs more than all else together
            return dt.datetime.fromisoformat(text), ""
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        raise ValueError
    zone = found["zone"] or ""
    iso = f"{found['date']}T{found['time']}{'Z' if zone.isalpha() else zone}" if found["time"] else found["date"]
    return dt.datetime.fromisoformat(iso), found["fraction"] or ""


def what_number(value: float | Decimal | str) -> str:
    """Return what a number, found where a timestamp is expected, most likely counts, and the way to cast it.

    :param value: a number, or a text; only its magnitude is looked at.
    :returns: for a reason, where {column} stands for the column; empty where nothing can be said.
    """
    if isinstance(value, str):
        if _NUMBER.fullmatch(value.strip()) is None:
            return ""
        return what_number(Decimal(value.strip()))
    if _is_date(value):
        return (
            "which looks like a date as a number (YYYYMMDD): cast it in the query, such as "
            "to_date({column}::text, 'YYYYMMDD') in PostgreSQL and Snowflake"
        )
    size: Any = abs(value)
    for limit, unit, casts in _UNITS:
        if _FIRST_SECOND <= size < limit:
            return (
                f"which looks like {unit} since 1970: cast it in the query, such as {casts}; docs/mapping.md has more"
            )
    return ""


def latest_likely(now: dt.datetime) -> str:
    """Return the time after which a timestamp looks wrong, a year from now, in the form in which they leave.

    :param now: with its zone.
    """
    return (now + dt.timedelta(days=366)).astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_likely(text: str, latest: str) -> bool:
    """Tell whether a timestamp is neither before 1970-01-02 nor after the latest one.

    :param text: in the form in which timestamps leave, whose order is that of the texts.
    :param latest: of latest_likely().
    """
    return _FIRST_LIKELY <= text <= latest


def _is_date(value: float | Decimal) -> bool:
    if not 19_000_101 <= value <= 21_991_231 or value != int(value):
        return False
    year_and_month, day = divmod(int(value), 100)
    return 1 <= year_and_month % 100 <= 12 and 1 <= day <= 31
