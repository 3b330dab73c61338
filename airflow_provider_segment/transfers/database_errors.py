"""What a driver's error may say without quoting a row, and whether a retry helps."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from airflow_provider_segment.core.errors import QueryError, SourceError
from airflow_provider_segment.transfers.driver_errors import (
    ERRORS,
    PARSER,
    PASSING,
    PASSING_CLASSES,
    PLACEHOLDER_TEXT,
    PLACEHOLDERS,
    STANDARD,
    WRONG_CLASSES,
    Said,
)

T = TypeVar("T")

PLAIN_SWITCH = "sql_hook_params={'streaming': False} reads with a plain cursor instead"
MAX_TEXT = 400
_BY_HAND = "run the query by hand to see the database's own words"
_PERCENT = "; with parameters a percent sign is written twice, as in LIKE 'a%%' or id %% 4"
_NO_PERCENT = "; without parameters a percent sign is written once"
_POOLER = f"; if a pooler such as PgBouncer stands before the database, {PLAIN_SWITCH}"
# Whose placeholder is %s: drivers, and Python itself, which some of them leave it to.
_WITH_PERCENTS = ("builtins", "psycopg", "psycopg2", "MySQLdb", "redshift_connector")
_LONE_PERCENT = re.compile(r"%(?![sbt(])")
_CHANGES = re.compile(r"(?<!FOR )(?<!KEY )\b(INSERT|UPDATE|DELETE|MERGE)\b")


@dataclass(frozen=True)
class Query:
    """What the driver was asked for.

    :param sql: the query.
    :param parameters: of it, which may be personal data.
    :param cursor: that ran it.
    """

    sql: str
    parameters: Any
    cursor: Any


def call_driver(call: Callable[[], T], what: str, asked: Query | None = None, rows: range | None = None) -> T:
    """Call the driver; its error is told without what may quote a row, a parameter or a password.

    :param call: what to do.
    :param what: says what it is, for the error.
    :param asked: where it runs the query.
    :param rows: where it fetches rows, their numbers, as far as they are known.
    :raises QueryError: if the database does not take the query.
    :raises SourceError: if the driver fails otherwise.
    """
    failure, kind = "", SourceError
    try:
        return call()
    except Exception as error:  # noqa: BLE001  every driver has its own error tree
        failure, is_wrong = _described(error, asked, rows)
        kind = QueryError if is_wrong and what != "connecting" else SourceError
    raise kind(f"The source database failed at {what}: {failure}")


def _described(error: Exception, asked: Query | None, rows: range | None) -> tuple[str, bool]:
    """Return what can be told of an error, and whether it is the query's fault."""
    error = _innermost(error)
    named = f"{type(error).__module__}.{type(error).__name__}"
    driver = named.partition(".")[0].lstrip("_")
    errors = ERRORS.get(driver, STANDARD)
    said = _of_placeholders(error, asked) or _of_sqlites_parser(error, asked) or errors.read(error)
    is_wrong = said.code in (PLACEHOLDERS, PARSER) or said.code in errors.wrong
    is_passing = said.code == PASSING or said.code in errors.passing
    if errors.by_state:
        is_wrong = is_wrong or said.state.startswith(WRONG_CLASSES)
        is_passing = is_passing or said.state.startswith(PASSING_CLASSES)
    named += f", SQLSTATE {said.state}" if said.state else f", error {said.code}" if isinstance(said.code, int) else ""
    if not said.text or not (is_wrong or is_passing):
        return f"{named}; {_how_to_find(rows) if rows and _is_of_a_value(error, said) else _BY_HAND}", False
    # What is said of placeholders holds no value of a parameter, only counts, names and types.
    hidden = asked.parameters if asked and said.code != PLACEHOLDERS else None
    return f"{named}: {_without(said.text, hidden)}{_mend(said, driver, asked)}", is_wrong


def _innermost(error: Exception) -> Exception:
    """Return the error that is wrapped into another, as BigQuery's, ClickHouse's and SQLAlchemy's are."""
    while True:
        inner = getattr(error, "orig", None) or next(iter(error.args), None)
        if not isinstance(inner, Exception):
            return error
        error = inner


def _of_placeholders(error: Exception, asked: Query | None) -> Said | None:
    """Return what it says of parameters that do not fit the query; Python itself says so for many drivers."""
    if asked is None:
        return None
    if isinstance(error, KeyError):
        name = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error.args[0])
        is_named = f"%({name})" in asked.sql or f":{name}" in asked.sql
        return Said(f"the query names {name!r}, which parameters lacks", "", PLACEHOLDERS) if is_named else None
    text = next((text for text in error.args if isinstance(text, str)), "")
    if not PLACEHOLDER_TEXT.fullmatch(text):
        return None
    is_pythons = type(error).__module__ == "builtins"
    return Said(f"the parameters do not fit the placeholders: {text}" if is_pythons else text, "", PLACEHOLDERS)


def _of_sqlites_parser(error: Exception, asked: Query | None) -> Said | None:
    """Return what SQLite's parser says of the query: it says the same when the query is not run.

    Functions have the same number for errors that quote rows, such as json_extract's.
    """
    if asked is None or getattr(error, "sqlite_errorname", "") != "SQLITE_ERROR":
        return None
    try:
        with suppress(sqlite3.ProgrammingError):  # that parameters lack
            asked.cursor.connection.execute(f"EXPLAIN {asked.sql}")
    except sqlite3.OperationalError as found:
        return Said(str(error), "", PARSER) if str(found) == str(error) else None
    return None


def _mend(said: Said, driver: str, asked: Query | None) -> str:
    """Return what to do about it, where that is plain."""
    if said.state == "34000":
        return _POOLER
    if asked is None:
        return ""
    if said.state == "0A000" and _CHANGES.search(_words(asked.sql)):
        return f"; {PLAIN_SWITCH}"
    if not asked.parameters:
        return _NO_PERCENT if "%%" in said.text else ""
    is_lone = driver in _WITH_PERCENTS and _LONE_PERCENT.search(asked.sql.replace("%%", ""))
    return _PERCENT if said.code == PLACEHOLDERS and is_lone else ""


def _words(sql: str) -> str:
    """Return the words of a query that stand neither in a comment nor in a text, in capitals."""
    from sqlparse import lexer, tokens

    said = lexer.tokenize(sql)  # type: ignore[no-untyped-call]  # sqlparse has no annotations
    return " ".join(text.upper() for kind, text in said if kind in tokens.Keyword)


def _is_of_a_value(error: Exception, said: Said) -> bool:
    """Tell whether it may be a value that the driver cannot turn into Python: such an error is not the server's."""
    is_data = type(error).__name__ == "DataError" or isinstance(error, (ValueError, ArithmeticError, TypeError))
    return is_data and not said.state


def _how_to_find(rows: range) -> str:
    return (
        f"rows {rows.start:,} to {rows.stop - 1:,} may hold a value that the driver cannot turn into Python, such as a "
        "date out of range: with validate_only=True and fetch_size=1 the error names its row. Mend the row, or cast "
        "its column to text in the query"
    )


def _without(text: str, parameters: Any) -> str:
    """Return a text on one line, without a word of the parameters, which some drivers write into the query."""
    said = {word.lower() for value in _flat(parameters) for word in re.findall(r"\w+", value)}

    def shown(found: re.Match[str]) -> str:
        word = found[0].lower()
        # A text that is cut may end in the beginning of a word.
        is_said = word in said or (len(word) > 2 and any(one.startswith(word) for one in said))
        return "***" if is_said else found[0]

    text = " ".join((re.sub(r"\w+", shown, text) if said else text).split())
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} ..."


def _flat(parameters: Any) -> Iterator[str]:
    if isinstance(parameters, Mapping):
        parameters = list(parameters.values())
    if isinstance(parameters, (list, tuple, set, frozenset)):
        for part in parameters:
            yield from _flat(part)
    elif isinstance(parameters, (bytes, bytearray, memoryview)):
        yield from (bytes(parameters).hex(), bytes(parameters).decode(errors="replace"))
    elif parameters is not None:
        yield str(parameters)
