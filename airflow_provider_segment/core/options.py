"""The settings of a sync, checked when they are made; light enough for the parsing of a DAG."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from airflow_provider_segment.core.errors import SettingError

NULLS = ("send", "omit")
SYNC_MODES = ("all", "changes")
FIRST_RUNS = ("send", "baseline", "fail")
DEFAULT_MAX_DELETED = 0.5
HISTORY_DAYS = 90


@dataclass(frozen=True)
class Options:
    """How the rows of a sync become calls, and how these are sent.

    :param key: the column, or columns, that identify a row.
    :param nulls: what becomes of nulls in traits and properties: "send" (default; they may erase a value downstream)
        or "omit" (they leave it as it is). Nulls elsewhere are left out.
    :param timezone: IANA name of the zone of timestamps that carry none, such as "UTC"; without it the first such
        timestamp stops the run.
    :param max_rejected: how many calls may be invalid or rejected before the run fails: a count, or below 1 a share.
    :param max_in_flight: batches that are on their way at once; default 8.
    :param sync_mode: "all" (default) or "changes".
    :param state_conn_id: the connection where it is remembered what Segment last accepted ...
    :param state_schema: ... in this schema of it ...
    :param state_path: ... or a SQLite file on a local disk. "changes" needs one of the two; with "all" a retry skips
        what an earlier try had accepted, which on Airflow 3.3 it does without, and its runs are written down there.
    :param first_run: with "changes", for each call when it is first seen: "send" (default); "baseline", which remembers
        the rows and sends nothing; or "fail", which fails the task, since the state may have been lost.
    :param cursor: with "changes": a column of the query that only grows, such as a timestamp; rows before the mark that
        the last whole run has reached are not read. Calls on "deleted" cannot be made then.
    :param lookback: how far before the mark rows are read again, for those that come late: seconds or a timedelta, of a
        cursor of whole numbers a number; default 0.
    :param keep_days: keys whose rows lie so many days before the mark are forgotten; default None, none are.
    :param max_calls: more calls than these stop the run before anything is sent; default None, no cap.
    :param max_added: with "changes", the same for each call and its new rows: a count, or below 1 a share of the keys
        of this call that were known when the run began; so a share allows no first run.
    :param max_updated: the same for rows that have changed.
    :param max_deleted: the same for keys that are gone: from 2 on a count, otherwise a share of the keys that were
        known when the run began, and of those known when a run last ended whole. Where it is None, a share of 0.5 is
        held to before anything is deleted, after all else was sent.
    :param min_rows: fewer rows than these stop the run before anything is sent or deleted; default 0. So many rows are
        held in memory first, where the source does not tell how many there are.
    :param history_days: for so long the state keeps the counts of its runs; default 90 days.
    :param validate_only: read, map, validate and compare every row, and send and remember nothing.
    :param rejects_path: a file for the refused calls as JSON lines, local or in an object storage.
    :param preview_path: a local file for the first 100 messages as JSON lines; they are personal data.
    :raises SettingError: if one of them is not what it should be.
    """

    key: str | Sequence[str] | None = None
    nulls: str = "send"
    timezone: str | None = None
    max_rejected: float = 0
    max_in_flight: int = 8
    validate_only: bool = False
    preview_path: str | None = None
    rejects_path: str | None = None
    sync_mode: str = "all"
    state_conn_id: str | None = None
    state_schema: str | None = None
    state_path: str | None = None
    first_run: str = "send"
    cursor: str | None = None
    lookback: dt.timedelta | float = 0
    keep_days: int | None = None
    max_calls: int | None = None
    max_added: float | None = None
    max_updated: float | None = None
    max_deleted: float | None = None
    min_rows: int = 0
    history_days: int = HISTORY_DAYS

    def __post_init__(self) -> None:
        _names("key", self.key)
        for name, allowed in (("nulls", NULLS), ("sync_mode", SYNC_MODES), ("first_run", FIRST_RUNS)):
            if getattr(self, name) not in allowed:
                raise SettingError(f"{name}: expected one of {', '.join(allowed)}; found {getattr(self, name)!r}")
        _zone(self.timezone)
        check_max_rejected(self.max_rejected)
        positive("max_in_flight", self.max_in_flight)
        positive("history_days", self.history_days)
        _check_count("min_rows", self.min_rows)
        for name in ("max_calls", "max_added", "max_updated"):
            if (value := getattr(self, name)) is not None:
                (_check_count if name == "max_calls" else _check_cap)(name, value)
        if not isinstance(self.validate_only, bool):
            raise SettingError(f"validate_only: expected True or False, found {self.validate_only!r}")
        for name in ("preview_path", "rejects_path", "state_path", "state_conn_id", "state_schema", "cursor"):
            text = getattr(self, name)
            if text is not None and not (isinstance(text, str) and text):
                raise SettingError(f"{name}: expected text, found {text!r}")
        self._check_changes()
        self._check_cursor()

    def _check_cursor(self) -> None:
        for name, default in (("lookback", 0), ("keep_days", None)):
            if self.cursor is None and getattr(self, name) != default:
                raise SettingError(f"{name}: is for a cursor; set cursor to the column that only grows")
        if self.cursor is None:
            return
        if self.sync_mode != "changes":
            raise SettingError(
                "cursor: is for sync_mode='changes', whose state keeps the rows at the mark from repeating"
            )
        lookback = self.lookback
        is_number = (
            isinstance(lookback, (int, float)) and not isinstance(lookback, bool) and 0 <= lookback < float("inf")
        )
        if not is_number and not (isinstance(lookback, dt.timedelta) and lookback >= dt.timedelta()):
            raise SettingError(f"lookback: expected seconds from 0 on, or a timedelta; found {lookback!r}")
        if self.keep_days is not None:
            positive("keep_days", self.keep_days)
            if self.lookback_seconds > self.keep_days * 86_400:
                raise SettingError(f"keep_days: expected at least the lookback, found {self.keep_days} days")

    def _check_changes(self) -> None:
        """Check what ``sync_mode="changes"`` needs, and where is remembered."""
        if self.max_deleted is True or self.max_deleted not in (None, 1):  # 1 is the share of all keys
            _check_cap("max_deleted", self.max_deleted)
        if self.sync_mode == "changes":
            if not self.key_columns:
                raise SettingError("key: sync_mode='changes' needs the column, or columns, that identify a row")
            if (self.state_conn_id is None) == (self.state_path is None):
                raise SettingError("state_path, state_conn_id: sync_mode='changes' needs one of the two to remember in")
        elif self.state_conn_id is not None and self.state_path is not None:
            raise SettingError("state_path, state_conn_id: expected one of the two, or none")
        elif named := [name for name in ("max_added", "max_updated") if getattr(self, name) is not None]:
            raise SettingError(f"{named[0]}: is for sync_mode='changes'; with 'all' max_calls counts all rows' calls")
        if self.state_schema is not None and self.state_conn_id is None:
            raise SettingError("state_schema: is for state_conn_id; a SQLite file has no schemas")

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns that identify a row; none without a key."""
        return _names("key", self.key)

    @property
    def lookback_seconds(self) -> float:
        """The lookback as a number."""
        return self.lookback.total_seconds() if isinstance(self.lookback, dt.timedelta) else self.lookback

    @property
    def most_deleted(self) -> float:
        """What may be deleted: a count, or a share as a float."""
        cap = DEFAULT_MAX_DELETED if self.max_deleted is None else self.max_deleted
        return 1.0 if cap == 1 else cap

    @property
    def zone(self) -> zoneinfo.ZoneInfo | None:
        """The zone of timestamps that carry none."""
        return _zone(self.timezone)

    @property
    def omit_nulls(self) -> bool:
        """Whether nulls in traits and properties are left out."""
        return self.nulls == "omit"


def positive(name: str, value: object) -> int:
    """Return a setting that is a whole number above 0.

    :param name: of the setting.
    :param value: what was found.
    :raises SettingError: if it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SettingError(f"{name}: expected a whole number above 0, found {value!r}")
    return value


def most(cap: float, known: int) -> int:
    """Return how many calls a cap allows.

    :param cap: a count; or a share, where it is a float.
    :param known: keys that were known.
    """
    return cap if isinstance(cap, int) else int(Fraction(repr(cap)) * known)  # 0.29 of 100 are 29


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _check_count(name: str, value: object) -> None:
    if not _is_count(value):
        raise SettingError(f"{name}: expected a whole number from 0 on, found {value!r}")


def _check_cap(name: str, value: object) -> None:
    if not _is_count(value) and not (isinstance(value, float) and 0 <= value < 1):
        raise SettingError(f"{name}: expected a count, or a share below 1; found {value!r}")


def check_max_rejected(value: object, name: str = "max_rejected") -> None:
    """Refuse what is neither a count of refused calls nor a share.

    :param value: of the setting.
    :param name: of the setting.
    :raises SettingError: then.
    """
    is_count = _is_count(value)
    is_share = isinstance(value, float) and (0 <= value < 1 or (value.is_integer() and value > 0))
    if not (is_count or is_share):
        raise SettingError(f"{name}: expected a count, or a share below 1; found {value!r}")


def _names(setting: str, value: Any) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else [] if value is None else value
    is_list = isinstance(names, Sequence) and all(isinstance(name, str) and name for name in names)
    if not is_list or len(set(names)) < len(names) or (value is not None and not names):
        raise SettingError(f"{setting}: expected a column's name, or a list of different ones; found {value!r}")
    return tuple(names)


def _zone(name: str | None) -> zoneinfo.ZoneInfo | None:
    if name is None:
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise SettingError(
            f"timezone: expected an IANA name such as 'UTC' or 'Europe/Berlin', found {name!r}"
        ) from None
