"""Truth values of databases that have none, and keep them as a number, a letter or a word."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from airflow_provider_segment.core.errors import Refused
from airflow_provider_segment.core.rows.kinds import describe, from_numpy, is_missing, is_numpy
from airflow_provider_segment.core.rows.numbers import is_finite

_TRUE = (1, "1", "true", "t", "yes", "y", "on")
_FALSE = (0, "0", "false", "f", "no", "n", "off")
_TRUTHS: dict[Any, bool] = dict.fromkeys(_TRUE, True) | dict.fromkeys(_FALSE, False)
_EXPECTED = "expected 1 or 0, true or false, t or f, yes or no, y or n, on or off"


def to_bool(value: Any, path: str) -> bool | None:
    """Return the truth value that a column holds, or None where there is none.

    :param value: as a driver gave it.
    :param path: where in the message it stands.
    :raises Refused: if it is neither true nor false.
    """
    found = from_numpy(value) if is_numpy(value) else value
    if isinstance(found, bytes) and len(found) == 1 and found < b"\x02":
        found = found[0]  # a BIT of MySQL
    if isinstance(found, str):
        found = found.strip().lower()  # CHAR columns are padded
    if is_missing(found) or found == "":
        return None
    if isinstance(found, (str, int, float, Decimal)) and is_finite(found) and found in _TRUTHS:
        return _TRUTHS[found]
    raise Refused("boolean_not_valid", f"found {describe(value)} that is neither; {_EXPECTED}", path)
