"""Numbers as JSON says them: all digits of a Decimal, and neither NaN nor infinities, which it has no words for."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import orjson

from airflow_provider_segment.core.errors import Refused

# Floats hold every whole number up to here; above it an id could be another customer's.
LARGEST_EXACT_FLOAT = 2**53


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
