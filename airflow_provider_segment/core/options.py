"""The settings of a sync, checked when they are made; light enough for the parsing of a DAG."""

from __future__ import annotations

import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_segment.core.errors import SettingError

NULLS = ("send", "omit")


@dataclass(frozen=True)
class Options:
    """How the rows of a sync become calls, and how these are sent.

    :param key: the column, or columns, that identify a row.
    :param nulls: what becomes of nulls in traits and properties: "send" (default; they may erase a value downstream)
        or "omit" (they leave it as it is). Nulls elsewhere are left out.
    :param timezone: IANA name of the zone of timestamps that carry none, such as "UTC"; without it the first such
        timestamp stops the run.
    :param max_rejected: how many calls may be invalid or rejected before the run fails: a count, or below 1 a share.
    :param max_in_flight: batches that are on their way at once; default 4.
    :param validate_only: read, map and validate every row, and send nothing.
    :param rejects_path: a file for the refused calls as JSON lines, local or in an object storage.
    :param preview_path: a local file for the first 100 messages as JSON lines; they are personal data.
    :raises SettingError: if one of them is not what it should be.
    """

    key: str | Sequence[str] | None = None
    nulls: str = "send"
    timezone: str | None = None
    max_rejected: float = 0
    max_in_flight: int = 4
    validate_only: bool = False
    preview_path: str | None = None
    rejects_path: str | None = None

    def __post_init__(self) -> None:
        _names("key", self.key)
        if self.nulls not in NULLS:
            raise SettingError(f"nulls: expected one of {', '.join(NULLS)}; found {self.nulls!r}")
        _zone(self.timezone)
        _check_max_rejected(self.max_rejected)
        positive("max_in_flight", self.max_in_flight)
        if not isinstance(self.validate_only, bool):
            raise SettingError(f"validate_only: expected True or False, found {self.validate_only!r}")
        for name in ("preview_path", "rejects_path"):
            path = getattr(self, name)
            if path is not None and not (isinstance(path, str) and path):
                raise SettingError(f"{name}: expected the path of a file, found {path!r}")

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns that identify a row; none without a key."""
        return _names("key", self.key)

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


def _check_max_rejected(value: object) -> None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    is_share = isinstance(value, float) and (0 <= value < 1 or (value.is_integer() and value > 0))
    if not (is_count or is_share):
        raise SettingError(f"max_rejected: expected a count, or a share below 1; found {value!r}")


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
