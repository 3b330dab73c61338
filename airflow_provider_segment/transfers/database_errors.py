"""What a driver's error may say without quoting a row, and whether a retry helps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from airflow_provider_segment.core.errors import SourceError

T = TypeVar("T")

PLAIN_SWITCH = "sql_hook_params={'streaming': False} reads with a plain cursor instead"


def calmly(call: Callable[[], T], what: str) -> T:
    """Call the driver; its error is told without its text, which may quote rows or a password.

    :param call: what to do.
    :param what: says what it is, for the error.
    :raises SourceError: if the driver fails.
    """
    failure = ""
    try:
        return call()
    except Exception as error:  # noqa: BLE001  every driver has its own error tree
        failure = _described(error)
    raise SourceError(f"The source database failed at {what}: {failure}")


def _described(error: Exception) -> str:
    """Name a driver's error: class and SQLSTATE, and its text where that can only quote the query."""
    state = next((code for name in ("sqlstate", "pgcode") if (code := getattr(error, name, None))), "")
    number = next((part for part in error.args[:1] if isinstance(part, int)), None)  # MySQL's and others' own
    named = f"{type(error).__module__}.{type(error).__name__}"
    named += f", SQLSTATE {state}" if state else f", error {number}" if number is not None else ""
    if state == "0A000":
        return f"{named}; if the query changes data, {PLAIN_SWITCH}"
    text = ""
    if state.startswith("42"):  # syntax error or access rule violation: about names in the query, never about rows
        text = getattr(getattr(error, "diag", None), "message_primary", None) or ""
    elif getattr(error, "sqlite_errorname", "") == "SQLITE_ERROR":  # the same of SQLite
        text = str(error)
    return f"{named}: {text}" if text else f"{named}; run the query by hand to see the database's own words"
