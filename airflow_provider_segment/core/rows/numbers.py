"""Numbers: as JSON says them, with all digits and without NaN, and in the one text that all equal ones share."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import orjson

from airflow_provider_segment.core.errors import Refused

# Floats hold every whole number up to here; above it an id could be another customer's.
LARGEST_EXACT_FLOAT = 2**53
# Above this a number stays as it is written: its zeros written out would fill the memory.
LONGEST = 400


def whole(value: int) -> Any:
    """Return all digits of an integer, of any size."""
    return int(value) if -(2**63) <= value < 2**64 else orjson.Fragment(str(int(value)))


def exact(value: Decimal, path: str) -> orjson.Fragment:
    """Return all digits of a Decimal: as a float it would lose some.

    :raises Refused: if it is not finite.
    """
    if not value.is_finite():
        raise Refused("number_not_finite", f"found a Decimal that is {kind_of_nan(value)}; JSON has none", path)
    return orjson.Fragment(str(value))


def finite(value: float, path: str) -> float:
    """Return a float.

    :raises Refused: if it is not finite.
    """
    if not math.isfinite(value):
        raise Refused("number_not_finite", f"found a float that is {kind_of_nan(value)}; JSON has none", path)
    return value


def is_whole(value: float | Decimal) -> bool:
    """Tell whether it is a whole number, and no float that has lost digits."""
    if isinstance(value, Decimal):
        return value.is_finite() and value == int(value)
    return value.is_integer() and abs(value) <= LARGEST_EXACT_FLOAT


def is_finite(value: Any) -> bool:
    """Tell whether it is neither NaN nor an infinity; what is no number is finite."""
    if isinstance(value, Decimal):  # a signalling NaN is no float, and has no hash
        return value.is_finite()
    return not isinstance(value, float) or math.isfinite(value)


def kind_of_nan(value: float | Decimal) -> str:
    """Name what is not finite."""
    is_nan = value.is_nan() if isinstance(value, Decimal) else math.isnan(value)
    return "not a number" if is_nan else "infinite"


def plain_number(text: str) -> str:
    """Return a number as its shortest text without an exponent: ``1.50``, ``1.5`` and ``15E-1`` are one.

    :param text: a finite number, as JSON, Python's float or Decimal write it.
    """
    if not text.isascii() or not text.replace("-", "").replace(".", "").isdigit():
        number = Decimal(text)
        if number and abs(number.adjusted()) > LONGEST:
            return text
        text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
