"""The settings of a sync are checked when they are made."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pytest

from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.core.options import Options

WRONG: list[tuple[str, Any]] = [
    ("key", ""),
    ("key", ["a", ""]),
    ("key", ["a", "a"]),
    ("key", ["a", 1]),
    ("key", 5),
    ("nulls", "drop"),
    ("nulls", None),
    ("timezone", "Mars/Olympus"),
    ("timezone", ""),
    ("timezone", 2),
    ("timezone", "../etc/passwd"),
    ("max_rejected", -1),
    ("max_rejected", "1"),
    ("max_rejected", True),
    ("max_rejected", None),
    ("max_rejected", math.nan),
    ("max_rejected", math.inf),
    ("max_rejected", -0.5),
    ("max_rejected", 1.5),
    ("min_rows", -1),
    ("min_rows", 1.0),
    ("min_rows", True),
    ("min_rows", "10"),
    ("min_rows", None),
    ("max_in_flight", 0),
    ("max_in_flight", 1.0),
    ("max_in_flight", True),
    ("validate_only", "yes"),
    ("preview_path", ""),
    ("preview_path", 5),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_option_is_refused(name: str, value: Any) -> None:
    """An option that is wrong is an error that names it and what was found."""
    with pytest.raises(SettingError) as caught:
        Options(**{name: value})
    assert str(caught.value).startswith(f"{name}: expected")
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(("key", "columns"), [(None, ()), ("id", ("id",)), (["a", "b"], ("a", "b")), (("a",), ("a",))])
def test_key_is_one_column_or_many(key: Any, columns: tuple[str, ...]) -> None:
    """A key is a column's name or a list of them."""
    assert Options(key=key).key_columns == columns


def test_defaults_are_careful() -> None:
    """By default nothing is left out, guessed, tolerated or held back."""
    options = Options()
    assert (options.omit_nulls, options.zone, options.max_rejected, options.validate_only) == (False, None, 0, False)
    assert Options(nulls="omit").omit_nulls


def test_zone_is_that_of_the_name() -> None:
    """A zone is known by its IANA name, daylight saving included."""
    zone = Options(timezone="Europe/Berlin").zone
    assert dt.datetime(2026, 7, 1, tzinfo=zone).utcoffset() == dt.timedelta(hours=2)
