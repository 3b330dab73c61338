"""The literal settings of a call: integrations, when and on_change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_segment.calls.sources import Bool, Constant, Json, check_column, found, plain_value

CHANGE_KINDS = ("added", "updated", "deleted")


def read_integrations(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: expected a dict like {{'All': False, 'Mixpanel': True}}, found {found(value)}")
    for name, setting in value.items():
        if name == "all":
            raise ValueError(f"{where}: Segment writes 'All' with a capital A, found 'all'; names are case-sensitive")
        if not isinstance(name, str) or not isinstance(setting, (bool, Mapping)):
            raise ValueError(
                f"{where}: expected True, False or a dict of settings for {name!r}, found {found(setting)}"
            )
    return {name: plain_value(setting) for name, setting in value.items()}


def read_when(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"{where}: expected {{column: value or list of values}}, found {found(value)}")
    for column, wanted in value.items():
        check_column(column, where)
        if isinstance(wanted, (Mapping, Constant, Json, Bool)):
            raise ValueError(f"{where}: {column!r} is compared with a plain value or a list, found {found(wanted)}")
    return {column: plain_value(wanted) for column, wanted in value.items()}


def read_on_change(value: Any, where: str) -> list[str]:
    kinds = [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else [value]
    if not kinds or any(kind not in CHANGE_KINDS for kind in kinds):
        raise ValueError(f"{where}: expected a list of {', '.join(CHANGE_KINDS)}; found {value!r}")
    return [kind for kind in CHANGE_KINDS if kind in kinds]
