"""MySQL's and MariaDB's values: bits, times of day, and points in time that depend on the session's zone."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

log = logging.getLogger(__name__)

DRIVERS = ("MySQLdb", "pymysql", "mysql")
# Of the protocol, and so of each driver.
TIMESTAMP, TIME, BIT = 7, 11, 16


def set_to_utc(connection: Any) -> bool:
    """Let the session give TIMESTAMPs in UTC, and tell whether it will.

    :param connection: ours.
    """
    cursor = connection.cursor()
    try:
        cursor.execute("SET time_zone = '+00:00'")
    except Exception as error:  # noqa: BLE001  some that speak MySQL's protocol have no such setting
        log.info(
            "The session's time zone stays as it is (%s): TIMESTAMPs are taken as `timezone` says", type(error).__name__
        )
        return False
    finally:
        cursor.close()
    return True


def converters(description: Sequence[Sequence[Any]], *, in_utc: bool) -> Mapping[int, Callable[[Any], Any]]:
    """Return what turns the values of columns into what their types mean, by the columns' places.

    :param description: of the cursor.
    :param in_utc: whether TIMESTAMPs come in UTC.
    """
    found: dict[int, Callable[[Any], Any]] = {}
    for place, (_, kind, _, length, *_) in enumerate(description):
        if kind == BIT:
            found[place] = _truth if length == 1 else _number
        elif kind == TIME:
            found[place] = time_of_day
        elif kind == TIMESTAMP and in_utc:
            found[place] = _in_utc
    return found


def time_of_day(value: Any) -> Any:
    """Return a TIME, which drivers give as an interval, as MySQL writes it: 09:30:00, or beyond a day -30:00:00.5.

    :param value: of the driver.
    """
    if not isinstance(value, dt.timedelta):
        return value
    seconds, micros = divmod(abs(value) // dt.timedelta(microseconds=1), 1_000_000)
    sign, fraction = "-" if value < dt.timedelta(0) else "", f".{micros:06d}" if micros else ""
    return f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}"


def _truth(value: Any) -> Any:
    return bool(_number(value))


def _number(value: Any) -> Any:
    return int.from_bytes(value) if isinstance(value, bytes) else value


def _in_utc(value: Any) -> Any:
    is_naive = isinstance(value, dt.datetime) and value.tzinfo is None
    return value.replace(tzinfo=dt.UTC) if is_naive else value
